/**
 * The headless Chromium and the software Vulkan driver (SwiftShader) that the npm package `@sparticuz/chromium` carries
 * inside its tarball, unpacked once into a cache beside it.
 */
import { randomUUID } from 'node:crypto';
import { chmodSync, createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress } from 'node:zlib';
import { x as extract } from 'tar';

const PACKAGE = '@sparticuz/chromium';

/** The only system that the package has binaries for. */
const SYSTEM = 'linux x64';

/** Why the binaries cannot be used on this machine, or undefined where they can. */
export function unusable(): string | undefined {
  const system = `${process.platform} ${process.arch}`;
  if (system !== SYSTEM) return `the binaries inside the npm package ${PACKAGE} are for ${SYSTEM}, this is ${system}`;
  try {
    packageFolder();
    return undefined;
  } catch {
    return `the npm package ${PACKAGE} is not installed: run npm ci`;
  }
}

/** Folder of the installed package. Its manifest is not among its exports, so its entry has to lead there. */
function packageFolder(): string {
  const entry = createRequire(import.meta.url).resolve(PACKAGE);
  return entry.slice(0, entry.lastIndexOf(`${sep}build${sep}`));
}

/** SwiftShader: the Vulkan loader `libvulkan.so.1`, the driver and the file that leads the one to the other. */
export function unpackSwiftShader(): Promise<string> {
  return unpack('swiftshader', ['swiftshader.tar.br']);
}

/** The browser `chromium`, SwiftShader beside it, fonts in `fonts/` and the libraries of `lib/` that systems may lack. */
export function unpackBrowser(): Promise<string> {
  return unpack('browser', ['chromium.br', 'swiftshader.tar.br', 'fonts.tar.br', 'al2023.tar.br']);
}

/**
 * Unpacks archives into a folder of the cache, or finds them there.
 *
 * Whoever comes first fills a folder of its own and renames it when it is complete: nobody ever sees half of it, and of
 * two processes at work at once one throws its folder away.
 */
async function unpack(name: string, archives: readonly string[]): Promise<string> {
  const reason = unusable();
  if (reason !== undefined) throw new Error(reason);
  const source = packageFolder();
  const { version } = createRequire(import.meta.url)(join(source, 'package.json')) as { version: string };
  const folder = join(dirname(dirname(source)), '.cache', 'tfjs-lla', `chromium-${version}`, name);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}-${randomUUID()}`;
  mkdirSync(unfinished, { recursive: true });
  try {
    await Promise.all(archives.map((archive) => decompress(join(source, 'bin', archive), unfinished)));
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

async function decompress(archive: string, folder: string): Promise<void> {
  const input = createReadStream(archive);
  if (archive.endsWith('.tar.br')) {
    await pipeline(input, createBrotliDecompress(), extract({ cwd: folder, preserveOwner: false }));
    return;
  }
  const file = join(folder, basename(archive, '.br'));
  await pipeline(input, createBrotliDecompress(), createWriteStream(file));
  chmodSync(file, 0o755);
}
