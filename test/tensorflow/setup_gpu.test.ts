/** What `setup --gpu` fetches and where it puts it, with wheels of a few bytes in place of gigabytes. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { cudaLibraryProblems, exposeCusolver } from '../../src/cli/setup/cuda_libraries.js';
import { provideDeviceCompiler } from '../../src/cli/setup/device_code.js';
import { findTensorflow } from '../../src/cli/setup/wheel.js';

jest.setTimeout(60_000);

/** Writes a wheel: a zip with these files. Python's pip wants no more of one that it only downloads. */
const MAKE_WHEEL = `
import json, sys, zipfile
path, files = sys.argv[1], json.loads(sys.argv[2])
with zipfile.ZipFile(path, 'w') as archive:
    for name, text in files.items():
        archive.writestr(name, text)
`;

let root: string;
let index: string;
let home: string;
const environment = { ...process.env };

function wheel(name: string, version: string, tag: string, files: Record<string, string>, requires: string[] = []) {
  const info = `${name}-${version}.dist-info`;
  const metadata = [
    'Metadata-Version: 2.1',
    `Name: ${name.replaceAll('_', '-')}`,
    `Version: ${version}`,
    ...requires.map((requirement) => `Requires-Dist: ${requirement}`),
  ];
  const all = {
    ...files,
    [`${info}/METADATA`]: `${metadata.join('\n')}\n\n`,
    [`${info}/WHEEL`]: `Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: ${tag}\n`,
    [`${info}/RECORD`]: '',
  };
  const path = join(index, `${name}-${version}-${tag}.whl`);
  const { status, stderr } = spawnSync('python3', ['-c', MAKE_WHEEL, path, JSON.stringify(all)], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

const LINUX = 'py3-none-manylinux_2_27_x86_64';
const TENSORFLOW = {
  'tensorflow/include/tensorflow/c/c_api.h': '',
  'tensorflow/libtensorflow_cc.so.2': 'cc',
  'tensorflow/libtensorflow_framework.so.2': 'nvidia/cuda_runtime/lib',
  'tensorflow/python/training.py': '',
};
const REQUIRED = [
  'numpy>=1.26.0',
  'nvidia-cublas-cu12<13.0,>=12.5.3.2; extra == "and-cuda"',
  'nvidia-cusolver-cu12<12.0,>=11.6.3.83; extra == "and-cuda"',
];

function tensorflowWheel(requires = REQUIRED): void {
  wheel('tensorflow', '2.21.0', 'cp311-cp311-manylinux_2_27_x86_64', TENSORFLOW, requires);
}

function cublasWheel(): void {
  wheel('nvidia_cublas_cu12', '12.9.1.4', LINUX, { 'nvidia/cublas/lib/libcublas.so.12': 'blas' });
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tfjs-lla-setup-'));
  index = join(root, 'index');
  home = join(root, 'home');
  mkdirSync(index);
  Object.assign(process.env, { PIP_NO_INDEX: '1', PIP_FIND_LINKS: index, PIP_NO_CACHE_DIR: '1' });
  delete process.env.PYTHON;
  wheel('nvidia_cusolver_cu12', '11.7.5.82', LINUX, { 'nvidia/cusolver/lib/libcusolver.so.11': 'solver' });
});

afterEach(() => {
  for (const name of ['PIP_NO_INDEX', 'PIP_FIND_LINKS', 'PIP_NO_CACHE_DIR', 'PYTHON']) {
    if (environment[name] === undefined) Reflect.deleteProperty(process.env, name);
    else process.env[name] = environment[name];
  }
  rmSync(root, { recursive: true });
});

const filesBelow = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.[^/]*$/.test(name))
    .sort();

test('TensorFlow and the CUDA libraries that its wheel asks for lie where it looks for them', async () => {
  tensorflowWheel();
  cublasWheel();
  const { found, source } = await findTensorflow(home, { gpu: true });
  expect(source).toBe('fetched with pip');
  expect(found).toEqual({ folder: join(home, 'tensorflow-2.21.0-gpu/tensorflow'), version: '2.21.0', gpu: true });
  expect(filesBelow(join(found.folder, '..'))).toEqual([
    'nvidia/cublas/lib/libcublas.so.12',
    // TensorFlow does not look into cusolver's own folder.
    'nvidia/cublas/lib/libcusolver.so.11',
    'nvidia/cusolver/lib/libcusolver.so.11',
    'tensorflow/include/tensorflow/c/c_api.h',
    'tensorflow/libtensorflow_cc.so.2',
    'tensorflow/libtensorflow_framework.so.2',
  ]);
  expect(readFileSync(join(found.folder, '../nvidia/cublas/lib/libcusolver.so.11'), 'utf8')).toBe('solver');
  expect(readdirSync(home)).toEqual(['tensorflow-2.21.0-gpu']);
  expect((await findTensorflow(home, { gpu: true })).source).toBe('fetched before');
});

test('a set-up that was interrupted goes on', async () => {
  tensorflowWheel();
  await expect(findTensorflow(home, { gpu: true })).rejects.toThrow(/^pip could not fetch nvidia-cublas-cu12/);
  const wheels = join(home, 'wheels-2.21.0-gpu');
  expect(readdirSync(wheels)).toContain('tensorflow-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl');
  expect(existsSync(join(home, 'tensorflow-2.21.0-gpu'))).toBe(false);
  rmSync(join(index, 'tensorflow-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl'));
  cublasWheel();
  process.env.PIP_FIND_LINKS = `${index} ${wheels}`;
  expect((await findTensorflow(home, { gpu: true })).source).toBe('fetched with pip');
});

