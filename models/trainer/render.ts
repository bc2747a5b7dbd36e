/** Table and plot of the runs in a folder, there or in the model's own README.md and results. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readText, writeAtomically } from '../common/files.js';
import { InputError } from '../common/input_error.js';
import type { Experiment } from './experiment.js';
import { modelFolder } from './options.js';
import { plot } from './plot.js';
import { readRecord, type RunRecord } from './record.js';
import { panelsOf, tableOf } from './summary.js';

/** Between these two lines of README.md stands what this module writes. */
const BEGIN = '<!-- results: written by npm run train, change nothing here -->';
const END = '<!-- end of results -->';

async function recordsIn(experiment: Experiment, out: string): Promise<RunRecord[]> {
  const names = await readdir(out, { withFileTypes: true }).catch(() => []);
  const folders = names.filter((entry) => entry.isDirectory() && /_seed\d+$/.test(entry.name)).map(({ name }) => name);
  const records: RunRecord[] = [];
  for (const folder of folders.sort()) {
    const file = join(out, folder, 'record.json');
    const files = await readdir(join(out, folder));
    if (!files.includes('record.json')) continue;
    const record = await readRecord(file);
    if (record.key.model !== experiment.name) {
      throw new InputError(`${file}: this is a run of ${record.key.model}, not of ${experiment.name}`);
    }
    records.push(record);
  }
  if (records.length === 0) throw new InputError(`${out}: there is no finished run of ${experiment.name}`);
  return records.sort((a, b) => a.key.seed - b.key.seed);
}

const listed = (values: readonly (string | number)[]): string => [...new Set(values)].join(', ');

/** Commands that differ in the attention alone as one; that of a later seed is said by the seeds. */
function commandsOf(records: readonly RunRecord[]): string {
  const attentions = listed(records.map(({ key }) => key.attention)).replaceAll(' ', '');
  const commands = records.map(({ made }) =>
    made.command.replace(/ --attention \S+/, ` --attention ${attentions}`).replace(/ --seed \d+/, ''),
  );
  return listed(commands.map((command) => `\`${command}\``));
}

/** Command, device, date and seeds, which a table is worth nothing without. */
function heading(records: readonly RunRecord[]): string {
  const made = records.map((record) => record.made);
  const seeds = [...new Set(records.map(({ key }) => key.seed))];
  return [
    `${commandsOf(records)}, ${listed(made.map(({ date }) => date))},`,
    `backend \`${listed(records.map(({ key }) => key.backend))}\` on ${listed(made.map(({ adapter }) => adapter))},`,
    `Node ${listed(made.map(({ node }) => node))}; ${seeds.length > 1 ? 'seeds' : 'seed'} ${listed(seeds)}`,
    seeds.length > 1 ? '(mean ± standard deviation).' : '(no spread).',
  ].join(' ');
}

/** Draws and writes what the runs in `out` give; with `publish` into the folder of the model. */
export async function render(experiment: Experiment, out: string, publish: boolean): Promise<void> {
  const records = await recordsIn(experiment, out);
  const table = tableOf(experiment, records);
  const picture = await plot(panelsOf(experiment, records));
  const folder = publish ? join(modelFolder(experiment.name), 'results') : out;
  console.log(`${heading(records)}\n\n${table}\n`);
  if (publish) {
    const readme = join(modelFolder(experiment.name), 'README.md');
    const text = await readText(readme);
    const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
    if (from < 0 || to < from) throw new InputError(`${readme} lacks the lines '${BEGIN}' and '${END}' in this order`);
    const picturePath = `![${experiment.title}](results/plot.svg)`;
    const written = [BEGIN, heading(records), '', table, '', picturePath, ''].join('\n');
    await writeAtomically(readme, `${text.slice(0, from)}${written}${text.slice(to)}`);
  } else {
    await writeAtomically(join(folder, 'table.md'), `${heading(records)}\n\n${table}\n`);
  }
  await writeAtomically(join(folder, 'plot.svg'), picture);
  const lines = records.map((record) => JSON.stringify(record));
  await writeAtomically(join(folder, 'runs.jsonl'), `${lines.join('\n')}\n`);
  console.log(`written to ${folder}: plot.svg, runs.jsonl${publish ? ', and the table to README.md' : ', table.md'}`);
}
