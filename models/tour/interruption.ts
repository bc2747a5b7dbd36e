/** Ctrl-C, and how a program stops where nothing is half done. */
import { setImmediate } from 'node:timers/promises';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** The user wants the program to end. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';

  constructor() {
    super('stopped at a signal; nothing is half-written, and what was saved earlier is as it was');
  }
}

/** From its making on a first signal is kept until the program asks; a second one ends the process at once. */
export class Interruption {
  private isWanted = false;

  constructor() {
    const onSignal = () => {
      for (const signal of SIGNALS) process.off(signal, onSignal);
      this.isWanted = true;
    };
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }

  readonly mustStop = (): boolean => this.isWanted;

  /** @throws Interrupted if a signal came. */
  readonly check = async (): Promise<void> => {
    // On `cpu` computing never waits for more than a promise, and no signal arrives meanwhile.
    await setImmediate();
    if (this.isWanted) throw new Interrupted();
  };
}
