/**
 * `npm run demo:visit`: the first visit of the page *Use it* over a slow line: bytes, and the time to the first token. Takes
 * the site as `npm run demo:build` left it.
 */
import { Command, Option } from 'commander';
import type { Line } from './server.js';
import { withSite } from './with_site.js';

/** Lighthouse's "Slow 4G". */
const SLOW_4G: Line = { bits: 1_600_000, latency: 150 };

const program = new Command('npm run demo:visit --')
  .description('Opens the page Use it over a slow line, with an empty cache, and writes as soon as it can.')
  .addOption(
    new Option('--backend <name>', 'what computes').choices(['webgpu', 'webgl', 'wasm', 'cpu']).default('webgpu'),
  )
  .option('--gpu', "on the machine's own GPU, not on SwiftShader")
  .parse();
const { backend, gpu } = program.opts<{ backend: string; gpu?: true }>();

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;

withSite(SLOW_4G, { gpu }, async (browser, host) => {
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
});
