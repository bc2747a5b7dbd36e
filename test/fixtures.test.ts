import { backends, useBackend } from './backends.js';
import { loadFixtures } from './fixtures.js';
import { runCall, runForward } from './run_call.js';
import { relativeL2 } from './values.js';
import type { TensorName } from './values.js';

/** The bars of the issue, relative L2, for the operators' default options. */
const bars: Partial<Record<TensorName, number>> = { value: 1e-4, ridge: 1e-3 };

describe.each(backends)('fixtures on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each(loadFixtures().map((fixture) => [fixture.name, fixture] as const))('%s', async (_, fixture) => {
    const { dout } = fixture;
    const result = dout ? await runCall(fixture, dout) : { ...(await runForward(fixture)), gradients: {} };
    expect(relativeL2(result.out, fixture.out)).toBeLessThan(1e-4);
    const missed = (Object.keys(fixture.gradients) as TensorName[]).flatMap((name) => {
      const error = relativeL2(result.gradients[name] ?? [], fixture.gradients[name] ?? []);
      return error < (bars[name] ?? 5e-4) ? [] : [`${name}: ${error.toExponential(1)}`];
    });
    expect(missed).toEqual([]);
  });
});
