import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import Table from 'cli-table3';

import type { BenchDevice } from './device.js';
import type { Timing } from './measure.js';

/** A case without figures, and why. */
interface Failure {
  readonly name: string;
  readonly reason: string;
}

export interface ReportSettings {
  /** What was typed to get it. */
  readonly command: string;
  /** File to write the figures to. */
  readonly json?: string;
}

/** A figure as short as it can be read; nothing where there is none. */
export function fixed(x: number | null | undefined): string {
  if (x === null || x === undefined) return '';
  return x > 0 && x < 0.1 ? x.toPrecision(2) : x.toFixed(x < 10 ? 3 : x < 100 ? 2 : 1);
}

/** Median and range of a timing. */
export const spread = (timing: Timing | null): string =>
  timing === null ? '' : `${fixed(timing.median)} (${fixed(timing.minimum)} to ${fixed(timing.maximum)})`;

const processorName = (): string => cpus().at(0)?.model.trim() ?? 'unknown processor';

/** Results of a run: a line and a file that is complete after every row, a table on the screen and one in Markdown. */
export abstract class TableReport<Row extends { readonly name: string; readonly problems: readonly string[] }> {
  protected readonly rows: Row[] = [];
  private readonly failures: Failure[] = [];
  private readonly start = Date.now();

  protected constructor(
    private readonly head: readonly string[],
    protected readonly device: BenchDevice,
    private readonly settings: ReportSettings,
  ) {}

  /** The columns of a row, the first its name. */
  protected abstract cells(row: Row): string[];

  /** What else a row says in the file, from the other rows. */
  protected abstract related(row: Row): object;

  /** What else the file says, before its rows. */
  protected abstract details(): object;

  /** Lines between what runs where and the command. */
  protected abstract remarks(): string[];

  get failed(): number {
    return this.failures.length + this.rows.filter(({ problems }) => problems.length > 0).length;
  }

  /** Whether nothing was measured, not even in vain. */
  get isEmpty(): boolean {
    return this.rows.length + this.failures.length === 0;
  }

  /** Says what runs where. */
  printSummary(): void {
    console.log(this.summary().join('\n'));
  }

  add(row: Row): void {
    this.rows.push(row);
    const cells = this.cells(row).flatMap((cell, i) => (cell === '' || i === 0 ? [] : [`${this.head[i]} ${cell}`]));
    console.log(`${row.name}: ${cells.join(' | ')}`);
    this.write();
  }

  fail(name: string, reason: string): void {
    this.failures.push({ name, reason });
    console.log(`${name}: ${reason}`);
    this.write();
  }

  printTable(): void {
    const table = new Table({ head: [...this.head], style: { head: [], border: [] }, wordWrap: true });
    table.push(...this.rows.map((row) => this.cells(row)));
    console.log(table.toString());
    for (const { name, reason } of this.failures) console.log(`no figures: ${name}: ${reason}`);
  }

  /** The same table in Markdown, without the columns that are empty. */
  markdown(): string {
    const all = [this.head, ...this.rows.map((row) => this.cells(row))];
    const used = this.head.map((_, i) => all.slice(1).some((cells) => cells[i] !== ''));
    const lines = all.map((cells) => `| ${cells.filter((_, i) => used[i]).join(' | ')} |`);
    lines.splice(1, 0, `|${used.flatMap((isUsed) => (isUsed ? ['---'] : [])).join('|')}|`);
    const failures = this.failures.map(({ name, reason }) => `- no figures: ${name}: ${reason}`);
    return [...this.summary().map((line) => `- ${line}`), ...failures, '', ...lines].join('\n');
  }

  private summary(): string[] {
    const { backend, adapter } = this.device;
    return [
      `backend ${backend} (${adapter}), ${processorName()}, Node ${process.version}`,
      ...this.remarks(),
      `\`${this.settings.command}\`, ${new Date().toISOString().slice(0, 10)}`,
    ];
  }

  private write(): void {
    const { device, settings } = this;
    if (settings.json === undefined) return;
    const report = {
      backend: device.backend,
      adapter: device.adapter,
      driver: device.driver,
      processor: processorName(),
      node: process.version,
      date: new Date().toISOString(),
      seconds: (Date.now() - this.start) / 1000,
      command: settings.command,
      ...this.details(),
      rows: this.rows.map((row) => ({ ...row, ...this.related(row) })),
      failures: this.failures,
    };
    writeFileSync(settings.json, `${JSON.stringify(report, null, 1)}\n`);
  }
}
