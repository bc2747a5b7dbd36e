/** What a visitor does on each page of the site, and what comes of it. */
import { existsSync } from 'node:fs';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import type { Locator, Page } from 'playwright-core';
import { compare } from '../../models/forecast/job.js';
import { seriesOf } from '../../models/forecast/sources.js';
import { jobs as training, type Reached } from '../../models/in_context_regression/demo/jobs.js';

/** Waits for something to be there, or for the page to say why it will not be. */
async function wait(page: Page, what: Locator): Promise<void> {
  const problem = page.getByRole('alert');
  await what.or(problem).first().waitFor();
  if (await problem.isVisible()) throw new Error(`the page says: ${(await problem.textContent()) ?? ''}`);
}

const ready = (page: Page): Promise<void> => wait(page, page.locator('[data-state=ready]'));

const bias = async (page: Page, fit: string): Promise<number> =>
  Number(await page.locator(`[data-bias=${fit}]`).textContent());

async function see(page: Page): Promise<void> {
  await ready(page);
  await wait(page, page.locator('[data-bias=softmax]:not(:text("…"))'));
  await page.getByLabel('Points on').selectOption('line');
  await page.waitForFunction(() => Number(document.querySelector('[data-bias=localLinear]')?.textContent) < 0.01);
  const [constant, linear] = [await bias(page, 'softmax'), await bias(page, 'localLinear')];
  if (!(constant > 0.2 && linear < 0.05)) throw new Error(`bias at the ends: softmax ${constant}, LLA ${linear}`);
  const point = page.getByRole('button', { name: /^Point 13 / });
  // By mouse upwards, then by keys.
  const box = await point.boundingBox();
  if (box === null) throw new Error('point 13 is not to be seen');
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2 + 60, { steps: 4 });
  await page.mouse.up();
  const dragged = heightOf(await point.getAttribute('aria-label'));
  if (!(dragged < 1)) throw new Error(`point 13 was dragged down from 1.3 to ${dragged}`);
  await point.focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Shift+ArrowDown');
  const moved = heightOf(await point.getAttribute('aria-label'));
  if (Math.abs(dragged - moved - 0.12) > 0.011) throw new Error(`keys moved point 13 from ${dragged} to ${moved}`);
  const first = page.getByRole('button', { name: /^Point 1 / });
  await dragByFinger(page, first, 60);
  const touched = heightOf(await first.getAttribute('aria-label'));
  if (!(touched < -1.5)) throw new Error(`point 1 was dragged by a finger from -1.3 to ${touched}`);
  await page.waitForFunction(
    (before) => Number(document.querySelector('[data-bias=localLinear]')?.textContent) > before + 0.1,
    linear,
  );
}

/** Drags something downwards with a finger. */
async function dragByFinger(page: Page, what: Locator, pixels: number): Promise<void> {
  const box = await what.boundingBox();
  if (box === null) throw new Error('what is to be dragged is not to be seen');
  const session = await page.context().newCDPSession(page);
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', down: number) =>
    session.send('Input.dispatchTouchEvent', { type, touchPoints: type === 'touchEnd' ? [] : [{ x, y: y + down }] });
  await touch('touchStart', 0);
  for (const part of [0.3, 0.6, 1]) await touch('touchMove', part * pixels);
  await touch('touchEnd', pixels);
  await session.detach();
}

const heightOf = (label: string | null): number => Number(/ y (-?[\d.]+)/.exec(label ?? '')?.[1]);

/** Values that a local rule forecasts, with something on top that none does. */
const VALUES = Array.from({ length: 120 }, (_, i) => Math.sin(i / 3 + Math.sin(i / 20)) + 0.2 * Math.sin(137 * i * i));
const CSV = `step;height\n${VALUES.map((value, i) => `${i};${value.toFixed(6)}`).join('\n')}`;

/** The mean squared errors that Node finds, by the operators' labels. */
async function expectedErrors(lags: number): Promise<Map<string, number>> {
  await tf.setBackend('cpu');
  const { results } = await compare(seriesOf(CSV, 'wave.csv', 'height'), lags);
  return new Map(results.map(({ label, error }) => [label, error]));
}

