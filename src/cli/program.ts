import { Command, Option } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { type BackendName, backendNames } from '../node.js';
import { compareWithCpu } from './compare.js';
import { examine, type Findings, report } from './doctor.js';
import { setupTensorflow, type SetupOptions } from './setup/main.js';
import { SetupError } from './setup/shell.js';

interface DoctorOptions {
  readonly json?: true;
  readonly backend?: BackendName;
  readonly operators?: true;
}

async function diagnose(backend: BackendName | undefined, withOperators: boolean): Promise<Findings> {
  const findings = await examine(backend === undefined ? backendNames : [backend]);
  if (!withOperators || backend === undefined || !findings.backends[0].works) return findings;
  return { ...findings, operators: await compareWithCpu(backend) };
}

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
    .option('--operators', "with --backend: also run every operator and its gradients, and compare with backend 'cpu'")
    .action(async ({ json, backend, operators }: DoctorOptions, command: Command) => {
      if (operators && backend === undefined) command.error('error: --operators needs --backend');
      const findings = await diagnose(backend, operators === true);
      console.log(json ? JSON.stringify(findings, null, 2) : report(findings));
      const isSound = findings.operators?.every(({ agrees }) => agrees) ?? true;
      process.exitCode = isSound && findings.backends.some(({ works }) => works) ? 0 : 1;
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
