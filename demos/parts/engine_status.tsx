import type { EngineState } from '../engine/use_engine.js';
import { BACKEND_LABELS } from '../engine/backends.js';
import { useBackend } from './backend_choice.js';

/** What computes, or why nothing does. */
export function EngineStatus({ engine }: { readonly engine: EngineState<object> }) {
  const { backend, obstacles } = useBackend();
  if (backend === undefined) {
    return <p class="status">{obstacles === undefined ? 'Looking at this browser …' : 'Choose a backend above.'}</p>;
  }
  if (engine.state === 'failed') {
    return (
      <p role="alert">
        {BACKEND_LABELS[backend]} failed: {engine.problem}. Choose another backend above, or load the page again.
      </p>
    );
  }
  return (
    <p class="status" role="status" data-state={engine.state}>
      {engine.state === 'starting'
        ? `Starting ${BACKEND_LABELS[backend]} …`
        : `Computed by ${BACKEND_LABELS[engine.device.backend]}: ${engine.device.adapter}`}
    </p>
  );
}

/** The name of a line and its colour. */
export function Legend({ lines }: { readonly lines: readonly { readonly label: string; readonly colour: string }[] }) {
  return (
    <ul class="legend">
      {lines.map(({ label, colour }) => (
        <li key={label}>
          <span class="swatch" style={{ background: colour }} aria-hidden="true" />
          {label}
        </li>
      ))}
    </ul>
  );
}
