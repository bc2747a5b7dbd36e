import { Command } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { examine, report } from './doctor.js';

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
    .action(async ({ json }: { json?: true }) => {
      const findings = await examine();
      console.log(json ? JSON.stringify(findings, null, 2) : report(findings));
      process.exitCode = findings.backends.some(({ works }) => works) ? 0 : 1;
    });
  return program;
}
