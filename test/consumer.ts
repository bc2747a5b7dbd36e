/** Packs the package and installs it the way a user would, for the tests of what users get. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export const ROOT = join(__dirname, '..');

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder in which the package is installed. */
export interface Consumer {
  readonly folder: string;
  /** Runs a program there. */
  run(program: string, ...args: string[]): Result;
  /** Writes `source` to `file` and has Node run it. */
  node(file: string, source: string): Result;
  write(file: string, source: string): void;
}

function execute(folder: string, program: string, args: readonly string[]): Result {
  // No TensorFlow that happens to be set up on this machine takes part.
  const env = { ...process.env, TFJS_LLA_CACHE: '/nonexistent' };
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd: folder, encoding: 'utf8', env });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** Like `execute`, for what has to work before there is anything to test. */
function mustExecute(folder: string, program: string, ...args: string[]): string {
  const { status, stdout, stderr } = execute(folder, program, args);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed:\n${stdout}\n${stderr}`);
  return stdout;
}

/** A fresh folder outside of the repository, so that nothing resolves into it by accident. */
export function temporaryFolder(): string {
  return realpathSync(mkdtempSync(join(tmpdir(), 'tfjs-lla-test-')));
}

/** Builds and packs the package; the path of the tarball. */
export function pack(destination: string): string {
  mustExecute(ROOT, 'npm', 'pack', '--pack-destination', destination);
  const [tarball] = readdirSync(destination);
  return join(destination, tarball);
}

/** Paths of the files in a tarball, from the package's root. */
export function filesIn(tarball: string): string[] {
  return mustExecute(ROOT, 'tar', '-tzf', tarball)
    .trim()
    .split('\n')
    .map((path) => path.replace(/^package\//, ''))
    .sort();
}

/**
 * Installs a tarball into an empty folder.
 *
 * npm installs the package itself, which needs no network as it has no dependencies. The peers are links to those of
 * this repository: installing them anew would take a minute and test only npm.
 */
export function install(tarball: string, peers: readonly string[]): Consumer {
  const folder = temporaryFolder();
  const write = (file: string, source: string) => {
    writeFileSync(join(folder, file), source);
  };
  write('package.json', '{ "private": true }\n');
  mustExecute(folder, 'npm', 'install', '--offline', '--legacy-peer-deps', '--no-audit', '--no-fund', tarball);
  for (const peer of peers) {
    const link = join(folder, 'node_modules', peer);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', peer), link);
  }
  const run = (program: string, ...args: string[]) => execute(folder, program, args);
  const node = (file: string, source: string) => {
    write(file, source);
    return run(process.execPath, file);
  };
  return { folder, run, node, write };
}

export function remove(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}
