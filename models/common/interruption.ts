/** Ctrl-C, and how a program stops where nothing is half done. */
import { setImmediate } from 'node:timers/promises';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/**
 * Milliseconds in which signals are one. A terminal sends Ctrl-C to npm and to the program, and npm hands its own
 * one on.
 */
const ECHO = 1000;

/** Exit code of a program that a signal ended, by the shells' convention for the commonest one. */
export const INTERRUPTED = 130;

/** The user wants the program to end. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';

  constructor() {
    super('stopped at a signal; nothing is half-written, and what was saved earlier is as it was');
  }
}

/** From its making on a first signal is kept until the program asks; a second one ends the process at once. */
export class Interruption {
  private since: number | undefined;

  constructor(onFirst: () => void = () => undefined) {
    const onSignal = () => {
      if (this.since === undefined) {
        this.since = performance.now();
        onFirst();
      } else if (performance.now() - this.since > ECHO) {
        process.exit(INTERRUPTED);
      }
    };
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }

  readonly mustStop = (): boolean => this.since !== undefined;

  /** @throws Interrupted if a signal came. */
  readonly check = async (): Promise<void> => {
    // On `cpu` computing never waits for more than a promise, and no signal arrives meanwhile.
    await setImmediate();
    if (this.mustStop()) throw new Interrupted();
  };
}
