import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How a run of tests went. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
}

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

/** Runs jest with a configuration, further arguments and an environment. */
export function runJest(config: string, args: readonly string[], env: NodeJS.ProcessEnv): Counts {
  const jest = createRequire(import.meta.url).resolve('jest/bin/jest');
  const folder = mkdtempSync(join(tmpdir(), 'tfjs-lla-tests-'));
  const reportFile = join(folder, 'report.json');
  const { status } = spawnSync(
    process.execPath,
    [jest, '--config', config, '--json', `--outputFile=${reportFile}`, ...args],
    // With --json jest also writes the report to its standard output, which is of no use to a reader.
    { stdio: ['inherit', 'ignore', 'inherit'], env },
  );
  const report = readReport(reportFile);
  rmSync(folder, { recursive: true });
  const counted = report.numFailedTests + report.numRuntimeErrorTestSuites;
  return { passed: report.numPassedTests, failed: status === 0 ? counted : Math.max(counted, 1) };
}
