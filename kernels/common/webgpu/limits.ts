/** Limits that every call asks for. */
const ASKED_FOR = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupsPerDimension',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
] as const;

type Limits = Readonly<Record<(typeof ASKED_FOR)[number], number>>;

const all = new WeakMap<GPUDevice, Limits>();

/** The same numbers as in `device.limits`, whose properties are slow to ask for in Node. */
export function limitsOf(device: GPUDevice): Limits {
  let limits = all.get(device);
  if (limits === undefined) {
    limits = Object.fromEntries(ASKED_FOR.map((name) => [name, device.limits[name]])) as Limits;
    all.set(device, limits);
  }
  return limits;
}
