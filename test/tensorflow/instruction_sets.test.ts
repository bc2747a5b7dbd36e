import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Findings } from '../../src/cli/doctor.js';

/** What the doctor finds on backend `tensorflow` where no newer instructions than `most` may be used. */
async function examine(most: string): Promise<Findings['backends'][number]> {
  const tsx = createRequire(join(process.cwd(), 'package.json')).resolve('tsx/cli');
  const program = [tsx, 'src/cli/main.ts', 'doctor', '--backend', 'tensorflow', '--json'];
  // A TensorFlow with CUDA says why it has no GPU, after that.
  const env = { ...process.env, TFJS_LLA_MAX_ISA: most, CUDA_VISIBLE_DEVICES: '' };
  const { stdout } = await promisify(execFile)(process.execPath, program, { env });
  const findings = JSON.parse(stdout) as Findings;
  return findings.backends[0];
}

// One of them runs in all other tests; the processor has to have AVX2 for the second.
test.each([
  ['generic', 'SSE2'],
  ['avx2', 'AVX2'],
])('kernels for %s processors give the right numbers, and the adapter says that they serve', async (most, name) => {
  const { works, adapter } = await examine(most);
  expect(works).toBe(true);
  expect(adapter).toMatch(new RegExp(`, native kernels with ${name}(;|$)`));
});
