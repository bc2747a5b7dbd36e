/** `npm run demo:pictures`: the pictures of README and guide, of the site as `npm run demo:build` left it. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Page } from 'playwright-core';
import { withSite } from '../first_visit/with_site.js';

const FOLDER = 'demos/pictures';
/** As good as none: what is shown is not to wait for a line. */
const FAST = { bits: 1e10, latency: 0 };

new Command('npm run demo:pictures').description(`Opens pages on wasm and draws them into ${FOLDER}.`).parse();

async function open(page: Page, address: string, name: string): Promise<void> {
  await page.goto(`${address}?backend=wasm#/${name}`);
  await page.reload();
  await page.locator('[data-state=ready]').waitFor();
}

withSite(FAST, {}, async (browser, host) => {
  await mkdir(FOLDER, { recursive: true });
  const page = await browser.newPage({ viewport: { width: 900, height: 760 } });
  page.setDefaultTimeout(300_000);
  await open(page, host.address, 'see');
  await page.locator('[data-bias=localLinear]').waitFor();
  await page.screenshot({ path: join(FOLDER, 'see.png') });
  await open(page, host.address, 'use');
  await page.getByLabel('Bytes to write').fill('200');
  await page.locator('button:enabled', { hasText: 'Write' }).click();
  await page.locator('[data-weight]').first().waitFor();
  await page.locator('[data-written]').scrollIntoViewIfNeeded();
  await page.screenshot({ path: join(FOLDER, 'use.png'), fullPage: true });
});
