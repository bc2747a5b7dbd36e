/** How a page looks at every width and in both themes, and what axe finds there. */
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { AxeResults } from 'axe-core';
import type { Page } from 'playwright-core';

interface Look {
  readonly width: number;
  readonly colorScheme: 'light' | 'dark';
}

/** A desktop's and a phone's width, each in one theme. */
export const SOME_LOOKS: readonly Look[] = [
  { width: 1280, colorScheme: 'light' },
  { width: 390, colorScheme: 'dark' },
];

export const ALL_LOOKS: readonly Look[] = [
  ...SOME_LOOKS,
  { width: 1280, colorScheme: 'dark' },
  { width: 390, colorScheme: 'light' },
];

/** A folder for pictures of the pages, to be looked at. */
const { TFJS_LLA_SCREENSHOTS: folder } = process.env;

const AXE = readFileSync(createRequire(__filename).resolve('axe-core/axe.min.js'), 'utf8');
const IS_BAD: readonly unknown[] = ['serious', 'critical'];

/** What is wrong with how a page looks: serious findings of axe, and what sticks out at the side. */
export async function flawsOf(page: Page, name: string, looks: readonly Look[]): Promise<string[]> {
  const flaws: string[] = [];
  await page.evaluate(AXE);
  for (const { width, colorScheme } of looks) {
    await page.setViewportSize({ width, height: 800 });
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    // Pictures are drawn again, and colours of buttons take a moment to change.
    await page.waitForTimeout(300);
    const where = `${name} at ${width}, ${colorScheme}`;
    const scrolled = await page.evaluate('document.documentElement.scrollWidth');
    if (Number(scrolled) > width) flaws.push(`${where}: ${scrolled as number} pixels wide`);
    const { violations } = await page.evaluate<AxeResults>('axe.run()');
    for (const { id, impact, nodes } of violations) {
      if (IS_BAD.includes(impact)) flaws.push(`${where}: ${id} (${nodes.map(({ html }) => html).join(' ')})`);
    }
    if (folder === undefined) continue;
    mkdirSync(folder, { recursive: true });
    const path = join(folder, `${name}-${width}-${colorScheme}.png`.replaceAll(' ', '_'));
    await page.screenshot({ path, fullPage: true });
  }
  return flaws;
}
