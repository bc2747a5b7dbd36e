import { Command, Option } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { type BackendName, backendNames } from '../node.js';
import { examine, report } from './doctor.js';
import { setupTensorflow, type SetupOptions } from './setup/main.js';
import { SetupError } from './setup/shell.js';

/** The program `tfjs-lla`. */
export function createProgram(): Command {
  const program = new Command('tfjs-lla')
    .description(manifest.description)
    .version(manifest.version)
    .showHelpAfterError('(tfjs-lla --help lists the commands)');
  program
    .command('doctor')
    .description('say which backends work here, on which device, and what to do about those that do not')
    .option('--json', 'print the findings as JSON')
    .addOption(new Option('--backend <name>', 'only this backend').choices(backendNames))
    .action(async ({ json, backend }: { json?: true; backend?: BackendName }) => {
      const findings = await examine(backend === undefined ? backendNames : [backend]);
      console.log(json ? JSON.stringify(findings, null, 2) : report(findings));
      process.exitCode = findings.backends.some(({ works }) => works) ? 0 : 1;
    });
  program
    .command('setup')
    .description('give Node a backend that npm alone does not bring')
    .command('tensorflow')
    .description("build backend 'tensorflow' on the TensorFlow of Python's pip, with native kernels (Linux, x86-64)")
    .option('--gpu', 'take a TensorFlow with CUDA')
    .option('--tensorflow <folder>', "take this TensorFlow of pip's instead of looking for one or fetching one")
    .action(async (options: SetupOptions) => {
      try {
        await setupTensorflow(options);
      } catch (error) {
        if (!(error instanceof SetupError)) throw error;
        console.error(`error: ${error.message}`);
        process.exitCode = 1;
      }
    });
  return program;
}
