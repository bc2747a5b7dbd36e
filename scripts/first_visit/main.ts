/**
 * `npm run demo:visit`: the first visit of the page *Use it* over a slow line: bytes, and the time to the first token. Takes
 * the site as `npm run demo:build` left it.
 */
import { existsSync } from 'node:fs';
import { Command, Option } from 'commander';
import { launchBrowser } from '../../test/browser/page.js';
import { hostSlowly, type Line } from './server.js';

/** Lighthouse's "Slow 4G". */
const SLOW_4G: Line = { bits: 1_600_000, latency: 150 };
const SITE = 'demos/dist';

const program = new Command('npm run demo:visit --')
  .description('Opens the page Use it over a slow line, with an empty cache, and writes as soon as it can.')
  .addOption(
    new Option('--backend <name>', 'what computes').choices(['webgpu', 'webgl', 'wasm', 'cpu']).default('webgpu'),
  )
  .option('--gpu', "on the machine's own GPU, not on SwiftShader")
  .parse();
const { backend, gpu } = program.opts<{ backend: string; gpu?: true }>();

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;

async function main(): Promise<void> {
  if (!existsSync(`${SITE}/index.html`)) throw new Error(`there is no site in ${SITE}: run npm run demo:build`);
  const host = await hostSlowly(SITE, SLOW_4G);
  const browser = await launchBrowser({ gpu });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(600_000);
    const begun = performance.now();
    const since = () => seconds(performance.now() - begun);
    await page.goto(`${host.address}?backend=${backend}#/use`);
    await page.locator('[data-state]').waitFor();
    console.log(`line: ${SLOW_4G.bits / 1e6} Mbit/s, ${SLOW_4G.latency} ms before each answer; backend ${backend}`);
    console.log(`page shown after ${since()}`);
    await page.locator('[data-state=ready]').waitFor();
    console.log(`backend ready after ${since()}: ${(await page.locator('[data-state=ready]').textContent()) ?? ''}`);
    await page.locator('button:enabled', { hasText: 'Write' }).waitFor();
    console.log(`model loaded after ${since()}`);
    await page.getByRole('button', { name: 'Write' }).click();
    await page.locator('[data-tokens]').waitFor();
    console.log(`first token after ${since()}`);
    const total = host.sent.reduce((sum, { bytes }) => sum + bytes, 0);
    console.log(`bytes: ${total} in ${host.sent.length} files`);
    for (const { path, bytes } of [...host.sent].sort((a, b) => b.bytes - a.bytes).slice(0, 8)) {
      console.log(`  ${String(bytes).padStart(8)} ${path}`);
    }
  } finally {
    await browser.close();
    host.close();
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  },
);
