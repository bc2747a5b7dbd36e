import type { Tunings } from './tuning.js';

/*
 * Written by `npm run fast:tune` from docs/benchmarks/webgpu_tuning.json: the fastest right settings of every class of devices.
 * '' stands for devices of which nothing was measured.
 */
export const MEASURED: Readonly<Record<string, Tunings>> = {
  '': {
    gradientRows: { subgroups: 4, quads: 2, buffers: 2, workgroups: 528 },
    keys: { subgroups: 8, quads: 2, buffers: 2, workgroups: 528 },
    keptWeights: { subgroups: 4, quads: 4, workgroups: 528 },
    onePass: { subgroups: 4, quads: 2, workgroups: 528 },
    passes: { subgroups: 4, quads: 2, buffers: 2, workgroups: 528 },
    'gradientRows wide': { subgroups: 4, quads: 2, buffers: 1, workgroups: 528 },
    'keys wide': { subgroups: 8, quads: 2, buffers: 1, workgroups: 528 },
    'keptWeights wide': { subgroups: 4, quads: 4, workgroups: 528 },
  },
};
