import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import Table from 'cli-table3';

import type { DecodeRow } from './decode.js';
import type { BenchDevice } from './device.js';
import type { Timing } from './measure.js';
import { fixed } from './report.js';

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

const range = (timing: Timing | null): string =>
  timing === null ? '' : `${fixed(timing.median)} (${fixed(timing.minimum)} to ${fixed(timing.maximum)})`;

/** Results of `--decode`: a table, and a file that is complete after every row. */
export class DecodeReport {
  private readonly rows: DecodeRow[] = [];
  private readonly failures: { readonly name: string; readonly reason: string }[] = [];
  private readonly start = Date.now();

  constructor(
    private readonly device: BenchDevice,
    private readonly settings: { readonly command: string; readonly json?: string },
  ) {}

  get failed(): number {
    return this.failures.length + this.rows.filter(({ problems }) => problems.length > 0).length;
  }

  add(row: DecodeRow): void {
    this.rows.push(row);
    const cells = this.cells(row).flatMap((cell, i) => (cell === '' || i === 0 ? [] : [`${HEAD[i]} ${cell}`]));
    console.log(`${row.name}: ${cells.join(' | ')}`);
    this.write();
  }

  fail(name: string, reason: string): void {
    this.failures.push({ name, reason });
    console.log(`${name}: ${reason}`);
    this.write();
  }

  private related(row: DecodeRow): Relations {
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

  private cells(row: DecodeRow): string[] {
    const { gigabytesPerSecond, copyGigabytesPerSecond, bandwidthOverCopy, timesSoftmax } = this.related(row);
    const notes = [...row.problems, ...(row.grownBytes > 0 ? [`memory grew by ${row.grownBytes} bytes`] : [])];
    return [
      row.name,
      `${row.error.relative.toExponential(1)} (${row.error.worstRow.toExponential(1)})`,
      range(row.kernel),
      range(row.wall),
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

  printTable(): void {
    const table = new Table({ head: HEAD, style: { head: [], border: [] }, wordWrap: true });
    table.push(...this.rows.map((row) => this.cells(row)));
    console.log(table.toString());
    for (const { name, reason } of this.failures) console.log(`no figures: ${name}: ${reason}`);
  }

  /** What runs where, and how to read the columns. */
  summary(): string[] {
    const { device, settings } = this;
    const processor = cpus().at(0)?.model.trim() ?? 'unknown processor';
    const { adapter, driver } = device;
    return [
      `backend ${device.backend} (${[adapter, driver].filter(Boolean).join('; ')}), ${processor}, Node ${process.version}`,
      'one new token a head; error against float64 of the same step; GB/s: bytes of the cache, each read once, by kernel time; ' +
        'copy: those bytes copied on the device, GB/s with reading and writing counted; extra: beside cache and result',
      `\`${settings.command}\`, ${new Date().toISOString().slice(0, 10)}`,
    ];
  }

  /** The same table in Markdown, without the columns that are empty. */
  markdown(): string {
    const all = [HEAD, ...this.rows.map((row) => this.cells(row))];
    const used = HEAD.map((_, i) => all.slice(1).some((cells) => cells[i] !== ''));
    const lines = all.map((cells) => `| ${cells.filter((_, i) => used[i]).join(' | ')} |`);
    lines.splice(1, 0, `|${used.flatMap((isUsed) => (isUsed ? ['---'] : [])).join('|')}|`);
    const failures = this.failures.map(({ name, reason }) => `- no figures: ${name}: ${reason}`);
    return [...this.summary().map((line) => `- ${line}`), ...failures, '', ...lines].join('\n');
  }

  private write(): void {
    const { device, settings } = this;
    if (settings.json === undefined) return;
    const report = {
      backend: device.backend,
      adapter: device.adapter,
      driver: device.driver,
      processor: cpus().at(0)?.model.trim() ?? 'unknown',
      node: process.version,
      date: new Date().toISOString(),
      seconds: (Date.now() - this.start) / 1000,
      command: settings.command,
      rows: this.rows.map((row) => ({ ...row, ...this.related(row) })),
      failures: this.failures,
    };
    writeFileSync(settings.json, `${JSON.stringify(report, null, 1)}\n`);
  }
}
