import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { TFJS_NODE_VERSION } from '../../native/installation.js';
import { produce, run, SetupError, tail } from './shell.js';

/**
 * What is taken from npm: tfjs-node's JavaScript and C++ sources, the two libraries that its JavaScript needs, and the
 * headers of Node's stable native interface. Nothing is installed: tfjs-node's install script would fail.
 */
const PACKAGES: Readonly<Record<string, string>> = {
  '@tensorflow/tfjs-node': TFJS_NODE_VERSION,
  'google-protobuf': '3.21.4',
  progress: '2.0.3',
  'node-api-headers': '1.9.0',
};

/** The packages that tfjs-node's files ask for, beside which a stand-in hands on the project's own (src/native/load.ts). */
const STOOD_IN_FOR = ['@tensorflow/tfjs', '@tensorflow/tfjs-core'];
const STAND_IN = "module.exports = globalThis[Symbol.for('tfjs-lla.tfjs')];\n";

/** Fetches the packages into `node_modules` of `app` where they are not there; returns the number fetched. */
export async function providePackages(app: string): Promise<number> {
  const modules = join(app, 'node_modules');
  let fetched = 0;
  for (const [name, version] of Object.entries(PACKAGES)) {
    const folder = join(modules, name);
    if (versionOf(folder) === version) continue;
    const installed = installedFolder(name, version);
    if (installed === undefined) await fetchPackage(name, version, folder);
    else await copyPackage(installed, folder);
    fetched++;
  }
  for (const name of STOOD_IN_FOR) {
    mkdirSync(join(modules, name), { recursive: true });
    writeFileSync(join(modules, name, 'index.js'), STAND_IN);
  }
  return fetched;
}

function versionOf(folder: string): string | undefined {
  const manifest = join(folder, 'package.json');
  if (!existsSync(manifest)) return undefined;
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

/** The package in the project's own node_modules, such as a tfjs-node installed with `--ignore-scripts`. */
function installedFolder(name: string, version: string): string | undefined {
  try {
    const manifest = createRequire(join(process.cwd(), 'package.json')).resolve(`${name}/package.json`);
    return versionOf(dirname(manifest)) === version ? dirname(manifest) : undefined;
  } catch {
    return undefined;
  }
}

function copyPackage(from: string, folder: string): Promise<void> {
  return produce(folder, (temporary) => {
    cpSync(from, temporary, { recursive: true });
    return Promise.resolve();
  });
}

async function fetchPackage(name: string, version: string, folder: string): Promise<void> {
  await produce(folder, async (temporary) => {
    mkdirSync(temporary, { recursive: true });
    const packed = await run('npm', ['pack', '--silent', '--pack-destination', temporary, `${name}@${version}`]);
    if (packed.status !== 0) {
      const why = packed.missing ? 'npm is not there' : tail(packed.stderr);
      throw new SetupError(`npm could not fetch ${name}@${version} (no network, or no registry?):\n${why}`);
    }
    const tarball = readdirSync(temporary).find((file) => file.endsWith('.tgz')) ?? '';
    const unpacked = await run('tar', ['-xzf', join(temporary, tarball), '-C', temporary, '--strip-components=1']);
    if (unpacked.status !== 0) {
      throw new SetupError(
        `${tarball} could not be unpacked: ${unpacked.missing ? "the program 'tar' is needed" : tail(unpacked.stderr)}`,
      );
    }
  });
}
