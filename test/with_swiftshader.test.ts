import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { unusable } from '../scripts/chromium/unpack.js';

const ROOT = join(__dirname, '..');
const SCRIPT = join(ROOT, 'scripts/with_swiftshader.mjs');

/** Runs a command with SwiftShader. */
function run(...command: string[]) {
  return spawnSync(process.execPath, [SCRIPT, ...command], { cwd: ROOT, encoding: 'utf8' });
}

const reason = unusable();

// Elsewhere than on Linux the script can only say so.
if (reason !== undefined) {
  test('where there is no SwiftShader the script says why and what to do', () => {
    const { stderr, status } = run(process.execPath, '--version');
    expect(stderr).toContain(reason);
    expect(stderr).toContain('On a machine with a GPU run the command without this script.');
    expect(status).toBe(1);
  });
}

(reason === undefined ? describe : describe.skip)('with SwiftShader', () => {
  test('a command computes on SwiftShader', () => {
    const source = `import { create } from 'webgpu';
    globalThis.gpu = create([]);
    const adapter = await gpu.requestAdapter();
    console.log(adapter.info.architecture, adapter.info.isFallbackAdapter);`;
    const { stdout, stderr, status } = run(process.execPath, '--input-type=module', '--eval', source);
    expect(stderr).toBe('');
    expect(stdout).toBe('swiftshader true\n');
    expect(status).toBe(0);
  });

  test("the command's exit code and output are handed through", () => {
    const { stdout, stderr, status } = run(
      process.execPath,
      '--eval',
      'console.log(1); console.error(2); process.exit(7)',
    );
    expect({ stdout, stderr, status }).toEqual({ stdout: '1\n', stderr: '2\n', status: 7 });
  });

  test('a signal that ends the command ends the script', () => {
    expect(run(process.execPath, '--eval', "process.kill(process.pid, 'SIGKILL')").signal).toBe('SIGKILL');
  });

  test('a signal goes on to the command', async () => {
    const source = "process.on('SIGTERM', () => process.exit(5)); console.log('ready'); setInterval(() => {}, 1000)";
    const child = spawn(process.execPath, [SCRIPT, process.execPath, '--eval', source], { cwd: ROOT });
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([5, null]);
  });

  test('a command that does not exist, and none at all', () => {
    const missing = run('no-such-command');
    expect(missing.stderr).toBe('with_swiftshader: cannot run no-such-command: spawn no-such-command ENOENT\n');
    expect(missing.status).toBe(127);
    const none = run();
    expect(none.stderr).toContain('Usage: node scripts/with_swiftshader.mjs COMMAND');
    expect(none.status).toBe(2);
  });
});
