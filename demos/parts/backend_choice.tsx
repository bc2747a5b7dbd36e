/** Which backend computes: the picker, and what says why one cannot be taken. */
import { type ComponentChildren, createContext } from 'preact';
import { useContext, useEffect, useMemo, useState } from 'preact/hooks';
import {
  BACKEND_LABELS,
  type BackendName,
  BACKENDS,
  findObstacles,
  isBackend,
  type Obstacles,
} from '../engine/backends.js';

interface Choice {
  /** Unknown until the browser has been looked at, and where what the address asks for is missing. */
  readonly backend: BackendName | undefined;
  /** What the address asked for. */
  readonly wanted: string | null;
  readonly obstacles: Obstacles | undefined;
  readonly choose: (name: BackendName) => void;
}

const Context = createContext<Choice>({
  backend: undefined,
  wanted: null,
  obstacles: undefined,
  choose: () => undefined,
});

export const useBackend = (): Choice => useContext(Context);

const PARAMETER = 'backend';

/** Keeps the choice in the page's address, so that it can be sent on: `?backend=webgl`. */
export function BackendProvider({ children }: { readonly children: ComponentChildren }) {
  const [wanted, setWanted] = useState(() => new URLSearchParams(location.search).get(PARAMETER));
  const [obstacles, setObstacles] = useState<Obstacles>();
  useEffect(() => void findObstacles().then(setObstacles), []);
  const choice = useMemo((): Choice => {
    const usable = (name: BackendName) => obstacles !== undefined && obstacles[name] === undefined;
    const first = BACKENDS.find(usable);
    const asked = isBackend(wanted) && usable(wanted) ? wanted : undefined;
    return {
      backend: wanted === null ? first : asked,
      wanted,
      obstacles,
      choose(name) {
        const address = new URL(location.href);
        address.searchParams.set(PARAMETER, name);
        history.replaceState(history.state, '', address);
        setWanted(name);
      },
    };
  }, [wanted, obstacles]);
  return <Context.Provider value={choice}>{children}</Context.Provider>;
}

export function BackendPicker() {
  const { backend, obstacles, choose } = useBackend();
  return (
    <label class="picker">
      <span>Compute with</span>
      <select
        value={backend ?? ''}
        onChange={({ currentTarget: { value } }) => {
          if (isBackend(value)) choose(value);
        }}
      >
        {backend === undefined && (
          <option value="" disabled>
            choose
          </option>
        )}
        {BACKENDS.map((name) => (
          <option key={name} value={name} disabled={obstacles?.[name] !== undefined}>
            {BACKEND_LABELS[name]}
            {obstacles?.[name] === undefined ? '' : ' (missing)'}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A clear word about each backend that this browser has not, and about one that the address asked for in vain. */
export function BackendNotice() {
  const { backend, wanted, obstacles } = useBackend();
  if (obstacles === undefined) return null;
  const missing = BACKENDS.filter((name) => obstacles[name] !== undefined);
  const isUnknown = wanted !== null && !isBackend(wanted);
  if (missing.length === 0 && !isUnknown) return null;
  return (
    <div class="notice" role={backend === undefined ? 'alert' : 'status'}>
      {isUnknown && <p>There is no backend “{wanted}”; choose one above.</p>}
      {missing.map((name) => (
        <p key={name}>
          <strong>{BACKEND_LABELS[name]} is missing:</strong> {obstacles[name]}.
          {wanted === name && ' The address of this page asks for it: choose another one above.'}
        </p>
      ))}
      {backend !== undefined && <p>Computing goes on with {BACKEND_LABELS[backend]}.</p>}
    </div>
  );
}