test('a wheel that is broken is named and thrown away', async () => {
  tensorflowWheel();
  cublasWheel();
  const wheels = join(home, 'wheels-2.21.0-gpu');
  mkdirSync(wheels, { recursive: true });
  const broken = join(wheels, 'nvidia_broken_cu12-1.0-py3-none-any.whl');
  writeFileSync(broken, 'half a wheel');
  await expect(findTensorflow(home, { gpu: true })).rejects.toThrow(
    /nvidia_broken.*could not be unpacked; run the comm/,
  );
  expect(existsSync(broken)).toBe(false);
  expect((await findTensorflow(home, { gpu: true })).source).toBe('fetched with pip');
});

test('a wheel of TensorFlow without a list of CUDA libraries is an error', async () => {
  tensorflowWheel(['numpy>=1.26.0']);
  await expect(findTensorflow(home, { gpu: true })).rejects.toThrow('does not say which CUDA libraries it needs');
});

test('without pip it says what to install', async () => {
  process.env.PYTHON = '/nonexistent/python3';
  await expect(findTensorflow(home, { gpu: true })).rejects.toThrow(
    "'/nonexistent/python3 -m pip' is not there: install Python 3 and pip",
  );
});

/** Builds libraries of nothing in `site`, the framework library with the text that names the folders. */
function buildLibraries(site: string, names: readonly string[], flags: readonly string[] = []): void {
  for (const name of names) {
    const path = join(site, name);
    mkdirSync(dirname(path), { recursive: true });
    const args = ['-shared', '-x', 'c++', '/dev/null', '-o', path, `-Wl,-soname,${basename(path)}`, ...flags];
    const { status, stderr } = spawnSync(process.env.CXX ?? 'g++', args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
  }
}

test('CUDA libraries that are not there, or not whole, are named', async () => {
  const site = join(root, 'site');
  const tensorflow = join(site, 'tensorflow');
  const part = (folder: string, file: string) => `nvidia/${folder}/lib/${file}`;
  const folders = ['cuda_runtime', 'cublas', 'cufft', 'cusparse', 'cudnn'];
  mkdirSync(tensorflow, { recursive: true });
  const runpath = folders.map((folder) => `$ORIGIN/../nvidia/${folder}/lib`).join(':');
  writeFileSync(join(tensorflow, 'libtensorflow_framework.so.2'), `\0${runpath}\0`);
  buildLibraries(site, [
    part('cuda_runtime', 'libcudart.so.12'),
    part('cublas', 'libcublas.so.12'),
    part('cublas', 'libcublasLt.so.12'),
    part('cufft', 'libcufft.so.11'),
    part('cusolver', 'libcusolver.so.11'),
    part('nvjitlink', 'libnvJitLinkOfTest.so.12'),
  ]);
  // Of a name that an installed CUDA has not.
  const needs = ['-Wl,--no-as-needed', `-L${join(site, 'nvidia/nvjitlink/lib')}`, '-l:libnvJitLinkOfTest.so.12'];
  buildLibraries(site, [part('cusparse', 'libcusparse.so.12')], needs);
  mkdirSync(join(site, 'nvidia/cudnn/lib'), { recursive: true });
  writeFileSync(join(site, part('cudnn', 'libcudnn.so.9')), 'no library');
  const [solver, sparse, dnn, ...others] = await cudaLibraryProblems(tensorflow);
  expect(solver).toBe('libcusolver.so.11 is not there');
  expect(sparse).toBe('libcusparse.so.12 lacks libnvJitLinkOfTest.so.12');
  expect(dnn).toMatch(/^libcudnn\.so\.9 is no library: /);
  expect(others).toEqual([]);

  exposeCusolver(site);
  buildLibraries(site, [part('cusparse', 'libcusparse.so.12')], [...needs, '-Wl,-rpath,$ORIGIN/../../nvjitlink/lib']);
  buildLibraries(site, [part('cudnn', 'libcudnn.so.9')]);
  expect(await cudaLibraryProblems(tensorflow)).toEqual([]);
});

test("NVIDIA's compiler has its library and the headers of three packages", async () => {
  wheel('nvidia_cuda_nvrtc_cu12', '12.9.86', LINUX, {
    'nvidia/cuda_nvrtc/include/nvrtc.h': '',
    'nvidia/cuda_nvrtc/lib/libnvrtc.so.12': '',
    'nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.9': '',
  });
  wheel('nvidia_cuda_runtime_cu12', '12.9.79', LINUX, {
    'nvidia/cuda_runtime/include/cuda_fp16.h': '',
    'nvidia/cuda_runtime/lib/libcudart.so.12': '',
  });
  wheel('nvidia_cuda_nvcc_cu12', '12.9.86', LINUX, {
    'nvidia/cuda_nvcc/include/crt/host_defines.h': '',
    'nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc': '',
  });
  const { compiler, fetched } = await provideDeviceCompiler(home);
  expect(fetched).toBe(true);
  expect(filesBelow(compiler)).toEqual([
    'nvidia/cuda_nvcc/include/crt/host_defines.h',
    'nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.9',
    'nvidia/cuda_nvrtc/lib/libnvrtc.so.12',
    'nvidia/cuda_runtime/include/cuda_fp16.h',
  ]);
  expect(await provideDeviceCompiler(home)).toEqual({ compiler, fetched: false });
});
