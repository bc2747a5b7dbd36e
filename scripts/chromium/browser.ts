import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { unpackBrowser, unusable } from './unpack.js';

/** A Chrome or Chromium, and what it takes to run it without a display and without a GPU. */
export interface Browser {
  readonly executable: string;
  readonly flags: readonly string[];
  /** Variables of the environment that it needs besides those of this process. */
  readonly env: Readonly<Record<string, string>>;
}

/** WebGPU and WebGL2, both on the SwiftShader that the browser brings along. */
const SWIFTSHADER_FLAGS = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--use-gl=angle',
  '--use-angle=swiftshader',
  '--enable-unsafe-swiftshader',
  // Else SwiftShader takes seconds to compile a kernel with much workgroup memory: it unrolls the zeros in there.
  '--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension',
];

/** WebGPU and WebGL2 on the machine's own GPU, also where Chromium takes its driver for an unsafe one. */
const GPU_FLAGS = ['--enable-unsafe-webgpu', '--ignore-gpu-blocklist', '--enable-features=Vulkan'];

/** Containers often run as root and with a small /dev/shm. */
const CONTAINER_FLAGS = ['--no-sandbox', '--disable-dev-shm-usage'];

const PROGRAMS = ['google-chrome-stable', 'google-chrome', 'chromium', 'chromium-browser'];

/** Where browsers are on systems that do not have them on the search path. */
function usualPlaces(): string[] {
  const { LOCALAPPDATA = '', PROGRAMFILES = '', 'PROGRAMFILES(X86)': x86 = '' } = process.env;
  if (process.platform === 'darwin') {
    return ['Google Chrome', 'Chromium'].map((name) => `/Applications/${name}.app/Contents/MacOS/${name}`);
  }
  if (process.platform !== 'win32') return [];
  return [PROGRAMFILES, x86, LOCALAPPDATA].map((folder) => join(folder, 'Google/Chrome/Application/chrome.exe'));
}

function systemBrowser(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const onPath = PROGRAMS.flatMap((program) => folders.map((folder) => join(folder, program)));
  return [...onPath, ...usualPlaces()].find((file) => existsSync(file));
}

/**
 * The browser that tests run in: the one that `CHROME_BIN` names, else one that is installed, else the Chromium inside
 * `@sparticuz/chromium`. It computes on SwiftShader, or, with `gpu`, on the machine's own GPU.
 */
export async function findBrowser({ gpu = false } = {}): Promise<Browser> {
  const flags = [...CONTAINER_FLAGS, ...(gpu ? GPU_FLAGS : SWIFTSHADER_FLAGS)];
  const named = process.env.CHROME_BIN;
  if (named && !existsSync(named)) throw new Error(`CHROME_BIN names ${named}, which does not exist`);
  const installed = named ?? systemBrowser();
  if (installed) return { executable: installed, flags: ['--headless=new', ...flags], env: {} };
  const reason = unusable();
  if (reason !== undefined) throw new Error(`no Chrome: install one or set CHROME_BIN to its path (${reason})`);
  const folder = await unpackBrowser();
  const libraries = [join(folder, 'lib'), process.env.LD_LIBRARY_PATH].filter(Boolean).join(delimiter);
  return {
    executable: join(folder, 'chromium'),
    flags: ['--headless=shell', ...flags],
    env: { LD_LIBRARY_PATH: libraries, FONTCONFIG_PATH: join(folder, 'fonts') },
  };
}
