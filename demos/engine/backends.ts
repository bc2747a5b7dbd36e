/** The tfjs backends that a visitor can choose, and whether this browser has them. */
import { NO_ADAPTER, webGpuObstacle } from '../../src/webgpu/obstacle.js';

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
  const obstacle = webGpuObstacle();
  if (obstacle !== undefined) return obstacle;
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return adapter === null ? NO_ADAPTER : undefined;
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
