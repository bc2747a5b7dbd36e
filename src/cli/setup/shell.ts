import { spawn } from 'node:child_process';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname } from 'node:path';

/** A failure that is the machine's or the user's to mend: printed as its message, without a stack. */
export class SetupError extends Error {}

/** What a program printed, and how it ended. */
export interface Outcome {
  /** Exit status; `null` where the program is not there or was killed. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Whether there is no such program. */
  readonly missing: boolean;
}

/** Runs a program to its end. With `shown`, what it says on its error stream also goes to the terminal. */
export function run(
  program: string,
  args: readonly string[],
  { shown = false, env = process.env }: { shown?: boolean; env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      if (shown) process.stderr.write(text);
    });
    child.on('error', (error) => {
      const missing = 'code' in error && error.code === 'ENOENT';
      resolve({ status: null, stdout, stderr: missing ? '' : error.message, missing });
    });
    child.on('close', (status) => resolve({ status, stdout, stderr, missing: false }));
  });
}

/** The last lines of a text: what a failed program said in the end. */
export function tail(text: string, lines = 20): string {
  return text.trim().split('\n').slice(-lines).join('\n');
}

/** Lets `make` produce a file or folder under a temporary name, so that what stands at `path` is always whole. */
export async function produce(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.${process.pid}.part`;
  mkdirSync(dirname(path), { recursive: true });
  rmSync(temporary, { recursive: true, force: true });
  try {
    await make(temporary);
    rmSync(path, { recursive: true, force: true });
    renameSync(temporary, path);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Runs the jobs on all cores; the first failure stops the rest. */
export async function inParallel<Job>(jobs: readonly Job[], work: (job: Job) => Promise<void>): Promise<void> {
  const waiting = [...jobs];
  const worker = async (): Promise<void> => {
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
      await work(job).catch((error: unknown) => {
        waiting.length = 0;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}
