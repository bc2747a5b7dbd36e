/** Why there is no WebGPU here, in a visitor's words; undefined where a browser offers it. */
export function webGpuObstacle(): string | undefined {
  // The types say that both are always there.
  const { navigator: present, isSecureContext } = globalThis as {
    readonly navigator?: { readonly gpu?: GPU };
    readonly isSecureContext?: boolean;
  };
  if (present?.gpu !== undefined) return undefined;
  if (isSecureContext === false) return 'browsers offer WebGPU to pages on https or localhost only';
  return 'this browser has no WebGPU. Chrome and Edge from version 113 and Safari from 26 have it';
}

export const NO_ADAPTER = 'this browser has WebGPU, but found no graphics adapter that it may use';
