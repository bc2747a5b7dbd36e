/** A saved model: which there are, the chosen one, and how its download goes. */
import { proxy, type Remote } from 'comlink';
import { useEffect, useState } from 'preact/hooks';
import type { OnBytes } from '../engine/saved_models.js';
import { type EngineState, messageOf } from '../engine/use_engine.js';

/** The jobs that a page with saved models has. */
export interface ModelJobs<About> {
  readonly names: () => string[];
  readonly load: (name: string, onBytes: OnBytes) => Promise<About>;
}

export interface ModelChoice<About> {
  readonly names: readonly string[] | undefined;
  readonly name: string | undefined;
  readonly choose: (name: string) => void;
  readonly about: About | undefined;
  /** Bytes of the weights that have come, and all. */
  readonly bytes: readonly [loaded: number, total: number] | undefined;
  readonly problem: string | undefined;
}

/** Loads LLA's model, where there is one, and each that is chosen. */
export function useModel<About>(engine: EngineState<ModelJobs<About>>): ModelChoice<About> {
  const [names, setNames] = useState<readonly string[]>();
  const [name, setName] = useState<string>();
  const [about, setAbout] = useState<About>();
  const [bytes, setBytes] = useState<readonly [number, number]>();
  const [problem, setProblem] = useState<string>();
  const remote: Remote<ModelJobs<About>> | undefined = engine.state === 'ready' ? engine.jobs : undefined;
  useEffect(() => {
    if (remote === undefined) return;
    const first = async () => {
      const found = (await remote.names()) as readonly string[];
      setNames(found);
      setName((before) => before ?? (found.includes('localLinear') ? 'localLinear' : found.at(0)));
    };
    first().catch((error: unknown) => setProblem(messageOf(error)));
  }, [engine]);
  useEffect(() => {
    setAbout(undefined);
    setBytes(undefined);
    setProblem(undefined);
    if (remote === undefined || name === undefined) return undefined;
    let isCurrent = true;
    const load = async () => {
      const onBytes = proxy((loaded: number, total: number) => {
        if (isCurrent) setBytes([loaded, total]);
      });
      const found = (await remote.load(name, onBytes)) as About;
      if (isCurrent) setAbout(() => found);
    };
    load().catch((error: unknown) => {
      if (isCurrent) setProblem(messageOf(error));
    });
    return () => {
      isCurrent = false;
    };
  }, [engine, name]);
  return { names, name, choose: setName, about, bytes, problem };
}

const kibibytes = (count: number): string => `${Math.round(count / 1024)} KiB`;

export function ModelPicker<About>({
  choice: { names, name, choose, about, bytes, problem },
  train,
}: {
  readonly choice: ModelChoice<About>;
  /** The command that makes a model, for a site that has none. */
  readonly train: string;
}) {
  if (problem !== undefined) return <p role="alert">The model could not be loaded: {problem}</p>;
  if (names === undefined) return null;
  if (names.length === 0) {
    return (
      <p role="alert">
        This site was built without a trained model. <code>{train}</code> trains one; the README of the model says how
        to save it.
      </p>
    );
  }
  return (
    <>
      <label>
        Trained model
        <select value={name} onChange={({ currentTarget }) => choose(currentTarget.value)}>
          {names.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      </label>
      {about === undefined && (
        <p role="status">
          <progress value={bytes?.[0]} max={bytes?.[1]} aria-label="Weights loaded" />
          {bytes === undefined ? 'Loading the model …' : `${kibibytes(bytes[0])} of ${kibibytes(bytes[1])} loaded`}
        </p>
      )}
    </>
  );
}
