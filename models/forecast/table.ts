/** What a run prints: one table per series. */
import Table from 'cli-table3';
import type { Report } from './job.js';
import { HEAD, headingOf, scoresOf, verdict } from './scores.js';

export { summary } from './scores.js';

export function tableOf(report: Report): string {
  const table = new Table({
    head: Object.values(HEAD),
    colAligns: ['left', 'right', 'right', 'right', 'right', 'left'],
    // No colours: the table is pasted into files and read by programs.
    style: { head: [], border: [], compact: true },
  });
  for (const { label, error, share, scale, ridge, mark } of scoresOf(report)) {
    table.push([label, error, share, scale, ridge, mark]);
  }
  return [headingOf(report), table.toString(), verdict(report)].join('\n');
}
