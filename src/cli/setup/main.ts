import { mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cacheFolder, type Installation, installationFile } from '../../native/installation.js';
import type { CudaDevice } from '../../native/device_code.js';
import { missingGpuParts } from '../../native/gpu.js';
import type { Comparison } from '../compare.js';
import type { BackendFinding, Findings } from '../doctor.js';
import { buildAddon, buildOps, type BuildContext } from './compile.js';
import { cudaLibraryProblems } from './cuda_libraries.js';
import { architectureFor, buildDeviceCode, provideDeviceCompiler, USUAL_ARCHITECTURES } from './device_code.js';
import { providePackages } from './packages.js';
import { produce, run, SetupError, tail } from './shell.js';
import { checkSystem, findCompiler } from './system.js';
import { findTensorflow } from './wheel.js';

export interface SetupOptions {
  /** A TensorFlow of pip's to take instead of looking for one. */
  readonly tensorflow?: string;
  /** Take a TensorFlow with CUDA. */
  readonly gpu?: true;
}

/** Prints the steps of the set-up with their times. */
class Progress {
  private readonly start = performance.now();

  say(step: string, result: string): void {
    const seconds = ((performance.now() - this.start) / 1000).toFixed(1).padStart(6);
    console.log(`${seconds} s  ${step}: ${result}`);
  }
}

/** Gives this machine a backend `tensorflow` for Node. Steps whose result is there are not done again. */
export async function setupTensorflow(options: SetupOptions): Promise<void> {
  const progress = new Progress();
  checkSystem();
  const compiler = await findCompiler();
  const home = cacheFolder();
  mkdirSync(home, { recursive: true });
  progress.say(
    'system',
    `Linux x86-64, Node ${process.versions.node}, compiler ${compiler}, everything goes to ${home}`,
  );

  const { found, source } = await findTensorflow(home, options);
  progress.say('TensorFlow', `${found.version}${found.gpu ? ' with CUDA' : ''}, ${source}, ${found.folder}`);
  const app = join(home, 'app');
  const fetched = await providePackages(app);
  progress.say('packages of npm', fetched > 0 ? `${fetched} fetched` : 'there');

  const context: BuildContext = { compiler, home, tensorflow: found.folder, app };
  const addon = await buildAddon(context);
  const loaded = await loadAddon(addon.path);
  progress.say("tfjs-node's addon", `${addon.built ? 'built' : 'there'}, runs TensorFlow ${loaded.version}`);
  if (found.gpu) await reportLibraries(found.folder, progress);
  if (found.gpu && !loaded.gpu) progress.say('GPU', `left out, ${await missingGpuParts(addon.path)}`);

  const ops = await tryOps(context, progress);
  const cuda = found.gpu ? await tryDeviceCode(home, ops, progress) : {};
  const { tensorflow, gpu } = { tensorflow: found.folder, gpu: found.gpu };
  const installation = { tensorflow, tensorflowVersion: loaded.version, gpu, app, addon: addon.path, ...ops, ...cuda };
  const { backend, operators } = await verified(home, installation, loaded.gpu);
  progress.say(
    'check',
    `output and gradients of LLA, error ${backend.error?.toExponential(1) ?? '-'}, ${backend.milliseconds?.toFixed(0) ?? '-'} ms`,
  );
  for (const { operator, error } of operators) {
    progress.say('check', `${operator} and its gradients against backend cpu, error ${error.toExponential(1)}`);
  }
  progress.say('ready', `initBackend('tensorflow') of tfjs-lla/node: ${backend.adapter ?? ''}`);
}

