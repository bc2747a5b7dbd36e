import type { DecodeRow } from './decode.js';
import type { BenchDevice } from './device.js';
import { fixed, type ReportSettings, spread, TableReport } from './table_report.js';

const HEAD = [
  'step',
  'error (worst row)',
  'kernel ms',
  'wall ms',
  'extra MiB',
  'cache MiB',
  'GB/s',
  'copy ms',
  'copy GB/s',
  'GB/s over copy',
  'x softmax',
  'notes',
];

/** How a step's time compares with that of a copy of its cache and with softmax attention's. */
interface Relations {
  /** Bytes of the cache, each read once, by kernel time (wall time where there is none). */
  readonly gigabytesPerSecond: number;
  /** Bytes that a copy of the cache reads, and as many that it writes, by its time. */
  readonly copyGigabytesPerSecond: number | null;
  readonly bandwidthOverCopy: number | null;
  /** The copy's time over the step's: half of `bandwidthOverCopy`, for a copy moves every byte twice. */
  readonly copyTimeOverStep: number | null;
  readonly timesSoftmax: number | null;
}

/** Results of `--decode`. */
export class DecodeReport extends TableReport<DecodeRow> {
  constructor(device: BenchDevice, settings: ReportSettings) {
    super(HEAD, device, settings);
  }

  protected override related(row: DecodeRow): Relations {
    const timeOf = ({ kernel, wall }: DecodeRow): number => (kernel ?? wall).median;
    const softmax = this.rows.find(
      ({ operator, length, heads, dim }) =>
        operator === 'softmaxAttention' && length === row.length && heads === row.heads && dim === row.dim,
    );
    const gigabytesPerSecond = row.cacheBytes / timeOf(row) / 1e6;
    const copyGigabytesPerSecond = row.copy && (2 * row.cacheBytes) / row.copy.median / 1e6;
    return {
      gigabytesPerSecond,
      copyGigabytesPerSecond,
      bandwidthOverCopy: copyGigabytesPerSecond && gigabytesPerSecond / copyGigabytesPerSecond,
      copyTimeOverStep: row.copy && row.copy.median / timeOf(row),
      timesSoftmax: softmax ? timeOf(row) / timeOf(softmax) : null,
    };
  }

  protected override cells(row: DecodeRow): string[] {
    const { gigabytesPerSecond, copyGigabytesPerSecond, bandwidthOverCopy, timesSoftmax } = this.related(row);
    const notes = [...row.problems, ...(row.grownBytes > 0 ? [`memory grew by ${row.grownBytes} bytes`] : [])];
    return [
      row.name,
      `${row.error.relative.toExponential(1)} (${row.error.worstRow.toExponential(1)})`,
      spread(row.kernel),
      spread(row.wall),
      row.extraBytes === null ? '' : fixed(row.extraBytes / 2 ** 20),
      fixed(row.cacheBytes / 2 ** 20),
      fixed(gigabytesPerSecond),
      fixed(row.copy?.median),
      fixed(copyGigabytesPerSecond),
      fixed(bandwidthOverCopy),
      fixed(timesSoftmax),
      notes.map((note) => note.split('\n')[0].slice(0, 200)).join('; '),
    ];
  }

  /** How to read the columns. */
  protected override remarks(): string[] {
    return [
      'one new token a head; error against float64 of the same step; GB/s: bytes of the cache, each read once, by kernel time; ' +
        'copy: those bytes copied on the device, GB/s with reading and writing counted; extra: beside cache and result',
    ];
  }

  protected override details(): object {
    return {};
  }
}
