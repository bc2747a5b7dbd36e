import { readFileSync, writeFileSync } from 'node:fs';

/** Bytes that a line of this process' status counts, as Linux does: in KiB. */
function statusBytes(name: string): number | null {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return found === undefined ? null : 1024 * Number(found);
}

/**
 * Runs `work` and says by how many bytes the process' resident memory grew at its peak; null where the system does not
 * tell (it is Linux's to tell). Memory that an allocator keeps between calls does not grow again: ask in a fresh process, or for
 * the larger of two sizes last.
 */
export async function peakGrowth<T>(work: () => Promise<T>): Promise<{ result: T; bytes: number | null }> {
  try {
    // Sets the peak to what is resident now.
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    return { result: await work(), bytes: null };
  }
  const before = statusBytes('VmRSS');
  const result = await work();
  const peak = statusBytes('VmHWM');
  return { result, bytes: before === null || peak === null ? null : peak - before };
}
