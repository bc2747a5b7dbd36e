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

/** Where there is no Vulkan, or no driver for it, Dawn says so by itself, past the program. */
const DAWN_WARNING = /^Warning: (Couldn't load Vulkan|vkCreateInstance).*\n( +at .*\n)?\n?/gm;

test('doctor prints a row per backend and nothing on the error stream', () => {
  const { status, stdout, stderr } = run('doctor');
  expect(stderr.replace(DAWN_WARNING, '')).toBe('');
  expect(stdout).toMatch(/^backend +works +adapter +error +time +what to do$/m);
  expect(stdout).toMatch(/^wasm +yes +WebAssembly /m);
  expect(stdout).toMatch(/^cpu +yes +JavaScript on /m);
  // Whether there is a GPU depends on the machine.
  expect(stdout).toMatch(/^webgpu +(yes +\S|no .* finds no GPU that it can use; )/m);
  expect(stdout).toMatch(/^tensorflow +no .* run: npx tfjs-lla setup tensorflow$/m);
  expect(stdout).toMatch(/^[23] of 4 backends work here\.$/m);
  expect(status).toBe(0);
});

test('doctor --json prints the findings for a program to read', () => {
  const { status, stdout } = run('doctor', '--json');
  const findings = JSON.parse(stdout) as Findings;
  expect(findings.node).toBe(process.version);
  expect(findings.backends.map(({ backend }) => backend)).toEqual(['tensorflow', 'webgpu', 'wasm', 'cpu']);
  for (const { works, adapter, error, milliseconds, advice } of findings.backends.slice(2)) {
    expect(works).toBe(true);
    expect(adapter).not.toBe('');
    expect(error).toBeLessThan(1e-4);
    expect(milliseconds).toBeGreaterThan(0);
    expect(advice).toBeNull();
  }
  expect(status).toBe(0);
});

test('doctor --operators compares every operator of a backend with cpu', () => {
  const { status, stdout } = run('doctor', '--backend', 'wasm', '--operators', '--json');
  const { operators = [] } = JSON.parse(stdout) as Findings;
  expect(operators.map(({ operator }) => operator).sort()).toEqual([
    'linearAttention',
    'localLinearAttention',
    'mesaAttention',
    'parallaxAttention',
    'softmaxAttention',
  ]);
  for (const { error, agrees } of operators) {
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(1e-4);
    expect(agrees).toBe(true);
  }
  expect(status).toBe(0);
});

test.each([
  ['an unknown command', ['repair'], "unknown command 'repair'"],
  ['an unknown option', ['doctor', '--quick'], "unknown option '--quick'"],
  ['a comparison of no backend', ['doctor', '--operators'], '--operators needs --backend'],
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
