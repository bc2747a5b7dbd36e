import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Findings } from '../src/cli/doctor.js';
import { formatTable } from '../src/cli/table.js';

const ROOT = join(__dirname, '..');

// Every test starts Node and tfjs anew.
jest.setTimeout(30_000);

/** Runs the program from its sources. */
function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, TFJS_LLA_CACHE: '/nonexistent' },
  });
  return { status, stdout, stderr };
}

test('doctor prints a row per backend and nothing on the error stream', () => {
  const { status, stdout, stderr } = run('doctor');
  expect(stderr).toBe('');
  expect(stdout).toMatch(/^backend +works +adapter +error +time +what to do$/m);
  expect(stdout).toMatch(/^wasm +yes +WebAssembly /m);
  expect(stdout).toMatch(/^cpu +yes +JavaScript on /m);
  expect(stdout).toContain('2 of 3 backends work here.');
  expect(status).toBe(0);
});

test('doctor --json prints the findings for a program to read', () => {
  const { status, stdout } = run('doctor', '--json');
  const findings = JSON.parse(stdout) as Findings;
  expect(findings.node).toBe(process.version);
  expect(findings.backends.map(({ backend }) => backend).sort()).toEqual(['cpu', 'tensorflow', 'wasm']);
  for (const { works, adapter, error, milliseconds, advice } of findings.backends.filter(
    ({ backend }) => backend !== 'tensorflow',
  )) {
    expect(works).toBe(true);
    expect(adapter).not.toBe('');
    expect(error).toBeLessThan(1e-4);
    expect(milliseconds).toBeGreaterThan(0);
    expect(advice).toBeNull();
  }
  expect(status).toBe(0);
});

test.each([
  ['an unknown command', ['repair'], "unknown command 'repair'"],
  ['an unknown option', ['doctor', '--quick'], "unknown option '--quick'"],
  ['an argument too many', ['doctor', 'cpu'], "too many arguments for 'doctor'"],
  ['no command', [], 'Usage: tfjs-lla'],
])('%s gives a message and a non-zero exit code', (_, args, message) => {
  const { status, stdout, stderr } = run(...args);
  expect(stderr).toContain(message);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(stdout).toBe('');
  expect(status).toBe(1);
});

test('--version prints the version of the package', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const { status, stdout } = run('--version');
  expect(stdout).toBe(`${version}\n`);
  expect(status).toBe(0);
});

test('a table lines its columns up', () => {
  expect(
    formatTable([
      ['a', 'long header'],
      ['wide cell', 'b'],
    ]),
  ).toBe(['a          long header', '---------  -----------', 'wide cell  b'].join('\n'));
});
