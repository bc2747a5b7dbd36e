/** The program behind `with_swiftshader.mjs`: runs a command, and ends the way the command does. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { swiftShaderEnvironment } from './swiftshader.js';
import { unusable } from './unpack.js';

const USAGE = `Usage: node scripts/with_swiftshader.mjs COMMAND [ARGUMENT...]

Runs COMMAND with Vulkan served by SwiftShader, a driver in software. Without this script COMMAND uses the machine's GPU.`;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

function fail(message: string, code: number): void {
  console.error(message);
  process.exitCode = code;
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv): void {
  const child = spawn(command, args, { stdio: 'inherit', env });
  const forward = (signal: NodeJS.Signals) => child.kill(signal);
  for (const signal of SIGNALS) process.on(signal, forward);
  child.on('error', (error) => fail(`with_swiftshader: cannot run ${command}: ${error.message}`, 127));
  child.on('exit', (code, signal) => {
    for (const handled of SIGNALS) process.off(handled, forward);
    process.exitCode = code ?? 1;
    if (signal === null) return;
    // A shell's convention, for a signal that does not end this process.
    process.exitCode = 128 + constants.signals[signal];
    process.kill(process.pid, signal);
  });
}

const [command, ...args] = process.argv.slice(2);
const reason = unusable();
if (!command) {
  fail(USAGE, 2);
} else if (reason !== undefined) {
  fail(`with_swiftshader: ${reason}. On a machine with a GPU run the command without this script.`, 1);
} else {
  run(command, args, await swiftShaderEnvironment());
}
