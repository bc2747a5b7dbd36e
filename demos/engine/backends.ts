/** The tfjs backends that a visitor can choose, and whether this browser has them. */

export const BACKENDS = ['webgpu', 'webgl', 'wasm', 'cpu'] as const;
export type BackendName = (typeof BACKENDS)[number];

export const BACKEND_LABELS: Readonly<Record<BackendName, string>> = {
  webgpu: 'WebGPU',
  webgl: 'WebGL',
  wasm: 'WebAssembly',
  cpu: 'JavaScript (cpu)',
};

export const isBackend = (name: unknown): name is BackendName => BACKENDS.some((backend) => backend === name);

/** Why a backend cannot be taken here, in a visitor's words; nothing where it can. */
export type Obstacles = Readonly<Partial<Record<BackendName, string>>>;

async function webgpuObstacle(): Promise<string | undefined> {
  // The types say that it is always there.
  const { gpu } = navigator as { readonly gpu?: GPU };
  if (gpu === undefined) {
    return window.isSecureContext
      ? 'this browser has no WebGPU. Chrome and Edge from version 113 and Safari from 26 have it'
      : 'browsers offer WebGPU to pages on https or localhost only';
  }
  const adapter = await gpu.requestAdapter().catch(() => null);
  return adapter === null ? 'this browser has WebGPU, but found no graphics adapter that it may use' : undefined;
}

function webglObstacle(): string | undefined {
  if (typeof OffscreenCanvas === 'undefined')
    return 'this browser has no OffscreenCanvas, which WebGL in a worker needs';
  return new OffscreenCanvas(1, 1).getContext('webgl2') === null
    ? 'this browser gave no WebGL 2 context: it may be switched off, or the graphics driver is blocked'
    : undefined;
}

/** Looks at the browser alone: no backend is loaded for it. */
export async function findObstacles(): Promise<Obstacles> {
  return {
    webgpu: await webgpuObstacle(),
    webgl: webglObstacle(),
    wasm: typeof WebAssembly === 'undefined' ? 'this browser has no WebAssembly' : undefined,
  };
}
