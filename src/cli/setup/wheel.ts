import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { frameworkLibrary } from '../../native/installation.js';
import { exposeCusolver } from './cuda_libraries.js';
import { checkPip, download, python, unpack } from './pip.js';
import { produce, run, SetupError, tail } from './shell.js';
import { checkSpace } from './system.js';

/** The release that is fetched: the one that everything is tested with. */
const TENSORFLOW_VERSION = '2.21.0';

/** The oldest release whose wheel is taken where it is already installed. */
const OLDEST_RELEASE = [2, 16];

/** A TensorFlow of pip's, unpacked. */
export interface TensorflowFolder {
  /** Folder of the Python package: libraries and headers. */
  readonly folder: string;
  readonly version: string;
  readonly gpu: boolean;
}

/** What is needed of the wheels. */
const NEEDED = String.raw`tensorflow/(include/|libtensorflow_(cc|framework)\.so\.2$)|nvidia/`;

/** The packages of CUDA's libraries that a wheel of TensorFlow asks for, with their versions. */
const CUDA_REQUIREMENTS = `
import email, re, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    name = next(name for name in archive.namelist() if name.endswith('.dist-info/METADATA'))
    metadata = email.message_from_bytes(archive.read(name))
for requirement in metadata.get_all('Requires-Dist', []):
    wanted, _, condition = requirement.partition(';')
    if 'and-cuda' in condition and wanted.startswith('nvidia'):
        print(re.sub(r'[\\s()]', '', wanted))
`;

const ASK_PYTHON = `
import importlib.util
spec = importlib.util.find_spec('tensorflow')
print(spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else '')
`;

/** The TensorFlow to build against: the given one, one that Python has installed, or one fetched into `home`. */
export async function findTensorflow(
  home: string,
  options: { tensorflow?: string; gpu?: true },
): Promise<{ found: TensorflowFolder; source: string }> {
  const gpu = options.gpu === true;
  if (options.tensorflow !== undefined) {
    return { found: givenTensorflow(options.tensorflow, gpu), source: 'given' };
  }
  const installed = await installedTensorflow();
  if (installed !== undefined && (installed.gpu || !gpu)) return { found: installed, source: 'installed for Python' };
  const site = join(home, `tensorflow-${TENSORFLOW_VERSION}-${gpu ? 'gpu' : 'cpu'}`);
  const folder = join(site, 'tensorflow');
  const found = { folder, version: TENSORFLOW_VERSION, gpu };
  if (existsSync(folder)) return { found, source: 'fetched before' };
  await fetchTensorflow(home, site, gpu);
  return { found, source: 'fetched with pip' };
}

/** A folder that the user named: the Python package itself, a site-packages, or a virtual environment. */
function givenTensorflow(given: string, gpu: boolean): TensorflowFolder {
  const root = resolve(given);
  const environment = existsSync(join(root, 'lib'))
    ? readdirSync(join(root, 'lib')).map((name) => join(root, 'lib', name, 'site-packages', 'tensorflow'))
    : [];
  const folder = [root, join(root, 'tensorflow'), ...environment].find(isComplete);
  if (folder === undefined) {
    throw new SetupError(
      `--tensorflow ${given}: no TensorFlow of pip's there. It must be the folder 'tensorflow' in Python's site-packages, ` +
        'with include/, libtensorflow_cc.so.2 and libtensorflow_framework.so.2 in it, or the virtual environment around it',
    );
  }
  const described = describe(folder);
  if (gpu && !described.gpu) {
    throw new SetupError(`--gpu: the TensorFlow in ${folder} is built without CUDA; pip's 'tensorflow' has it`);
  }
  return described;
}

/** The TensorFlow that Python has installed, where it is recent enough. Python need not be there. */
async function installedTensorflow(): Promise<TensorflowFolder | undefined> {
  const { status, stdout } = await run(python(), ['-c', ASK_PYTHON]);
  const folder = stdout.trim();
  if (status !== 0 || folder === '' || !isComplete(folder)) return undefined;
  const described = describe(folder);
  const [major, minor] = described.version.split('.').map(Number);
  // Also false where the version is unknown.
  const isRecent = major > OLDEST_RELEASE[0] || (major === OLDEST_RELEASE[0] && minor >= OLDEST_RELEASE[1]);
  return isRecent ? described : undefined;
}

function isComplete(folder: string): boolean {
  const parts = ['include/tensorflow/c/c_api.h', 'libtensorflow_cc.so.2'];
  return existsSync(frameworkLibrary(folder)) && parts.every((part) => existsSync(join(folder, part)));
}

/** Reads the release from pip's own record beside the package, and whether it has CUDA from where it looks for CUDA's libraries. */
function describe(folder: string): TensorflowFolder {
  const records = readdirSync(dirname(folder)).map((name) => /^tensorflow(?:_cpu)?-(.+)\.dist-info$/.exec(name)?.[1]);
  const version = records.find((found) => found !== undefined);
  const gpu = readFileSync(frameworkLibrary(folder)).includes('nvidia/cuda_runtime/lib');
  return { folder, version: version ?? 'of unknown version', gpu };
}

async function fetchTensorflow(home: string, site: string, gpu: boolean): Promise<void> {
  await checkPip('TensorFlow', 'name an installed TensorFlow with --tensorflow');
  mkdirSync(home, { recursive: true });
  checkSpace(home, gpu ? 9 : 2);
  // The wheels stay until all is unpacked: a set-up that was interrupted goes on with them.
  const wheels = join(home, `wheels-${TENSORFLOW_VERSION}-${gpu ? 'gpu' : 'cpu'}`);
  await download(wheels, [`${gpu ? 'tensorflow' : 'tensorflow-cpu'}==${TENSORFLOW_VERSION}`]);
  if (gpu) await download(wheels, await cudaRequirements(wheels));
  await produce(site, async (temporary) => {
    await unpack(wheels, NEEDED, temporary);
    if (gpu) exposeCusolver(temporary);
  });
  rmSync(wheels, { recursive: true });
}

async function cudaRequirements(wheels: string): Promise<string[]> {
  const wheel = readdirSync(wheels).find((name) => /^tensorflow-.*\.whl$/.test(name)) ?? '';
  const { status, stdout, stderr } = await run(python(), ['-c', CUDA_REQUIREMENTS, join(wheels, wheel)]);
  const wanted = stdout.trim().split('\n').filter(Boolean);
  if (status !== 0 || wanted.length === 0) {
    throw new SetupError(`the wheel of TensorFlow does not say which CUDA libraries it needs:\n${tail(stderr)}`);
  }
  return wanted;
}
