/** A page's worker, on the backend that the visitor has chosen. */
import { type Remote, releaseProxy, transfer, wrap } from 'comlink';
import { useEffect, useState } from 'preact/hooks';
import { useBackend } from '../parts/backend_choice.js';
import type { BackendName } from './backends.js';
import type { Device } from './take_backend.js';

/** What the worker does for every page. */
export interface Host {
  takeBackend(name: BackendName): Promise<Device>;
  /** Loads the jobs of a page and serves them at a port. */
  open(page: string, port: MessagePort): Promise<void>;
}

export interface Engine<Jobs> {
  readonly jobs: Remote<Jobs>;
  readonly device: Device;
}

export type EngineState<Jobs> =
  | { readonly state: 'starting' }
  | { readonly state: 'failed'; readonly problem: string }
  | ({ readonly state: 'ready' } & Engine<Jobs>);

/**
 * Starts a worker with the jobs of a page, and another one whenever the backend changes; each is ended when it is no
 * longer needed, in the middle of its work if it must be.
 */
export function useEngine<Jobs extends object>(page: string): EngineState<Jobs> {
  const { backend } = useBackend();
  const [engine, setEngine] = useState<EngineState<Jobs>>({ state: 'starting' });
  useEffect(() => {
    setEngine({ state: 'starting' });
    if (backend === undefined) return undefined;
    const worker = new Worker(new URL('../worker.ts', import.meta.url), { type: 'module', name: page });
    const host = wrap<Host>(worker);
    let isCurrent = true;
    const show = (next: EngineState<Jobs>) => {
      if (isCurrent) setEngine(next);
    };
    worker.addEventListener('error', ({ message }) =>
      show({ state: 'failed', problem: message || 'the worker failed' }),
    );
    const start = async () => {
      const device = await host.takeBackend(backend);
      const { port1, port2 } = new MessageChannel();
      await host.open(page, transfer(port2, [port2]));
      show({ state: 'ready', device, jobs: wrap<Jobs>(port1) });
    };
    start().catch((error: unknown) => show({ state: 'failed', problem: messageOf(error) }));
    return () => {
      isCurrent = false;
      host[releaseProxy]();
      worker.terminate();
    };
  }, [backend, page]);
  return engine;
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
