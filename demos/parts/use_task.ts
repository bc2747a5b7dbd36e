/** Something that takes a while: whether it runs, how it ended, and a way to stop it. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { messageOf } from '../engine/use_engine.js';

/** Handed to the work; once it is stopped, its next `check` throws. */
export interface Ticket {
  readonly check: () => void;
}

class Stopped extends Error {}

export interface Task {
  readonly isRunning: boolean;
  readonly problem: string | undefined;
  /** Does nothing while the work before is still running. */
  readonly start: (work: (ticket: Ticket) => Promise<void>) => void;
  readonly stop: () => void;
}

const STOPPED = 'stopped by the visitor';

/** @param engine What the work belongs to: when another one comes, the work before is forgotten. */
export function useTask(engine: unknown): Task {
  const [isRunning, setIsRunning] = useState(false);
  const [problem, setProblem] = useState<string>();
  const current = useRef<{ isStopped: boolean } | null>(null);
  useEffect(() => {
    setIsRunning(false);
    return () => {
      if (current.current !== null) current.current.isStopped = true;
      current.current = null;
    };
  }, [engine]);
  return {
    isRunning,
    problem,
    start(work) {
      if (current.current !== null) return;
      const run = { isStopped: false };
      current.current = run;
      setIsRunning(true);
      setProblem(undefined);
      const check = () => {
        if (run.isStopped) throw new Stopped(STOPPED);
      };
      const end = (error?: unknown) => {
        if (current.current !== run) return;
        current.current = null;
        setIsRunning(false);
        // An error that has been in the worker comes back as a plain one.
        if (error !== undefined && messageOf(error) !== STOPPED) setProblem(messageOf(error));
      };
      work({ check }).then(() => end(), end);
    },
    stop() {
      if (current.current !== null) current.current.isStopped = true;
    },
  };
}
