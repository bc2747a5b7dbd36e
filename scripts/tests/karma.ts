import { resolve } from 'node:path';
import karma, { type TestResults } from 'karma';
import type { Counts } from './jest.js';

/** Runs the tests of `karma.conf.js` in a browser; `args` go to jasmine there (`--grep PATTERN`). */
export async function runKarma(args: readonly string[]): Promise<Counts> {
  const options = { promiseConfig: true, throwErrors: true } as const;
  const parsed = await karma.config.parseConfig(resolve('karma.conf.js'), { client: { args: [...args] } }, options);
  return new Promise((done) => {
    let counts: Counts = { passed: 0, failed: 0 };
    const server = new karma.Server(parsed, (exitCode) => {
      // A browser that did not start or died, or that ran nothing, has failed, whatever was counted before.
      const isBroken = exitCode !== 0 || counts.passed === 0;
      done({ ...counts, failed: isBroken ? Math.max(counts.failed, 1) : counts.failed });
    });
    server.on('run_complete', (_, { success, failed }: TestResults) => {
      counts = { passed: success, failed };
    });
    void server.start();
  });
}
