/**
 * Runs jest and prints `tests: N passed, N failed` as the very last line.
 *
 * `--backend tensorflow`, as first arguments, runs the swept suites on that backend; `--full` runs the whole cross product
 * of the case table; every other argument goes to jest.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface JestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  /** Test files that failed before any of their tests ran: they do not show up in `numFailedTests`. */
  readonly numRuntimeErrorTestSuites: number;
}

/** Jest's own report; where jest died before it could write one, a report that counts this as one failure. */
function readReport(file: string): JestReport {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as JestReport;
  } catch {
    return { numPassedTests: 0, numFailedTests: 0, numRuntimeErrorTestSuites: 1 };
  }
}

const jest = createRequire(import.meta.url).resolve('jest/bin/jest');
/** The suites that are swept over the backends of `test/backends.ts`: what a run on another backend consists of. */
const SWEPT = '(_attention|extremes|memory|nan|weights|properties|inputs)\\.test';

const full = process.argv.includes('--full');
const tensorflow = process.argv[2] === '--backend' && process.argv[3] === 'tensorflow';
const given = process.argv.slice(tensorflow ? 4 : 2).filter((argument) => argument !== '--full');
// TensorFlow uses all cores by itself.
const jestArguments = tensorflow ? ['-w', '1', '--config', 'jest.tensorflow.config.js', SWEPT, ...given] : given;
const folder = mkdtempSync(join(tmpdir(), 'tfjs-lla-tests-'));
const reportFile = join(folder, 'report.json');

const { status } = spawnSync(
  process.execPath,
  [jest, '--json', `--outputFile=${reportFile}`, ...jestArguments],
  // With --json jest also writes the report to its standard output, which is of no use to a reader.
  {
    stdio: ['inherit', 'ignore', 'inherit'],
    env: {
      ...process.env,
      ...(full && { TFJS_LLA_TEST: 'full' }),
      ...(tensorflow && { TFJS_LLA_BACKENDS: 'tensorflow' }),
    },
  },
);

const report = readReport(reportFile);
rmSync(folder, { recursive: true });
const counted = report.numFailedTests + report.numRuntimeErrorTestSuites;
const failed = status === 0 ? counted : Math.max(counted, 1);
console.log(`tests: ${report.numPassedTests} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : (status ?? 1) || 1;
