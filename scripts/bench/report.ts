import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import Table from 'cli-table3';

import { type BenchCase, caseName } from './cases.js';
import type { BenchDevice } from './device.js';
import type { Timing } from './measure.js';
import { relationsOf, type Verdict, verdictsOf } from './relations.js';
import type { Row } from './run_case.js';
import type { Yardstick } from './yardstick.js';

/** A case without figures, and why. */
interface Failure {
  readonly name: string;
  readonly reason: string;
}

export function fixed(x: number | null | undefined): string {
  if (x === null || x === undefined) return '';
  return x > 0 && x < 0.1 ? x.toPrecision(2) : x.toFixed(x < 10 ? 3 : x < 100 ? 2 : 1);
}

const spread = (timing: Timing | null): string =>
  timing === null ? '' : `${fixed(timing.median)} (${fixed(timing.minimum)} to ${fixed(timing.maximum)})`;

/** The largest error of a row's arrays, by name where there are several. */
function errorText({ errors }: Row): string {
  if (errors.length === 0) return 'not checked';
  const worst = errors.reduce((a, b) => (a.relative >= b.relative ? a : b));
  const row = Math.max(...errors.map(({ worstRow }) => worstRow));
  const name = errors.length > 1 ? `${worst.name} ` : '';
  return `${name}${worst.relative.toExponential(1)} (${row.toExponential(1)})`;
}

function iterationsText({ iterations }: Row): string {
  if (iterations === null) return '';
  const { mean, tileMean, most, direct } = iterations;
  const parts = [mean.toFixed(1), ...(tileMean === null ? [] : [tileMean.toFixed(1)]), String(most)];
  return `${parts.join(' / ')}${direct ? `; ${direct} direct` : ''}`;
}

function verdictText(verdicts: readonly Verdict[]): string {
  if (verdicts.length === 0) return '';
  const missed = verdicts.filter(({ isMet }) => isMet !== true);
  if (missed.length === 0) return 'met';
  return missed
    .map(({ what, value, bar }) =>
      value === null ? `${what} unknown` : `${what} ${value.toPrecision(3)}, bar ${bar.toPrecision(3)}`,
    )
    .join('; ');
}

/** What is wrong, in a few words: one error of the device brings others. */
function problemText({ problems, composed }: Row): string {
  const shorten = (what: string, all: readonly string[]): string[] => {
    const [first] = all.map((text) => text.split('\n')[0].slice(0, 200));
    return all.length === 0 ? [] : [`${what}: ${first}${all.length > 1 ? ` (and ${all.length - 1} more)` : ''}`];
  };
  return [...shorten('WRONG', problems), ...shorten('composed is wrong', composed?.problems ?? [])].join('; ');
}

const HEAD = [
  'case',
  'iterations: row mean / tile mean / most',
  'error (worst row)',
  'kernel ms',
  'wall ms',
  'TFLOP/s',
  'x matMul',
  'x forward',
  'composed ms',
  'its error',
  'speed-up',
  'first call ms',
  'extra MiB',
  'x default limits',
  'growth: n, time, memory',
  'bars',
];

/** The run's results: a table on the screen, and a file that is complete after every case. */
export class Report {
  private yardstick: Yardstick | null = null;
  private readonly rows: Row[] = [];
  private readonly failures: Failure[] = [];
  private readonly start = Date.now();
  private readonly limitsByName = new Map<string, BenchDevice['limits']>();

  constructor(
    private readonly device: BenchDevice,
    private readonly settings: { readonly suite: string; readonly command: string; readonly json?: string },
  ) {}

  get failed(): number {
    return this.failures.length + this.rows.filter(({ problems }) => problems.length > 0).length;
  }

  /** Says what runs where. */
  begin(yardstick: Yardstick): void {
    this.yardstick = yardstick;
    console.log(this.summary().join('\n'));
  }

  add(row: Row): void {
    this.rows.push(row);
    this.limitsByName.set(row.case.limits, this.device.limits);
    this.print(row);
    this.write();
  }

  fail(one: BenchCase, reason: string): void {
    const name = caseName(one);
    this.failures.push({ name, reason });
    console.log(`${name}: ${reason}`);
    this.write();
  }

  private related(row: Row) {
    const relations = relationsOf(row, this.rows, this.yardstick?.teraflops ?? null);
    return { relations, verdicts: verdictsOf(row, relations) };
  }

  private cells(row: Row): string[] {
    const { relations, verdicts } = this.related(row);
    const { growth } = relations;
    const extra = row.firstCall?.extraBytes;
    return [
      row.name,
      iterationsText(row),
      errorText(row),
      spread(row.kernel),
      spread(row.wall),
      fixed(row.teraflops),
      fixed(relations.timesMatMul),
      fixed(relations.timesForward),
      row.composed ? fixed((row.composed.kernel ?? row.composed.wall).median) : '',
      row.composed ? row.composed.error.relative.toExponential(1) : '',
      fixed(row.composed?.speedUp),
      fixed(row.firstCall?.milliseconds),
      extra === null || extra === undefined ? '' : fixed(extra / 2 ** 20),
      fixed(relations.timesDevice),
      growth ? [growth.length, growth.time, growth.memory].map((x) => fixed(x)).join(', ') : '',
      problemText(row) || verdictText(verdicts),
    ];
  }

  /** One line as soon as a case is done. */
  private print(row: Row): void {
    const cells = this.cells(row).flatMap((cell, i) => (cell === '' || i === 0 ? [] : [`${HEAD[i]} ${cell}`]));
    console.log(`${row.name}: ${cells.join(' | ')}`);
  }

  printTable(): void {
    const table = new Table({ head: HEAD, style: { head: [], border: [] }, wordWrap: true });
    table.push(...this.rows.map((row) => this.cells(row)));
    console.log(table.toString());
    for (const { name, reason } of this.failures) console.log(`no figures: ${name}: ${reason}`);
  }

  /** What ran where, and the yardstick. */
  private summary(): string[] {
    const { device, settings, yardstick } = this;
    const processor = cpus().at(0)?.model.trim() ?? 'unknown processor';
    const lines = [`backend ${device.backend} (${device.adapter}), ${processor}, Node ${process.version}`];
    if (yardstick !== null) {
      const { size, time, teraflops, error } = yardstick;
      lines.push(
        `tfjs matMul ${size}: ${spread(time)} ms, ${teraflops.toPrecision(3)} TFLOP/s, error ${error.toExponential(1)}`,
      );
    }
    return [...lines, `\`${settings.command}\`, ${new Date().toISOString().slice(0, 10)}`];
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
      limits: Object.fromEntries(this.limitsByName),
      processor: cpus().at(0)?.model.trim() ?? 'unknown',
      node: process.version,
      date: new Date().toISOString(),
      seconds: (Date.now() - this.start) / 1000,
      suite: settings.suite,
      command: settings.command,
      matMul: this.yardstick,
      rows: this.rows.map((row) => ({ ...row, ...this.related(row) })),
      failures: this.failures,
    };
    writeFileSync(settings.json, `${JSON.stringify(report, null, 1)}\n`);
  }
}
