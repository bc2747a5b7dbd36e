import { bundleForPage, openPage, type OpenPage } from '../../test/browser/page.js';
import type { BenchCase } from './cases.js';
import type { BenchDevice, FirstCall } from './device.js';
import type { Row } from './run_case.js';
import type { BenchPage } from './webgl_page.js';
import type { Yardstick } from './yardstick.js';

/** Renderers that are no GPU. */
const SOFTWARE = /swiftshader|llvmpipe|software/i;

/** Backend `webgl` in a headless browser: there everything is measured that elsewhere is in this process. */
export class WebGlDevice implements BenchDevice {
  readonly backend = 'webgl';
  readonly isQueued = false;

  private constructor(
    private readonly opened: OpenPage,
    readonly adapter: string,
  ) {}

  static async create(): Promise<WebGlDevice> {
    const opened = await openPage({ 'index.js': await bundleForPage('scripts/bench/webgl_page.ts') });
    const renderer = await ask(opened, 'adapter');
    return new WebGlDevice(opened, SOFTWARE.test(renderer) ? `no GPU but software: ${renderer}` : renderer);
  }

  runCase(one: BenchCase): Promise<Row> {
    return ask(this.opened, 'runCase', one);
  }

  matMul(size: number): Promise<Yardstick> {
    return ask(this.opened, 'matMul', size);
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  firstCall(): Promise<FirstCall> {
    return Promise.reject(new Error('cases of webgl are measured in a page'));
  }

  iterations(): Promise<null> {
    return Promise.resolve(null);
  }

  peakScratch(): null {
    return null;
  }

  takeErrors(): string[] {
    return [...this.opened.errors];
  }
}

/** Calls a function of the page. */
function ask<Name extends keyof BenchPage>(
  { page }: OpenPage,
  name: Name,
  ...args: Parameters<BenchPage[Name]>
): ReturnType<BenchPage[Name]> {
  return page.evaluate(`${name}(${args.map((value) => JSON.stringify(value)).join()})`) as ReturnType<BenchPage[Name]>;
}
