import { architectureFor, USUAL_ARCHITECTURES } from '../src/cli/setup/device_code.js';
import { type CudaDevice, deviceCodeFor } from '../src/native/device_code.js';

const gpu = (capability: string): CudaDevice => {
  const [major, minor] = capability.split('.').map(Number);
  return { name: `a GPU of ${capability}`, major, minor, driver: 12040 };
};

test.each([
  ['8.0', 'sm_80'],
  ['8.9', 'sm_89'],
  ['9.0', 'sm_90a'],
  ['12.0', 'sm_120'],
  // Newer than the compiler knows: PTX of the newest one before it.
  ['11.0', 'compute_103'],
  ['13.5', 'compute_121'],
])('a GPU of capability %s gets code for %s', (capability, architecture) => {
  expect(architectureFor(gpu(capability))).toBe(architecture);
});

test('what is compiled for a GPU is what that GPU takes', () => {
  for (const capability of ['8.0', '8.6', '8.9', '9.0', '10.0', '11.0', '12.1', '14.2']) {
    const architecture = architectureFor(gpu(capability));
    const codes = [...USUAL_ARCHITECTURES, architecture].map((name) => ({ architecture: name, files: [name] }));
    expect(deviceCodeFor(codes, gpu(capability))?.architecture).toBe(architecture);
  }
});

test('a GPU that is too old is refused with its name and what is needed', () => {
  expect(() => architectureFor(gpu('7.5'))).toThrow('8.0 or newer, a GPU of 7.5 has 7.5');
});

test.each([
  ['8.9', ['sm_80', 'sm_90a'], 'sm_80'],
  ['8.0', ['sm_86', 'sm_90a'], undefined],
  ['9.0', ['sm_80', 'sm_90a', 'compute_80'], 'sm_90a'],
  ['9.0', ['sm_80', 'compute_80'], 'compute_80'],
  // Code with an `a` runs on its own generation only, PTX on all that come later.
  ['10.0', ['sm_80', 'sm_90a'], undefined],
  ['10.0', ['sm_90a', 'compute_80', 'compute_90'], 'compute_90'],
  ['8.0', ['compute_90'], undefined],
  ['9.0', ['fatbin'], undefined],
  ['9.0', [], undefined],
])('on capability %s of %j runs %s', (capability, architectures, expected) => {
  const codes = architectures.map((architecture) => ({ architecture, files: [] }));
  expect(deviceCodeFor(codes, gpu(capability))?.architecture).toBe(expected);
});
