import { existsSync } from 'node:fs';
import type { Browser } from 'playwright-core';
import { launchBrowser } from '../../test/browser/page.js';
import { hostSlowly, type Line, type SlowHost } from './server.js';

/** The site as `npm run demo:build` leaves it. */
const SITE = 'demos/dist';

/**
 * Hosts the built site behind a line, opens a browser, and ends the process when `work` is done: with code 1 and a message
 * where it failed.
 */
export function withSite(
  line: Line,
  options: { readonly gpu?: boolean },
  work: (browser: Browser, host: SlowHost) => Promise<void>,
): void {
  const all = async () => {
    if (!existsSync(`${SITE}/index.html`)) throw new Error(`there is no site in ${SITE}: run npm run demo:build`);
    const host = await hostSlowly(SITE, line);
    const browser = await launchBrowser(options);
    try {
      await work(browser, host);
    } finally {
      await browser.close();
      host.close();
    }
  };
  all().then(
    () => process.exit(0),
    (error: unknown) => {
      console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
      process.exit(1);
    },
  );
}