/** Loads the addon in a process of its own: what is built wrong may end it. */
async function loadAddon(addon: string): Promise<{ version: string; gpu: boolean }> {
  const ask =
    'const b = require(process.argv[1]); console.log(JSON.stringify({ version: b.TF_Version, gpu: b.isUsingGpuDevice() }))';
  const env = { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2', TF_FORCE_GPU_ALLOW_GROWTH: 'true' };
  const { status, stdout, stderr } = await run(process.execPath, ['-e', ask, addon], { env });
  if (status !== 0) throw new SetupError(`the addon that was built cannot be loaded:\n${tail(stderr)}`);
  return JSON.parse(stdout) as { version: string; gpu: boolean };
}

/** Says whether TensorFlow finds its CUDA libraries beside it; another place may have them. */
async function reportLibraries(tensorflow: string, progress: Progress): Promise<void> {
  const problems = await cudaLibraryProblems(tensorflow);
  const otherwise = 'TensorFlow has to find them by LD_LIBRARY_PATH';
  progress.say(
    'CUDA libraries',
    problems.length === 0 ? 'whole, where TensorFlow looks for them' : `${problems.join(', ')}; ${otherwise}`,
  );
}

/** Builds the op library; without it the composed kernels serve. */
async function tryOps(context: BuildContext, progress: Progress): Promise<Pick<Installation, 'ops' | 'opsProblem'>> {
  try {
    const { path, built } = await buildOps(context, packageRoot(), (done, total) => {
      if (done === 0 || done === total || done % 5 === 0)
        progress.say('op library', `${done} of ${total} files compiled`);
    });
    progress.say('op library', built ? 'built' : 'there');
    return { ops: path };
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    progress.say('op library', `not built, composed kernels serve in its place: ${error.message}`);
    return { opsProblem: error.message };
  }
}

/** Compiles the CUDA kernels for the GPU, or for the usual ones where there is none; without them the composed ones serve. */
async function tryDeviceCode(
  home: string,
  { ops, opsProblem }: Pick<Installation, 'ops' | 'opsProblem'>,
  progress: Progress,
): Promise<Pick<Installation, 'cuda' | 'cudaProblem'>> {
  try {
    if (ops === undefined) throw new SetupError(`the op library is not there: ${opsProblem ?? ''}`);
    const { device, reason } = await findDevice(ops);
    const architectures = device === undefined ? USUAL_ARCHITECTURES : [architectureFor(device)];
    const target = device === undefined ? reason : `${device.name}, compute capability ${device.major}.${device.minor}`;
    progress.say('CUDA kernels', `${target}; compiled for ${architectures.join(' and ')}`);
    const { compiler, fetched } = await provideDeviceCompiler(home);
    progress.say("NVIDIA's compiler", `${fetched ? 'fetched with pip' : 'there'}, ${compiler}`);
    const place = { home, compiler, packageRoot: packageRoot() };
    let compiled = 0;
    const cuda = await buildDeviceCode(place, architectures, (title) => {
      compiled++;
      progress.say('CUDA kernels', title);
    });
    progress.say('CUDA kernels', compiled > 0 ? 'compiled' : 'there');
    return { cuda };
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    progress.say('CUDA kernels', `left out, composed kernels serve in their place: ${error.message}`);
    return { cudaProblem: `there are no CUDA kernels: ${error.message}` };
  }
}

/** Asks for the GPU in a process of its own: a driver that is not whole may end it. */
async function findDevice(ops: string): Promise<{ device?: CudaDevice; reason: string }> {
  const ask = 'console.log(JSON.stringify(require(process.argv[1]).cudaDevice()))';
  const { status, stdout, stderr } = await run(process.execPath, ['-e', ask, ops]);
  if (status === 0) return { device: JSON.parse(stdout) as CudaDevice, reason: '' };
  return { reason: /^Error: (.*)$/m.exec(stderr)?.[1] ?? tail(stderr) };
}

/** Folder of the package: this program lies in `dist/cli` or `src/cli` of it. */
function packageRoot(): string {
  return join(dirname(realpathSync(process.argv[1])), '../..');
}

/** What the check of the backend found. */
interface Verified {
  readonly backend: BackendFinding;
  /** Every operator against backend `cpu`, where that was asked for. */
  readonly operators: readonly Comparison[];
}

/**
 * Runs the backend in a process of its own, on the installation as it is about to be written; then writes it. On a GPU
 * every operator has to agree with backend `cpu`.
 */
async function verified(home: string, installation: Installation, onGpu: boolean): Promise<Verified> {
  let found: Verified | undefined;
  await produce(installationFile(), async (temporary) => {
    writeFileSync(temporary, `${JSON.stringify(installation, null, 2)}\n`);
    const doctor = ['doctor', '--backend', 'tensorflow', '--json', ...(onGpu ? ['--operators'] : [])];
    const env = { ...process.env, TFJS_LLA_INSTALLATION: temporary };
    const program = [...process.execArgv, process.argv[1], ...doctor];
    const { stdout, stderr } = await run(process.execPath, program, { env });
    const { backends = [], operators = [] } = findingsOf(stdout);
    const backend = backends.at(0);
    if (backend?.works !== true) {
      throw new SetupError(
        `the backend was built but does not work: ${backend?.advice ?? tail(stderr)}\nTo start afresh: rm -r ${home}`,
      );
    }
    if (onGpu && operators.length === 0) {
      throw new SetupError(`the operators on the GPU could not be compared with backend cpu:\n${tail(stderr)}`);
    }
    const wrong = operators.filter(({ agrees }) => !agrees);
    if (wrong.length > 0) {
      const named = wrong.map(({ operator, error }) => `${operator} by ${error.toExponential(1)}`).join(', ');
      throw new SetupError(`operators on the GPU differ from backend cpu: ${named}; please report it with this output`);
    }
    found = { backend, operators };
  });
  if (found === undefined) throw new SetupError('the check of the backend gave no answer');
  return found;
}

function findingsOf(report: string): Partial<Findings> {
  try {
    return JSON.parse(report) as Findings;
  } catch {
    return {};
  }
}