async function forecast(page: Page): Promise<void> {
  await ready(page);
  await page.getByLabel('Series').selectOption('own');
  const file = page.locator('input[type=file]');
  await file.setInputFiles({ name: 'bad.csv', mimeType: 'text/csv', buffer: Buffer.from('1,2\n3,4\n') });
  await page.getByText('bad.csv, line 1: the first line must name the columns').waitFor();
  await file.setInputFiles({ name: 'wave.csv', mimeType: 'text/csv', buffer: Buffer.from(CSV) });
  await page.getByLabel('Column').selectOption('height');
  await page.getByLabel('Past values').fill('4');
  await page.getByRole('button', { name: 'Forecast' }).click();
  await wait(page, page.locator('[data-verdict]'));
  await page.locator('.plot svg path').first().waitFor({ state: 'attached' });
  for (const [label, error] of await expectedErrors(4)) {
    const row = page.getByRole('row', { name: label });
    const found = Number(await row.getByRole('cell').first().textContent());
    if (!(Math.abs(found - error) <= 0.02 * error)) throw new Error(`${label}: error ${found}, in Node ${error}`);
  }
}

async function train(page: Page): Promise<void> {
  await ready(page);
  await page.getByLabel('Steps', { exact: true }).fill('5');
  await page.getByRole('button', { name: 'Train' }).click();
  const expected = await expectedLosses(5);
  for (const attention of ['localLinear', 'softmax'] as const) {
    await wait(page, page.locator(`[data-error=${attention}]:not(:text("…"))`));
    const loss = Number(await page.locator(`[data-loss=${attention}]`).textContent());
    const inNode = expected[attention] ?? NaN;
    if (!(Math.abs(loss - inNode) <= 0.01 * inNode)) throw new Error(`${attention}: loss ${loss}, in Node ${inNode}`);
  }
}

/** The mean losses that Node finds in as many steps, on the same data. */
async function expectedLosses(steps: number): Promise<Reached['losses']> {
  await tf.setBackend('cpu');
  let losses: Reached['losses'] = {};
  await training.train({ attentions: ['localLinear', 'softmax'], steps, seed: 1 }, (reached) => {
    losses = reached.losses;
  });
  return losses;
}

async function measure(page: Page): Promise<void> {
  await ready(page);
  await page.getByLabel('Tokens').selectOption('128');
  await page.getByLabel('Heads').selectOption('1');
  await page.getByLabel('Width of a head').selectOption('16');
  await page.getByRole('button', { name: 'Measure' }).click();
  await wait(page, page.locator('button:enabled', { hasText: 'Copy the result' }));
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByRole('button', { name: 'Copy the result' }).click();
  await page.getByText('Copied.').waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  const times = [...copied.matchAll(/^\| [^|]+ \| ([\d.]+) \| ([\d.]+) \|$/gm)];
  if (times.length !== 5 || times.some(([, forward, both]) => !(Number(forward) > 0 && Number(both) > 0))) {
    throw new Error(`what was copied has no five rows of times:\n${copied}`);
  }
}

/** Whether the site has a model of an experiment's. */
const hasModel = (experiment: string): boolean => existsSync(`models/${experiment}/results/localLinear/model.json`);

const NO_MODEL = 'This site was built without a trained model.';

async function use(page: Page): Promise<void> {
  await ready(page);
  await (hasModel('language_model') ? write(page) : page.getByText(NO_MODEL).waitFor());
  await page.getByLabel('A model recalls pairs').check();
  await (hasModel('associative_recall') ? recall(page) : page.getByText(NO_MODEL).waitFor());
}

async function write(page: Page): Promise<void> {
  await page.getByLabel('Bytes to write').fill('12');
  await wait(page, page.locator('button:enabled', { hasText: 'Write' }));
  await page.getByRole('button', { name: 'Write' }).click();
  await wait(page, page.locator('[data-weight]').first());
  const tokens = await page.locator('[data-tokens]').textContent();
  if (tokens !== '12') throw new Error(`tokens written: ${tokens ?? 'none'}`);
  for (const figure of ['rate', 'cache']) {
    const value = parseFloat((await page.locator(`[data-${figure}]`).textContent()) ?? '');
    if (!(value > 0)) throw new Error(`${figure}: ${value}`);
  }
  // What the fourth character looks at lies before it.
  await page.locator('[data-written] [data-index="3"]').click();
  await page.getByText('Character 4 of').waitFor();
  await page.waitForFunction(() => document.querySelectorAll('[data-weight]').length === 4);
}

async function recall(page: Page): Promise<void> {
  await wait(page, page.locator('[data-right]'));
  const answers = await page.locator('[data-answer]').count();
  const right = Number(await page.locator('[data-right]').getAttribute('data-right'));
  if (!(answers > 0 && right <= answers)) throw new Error(`${right} of ${answers} values right`);
  await page.locator('.pairs span[style*="rgb"]').first().waitFor();
}

export const PAGES: Readonly<Record<string, (page: Page) => Promise<void>>> = { see, use, forecast, train, measure };
