let inUse = 0;
let peak = 0;

/**
 * Scratch memory of one kernel call. All float64 buffers of the `cpu` kernels come from here, so that the memory that a
 * kernel takes beyond its inputs and outputs can be measured (`peakScratchBytes`) rather than guessed.
 */
export class Workspace {
  private bytes = 0;

  /** A zeroed float64 buffer that lives until `release`. */
  take(length: number): Float64Array {
    const buffer = new Float64Array(length);
    this.bytes += buffer.byteLength;
    inUse += buffer.byteLength;
    peak = Math.max(peak, inUse);
    return buffer;
  }

  /** Ends the lifetime of everything that was taken; the garbage collector frees it. */
  release(): void {
    inUse -= this.bytes;
    this.bytes = 0;
  }
}

/** Runs `body` with a workspace that is released afterwards, also when it throws. */
export function withWorkspace<Result>(body: (workspace: Workspace) => Result): Result {
  const workspace = new Workspace();
  try {
    return body(workspace);
  } finally {
    workspace.release();
  }
}

/** The largest number of scratch bytes in use at one time since the last call, which starts a new count. */
export function peakScratchBytes(): number {
  const bytes = peak;
  peak = inUse;
  return bytes;
}
