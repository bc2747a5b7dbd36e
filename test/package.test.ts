/** Uses the packed tarball the way its users do, in folders that know nothing of this repository's sources. */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createContext, runInContext } from 'node:vm';
import * as tf from '@tensorflow/tfjs';
import { build } from 'esbuild';
import type { Findings } from '../src/cli/doctor.js';
import type * as lla from '../src/index.js';
import type * as llaLayers from '../src/layers/index.js';
import { LEARN } from './package_layers.js';
import { TYPES, WEIGHTS } from './package_sources.js';
import { filesIn, install, pack, remove, ROOT, temporaryFolder, type Consumer } from './consumer.js';
import { guideSuite } from './guide_suite.js';

type Json = Record<string, unknown>;

const TFJS = ['tfjs', 'tfjs-core', 'tfjs-backend-cpu', 'tfjs-backend-webgl', 'tfjs-layers'].map(
  (name) => `@tensorflow/${name}`,
);
const WASM = '@tensorflow/tfjs-backend-wasm';
const WEBGPU = '@tensorflow/tfjs-backend-webgpu';
const UMD_FILE = 'node_modules/tfjs-lla/dist/umd/tfjs-lla.min.js';
// Packing, installing and compiling take their time on a busy machine.
jest.setTimeout(60_000);

/** The mean of 1, 2 and 6, by an attention whose scores are all equal. */
const MEAN = `softmaxAttention(tf.zeros([1, 1, 2]), tf.ones([1, 3, 2]), tf.tensor3d([1, 2, 6], [1, 3, 1])).dataSync()[0].toFixed(3)`;

/** Makes a script fail on any warning but tfjs' advertisement for tfjs-node. */
const NO_WARNINGS = `console.warn = (...args) => {
  if (!String(args[0]).includes('running TensorFlow.js in Node.js')) throw new Error('warned: ' + args.join(' '));
};`;

const readJson = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Json;

let manifestBefore: string;
let tarballFolder: string;
let tarball: string;
let consumer: Consumer;

beforeAll(() => {
  manifestBefore = readFileSync(join(ROOT, 'package.json'), 'utf8');
  tarballFolder = temporaryFolder();
  tarball = pack(tarballFolder);
  consumer = install(tarball, [...TFJS, WASM]);
});

afterAll(() => {
  remove(tarballFolder);
  remove(consumer.folder);
});

describe('the tarball', () => {
  test('holds what is meant to be in it and nothing else', () => {
    const intended = [
      /^(package\.json|LICENSE|README\.md|CHANGELOG\.md)$/,
      /^dist\/(esm|cjs)\/(src|kernels)\/[\w/]+(\.(wgsl|glsl))?\.(js|d\.ts)$/,
      /^dist\/(cjs|umd)\/package\.json$/,
      /^dist\/umd\/tfjs-lla\.min\.js$/,
      /^dist\/cli\/(main\.cjs|commander\.LICENSE)$/,
      /^kernels\/\w+\/native\/\w+\.(cc|h)$/,
      /^kernels\/\w+\/cuda\/\w+\.(cu|cuh|h)$/,
    ];
    const files = filesIn(tarball);
    expect(files.filter((file) => !intended.some((pattern) => pattern.test(file)))).toEqual([]);
    // The references judge the kernels; users have no use for them.
    expect(files.filter((file) => file.includes('reference'))).toEqual([]);
    expect(files).toEqual(expect.arrayContaining(['LICENSE', 'dist/umd/tfjs-lla.min.js', 'dist/cli/main.cjs']));
  });

  test('asks for tfjs-core, for nothing else, and says what it can use', () => {
    const manifest = readJson(join(consumer.folder, 'node_modules/tfjs-lla/package.json'));
    expect(manifest.dependencies).toBeUndefined();
    const peers = Object.keys(manifest.peerDependencies as Json);
    const optional = Object.keys(manifest.peerDependenciesMeta as Json);
    expect(peers.filter((peer) => !optional.includes(peer))).toEqual(['@tensorflow/tfjs-core']);
    expect(peers).toEqual(expect.arrayContaining(['@tensorflow/tfjs-backend-cpu', WASM, WEBGPU, 'webgpu']));
  });

  test('building it leaves package.json as it is committed', () => {
    expect(readFileSync(join(ROOT, 'package.json'), 'utf8')).toBe(manifestBefore);
  });

  test('has nothing of tfjs inside', () => {
    // A text of tfjs-core's engine, which survives every minifier.
    const marker = 'Cannot evaluate flag';
    const core = createRequire(__filename).resolve('@tensorflow/tfjs-core');
    expect(readFileSync(core, 'utf8')).toContain(marker);
    const dist = join(consumer.folder, 'node_modules/tfjs-lla/dist');
    const scripts = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((file) => /\.c?js$/.test(file));
    expect(scripts.length).toBeGreaterThan(10);
    expect(scripts.filter((file) => readFileSync(join(dist, file), 'utf8').includes(marker))).toEqual([]);
  });
});

describe('in Node', () => {
  test('works as ES modules', () => {
    const { stdout, stderr } = consumer.node(
      'use.mjs',
      `import * as tf from '@tensorflow/tfjs';
      import { softmaxAttention } from 'tfjs-lla';
      import { initBackend } from 'tfjs-lla/node';
      import 'tfjs-lla/chained';
      ${NO_WARNINGS}
      for (const name of ['wasm', 'cpu']) {
        const { backend } = await initBackend(name);
        const x = tf.ones([1, 3, 2]);
        const dx = tf.grad((q) => q.localLinearAttention(x, x))(x);
        console.log(backend, ${MEAN}, dx.shape.join());
      }`,
    );
    expect(stderr).toBe('');
    expect(stdout).toBe('wasm 3.000 1,3,2\ncpu 3.000 1,3,2\n');
  });

  test('works as CommonJS', () => {
    const { stdout, stderr } = consumer.node(
      'use.cjs',
      `const tf = require('@tensorflow/tfjs');
      const { softmaxAttention } = require('tfjs-lla');
      const { initBackend } = require('tfjs-lla/node');
      require('tfjs-lla/chained');
      ${NO_WARNINGS}
      initBackend('wasm').then(({ backend }) => {
        console.log(backend, ${MEAN}, typeof tf.Tensor.prototype.mesaAttention);
      });`,
    );
    expect(stderr).toBe('');
    expect(stdout).toBe('wasm 3.000 function\n');
  });

  test('both kinds in one process neither warn nor break', () => {
    const { stdout, stderr } = consumer.node(
      'both.mjs',
      `import { createRequire } from 'node:module';
      import * as tf from '@tensorflow/tfjs';
      ${NO_WARNINGS}
      const require = createRequire(import.meta.url);
      await import('tfjs-lla/chained');
      require('tfjs-lla/chained');
      await import('tfjs-lla/node');
      const { initBackend } = require('tfjs-lla/node');
      for (const name of ['cpu', 'wasm']) {
        await initBackend(name);
        for (const { softmaxAttention } of [await import('tfjs-lla'), require('tfjs-lla')]) console.log(${MEAN});
      }`,
    );
    expect(stderr).toBe('');
    expect(stdout).toBe('3.000\n'.repeat(4));
  });

  test('works where only @tensorflow/tfjs is installed', () => {
    const bare = install(tarball, TFJS);
    const { stdout, stderr } = bare.node(
      'use.mjs',
      `import { initBackend } from 'tfjs-lla/node';
      ${NO_WARNINGS}
      console.log(JSON.stringify(await initBackend()));
      await initBackend('wasm').catch((error) => console.log(error.message));`,
    );
    remove(bare.folder);
    expect(stderr).toBe('');
    const [found, refusal] = stdout.split('\n');
    const wasm = `${WASM}@${tf.version_core}`;
    const webgpu = `${WEBGPU}@${tf.version_core}`;
    const advice = `initBackend: backend 'wasm' needs the package ${wasm}; run: npm install ${wasm}`;
    expect(JSON.parse(found)).toMatchObject({
      backend: 'cpu',
      reason: 'the only one that works here',
      skipped: [
        {
          backend: 'tensorflow',
          reason:
            "initBackend: backend 'tensorflow' could not be loaded: TensorFlow is not set up on this machine; " +
            'run: npx tfjs-lla setup tensorflow',
        },
        {
          backend: 'webgpu',
          reason:
            "initBackend: backend 'webgpu' needs the packages webgpu and " +
            `${webgpu}; run: npm install webgpu ${webgpu}`,
        },
        { backend: 'wasm', reason: advice },
      ],
    });
    expect(refusal).toBe(advice);
  });
});

describe('layers', () => {
  test('learn, reload bit by bit and leak nothing where only @tensorflow/tfjs is installed', () => {
    const bare = install(tarball, TFJS);
    const { stdout, stderr } = bare.node(
      'learn.mjs',
      `import * as tf from '@tensorflow/tfjs';
      import { layers } from 'tfjs-lla/layers';
      import { directory } from 'tfjs-lla/node';
      ${NO_WARNINGS}
      await tf.setBackend('cpu');
      ${LEARN}
      console.log(JSON.stringify([await learn(), await learn()]));`,
    );
    remove(bare.folder);
    expect(stderr).toBe('');
    const once = { learned: true, equal: true, tensors: 0 };
    expect(JSON.parse(stdout)).toEqual([once, once]);
  });

  test('both kinds in one process neither warn nor disturb each other', () => {
    const { stdout, stderr } = consumer.node(
      'both_layers.mjs',
      `import { createRequire } from 'node:module';
      import * as tf from '@tensorflow/tfjs';
      ${NO_WARNINGS}
      const require = createRequire(import.meta.url);
      const { directory } = await import('tfjs-lla/node');
      await tf.setBackend('cpu');
      for (const { layers } of [await import('tfjs-lla/layers'), require('tfjs-lla/layers')]) {
        const model = tf.sequential();
        model.add(layers.transformerBlock({ attention: 'parallax', numHeads: 2, keyDim: 4, inputShape: [3, 8] }));
        await model.save(directory('both'));
        const again = await tf.loadLayersModel(directory('both'));
        const x = tf.ones([1, 3, 8]);
        console.log(again.layers[0].getClassName(), tf.equal(model.predict(x), again.predict(x)).all().dataSync()[0]);
      }`,
    );
    expect(stderr).toBe('');
    expect(stdout).toBe('TransformerBlockLayer 1\n'.repeat(2));
  });

  test('tfjs-core, tfjs-layers and a backend are enough to train', () => {
    const { stdout, stderr } = consumer.node(
      'parts.mjs',
      `import { ones, setBackend, variableGrads, sum } from '@tensorflow/tfjs-core';
      import '@tensorflow/tfjs-backend-cpu';
      import { layers } from 'tfjs-lla/layers';
      ${NO_WARNINGS}
      await setBackend('cpu');
      const layer = layers.mesaAttention({ numHeads: 2, keyDim: 4, rotary: true, trainableRidge: true });
      const run = () => sum(layer.apply(ones([1, 3, 8]), { training: true }));
      run();
      const { grads } = variableGrads(run);
      console.log(Object.keys(grads).length);`,
    );
    expect(stderr).toBe('');
    expect(stdout).toBe('9\n');
  });
});

test("the README's examples run", () => {
  const readme = readFileSync(join(consumer.folder, 'node_modules/tfjs-lla/README.md'), 'utf8');
  // Those that a reader is told to save.
  const examples = [...readme.matchAll(/as `(\w+\.mjs)`.*?```js\n(.*?)```/gs)];
  const runs = Object.fromEntries(examples.map(([, file, code]) => [file, consumer.node(file, code)]));
  expect(runs['example.mjs']).toMatchObject({
    status: 0,
    stdout: '[ 2, 4, 128, 32 ]\n[ 2, 4, 128, 32 ] [ 2, 4, 128 ]\n',
  });
  expect(runs['decode.mjs']).toMatchObject({ status: 0, stdout: 'true 100\n' });
  expect(runs['generate.mjs']).toMatchObject({ status: 0, stdout: 'true true\n[ 20, 20 ]\n' });
  const { status, stdout } = runs['layers.mjs'];
  expect(stdout).toMatch(/^accuracy (0\.9\d|1\.00)\n\[ 256, 12, 5 \]\n$/);
  expect(status).toBe(0);
});

describe('the program', () => {
  test('npx tfjs-lla doctor', () => {
    const { status, stdout } = consumer.run('npx', '--offline', 'tfjs-lla', 'doctor', '--json');
    const { backends } = JSON.parse(stdout) as Findings;
    expect(backends.map(({ backend, works }) => [backend, works])).toEqual([
      ['tensorflow', false],
      ['webgpu', false],
      ['wasm', true],
      ['cpu', true],
    ]);
    expect(status).toBe(0);
  });

  test('doctor fails where no backend is installed, and says what to install', () => {
    const bare = install(tarball, ['@tensorflow/tfjs-core']);
    const { status, stdout, stderr } = bare.run('npx', '--offline', 'tfjs-lla', 'doctor');
    remove(bare.folder);
    expect(stdout).toContain('npm install @tensorflow/tfjs-backend-cpu@');
    expect(stdout).toContain(`npm install ${WASM}@`);
    expect(stdout).toContain(`npm install webgpu ${WEBGPU}@`);
    expect(stdout).toContain('0 of 4 backends work here.');
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(status).toBe(1);
  });
});

describe('in TypeScript', () => {
  /** Type-checks a file; what the compiler says. */
  function typeCheck(file: string, ...options: string[]): string {
    const compiler = createRequire(__filename).resolve('typescript/bin/tsc');
    consumer.write(file, TYPES);
    const common = ['--noEmit', '--strict', '--target', 'es2022', '--skipLibCheck'];
    return consumer.run(process.execPath, compiler, ...common, ...options, file).stdout;
  }

  test.each(['types.mts', 'types.cts'])('%s has types under nodenext resolution', (file) => {
    expect(typeCheck(file, '--module', 'nodenext')).toBe('');
  });

  test('has types under bundler resolution', () => {
    expect(typeCheck('types.ts', '--module', 'esnext', '--moduleResolution', 'bundler')).toBe('');
  });
});

describe('in browsers', () => {
  test('the UMD file adds to a global tf', async () => {
    await tf.setBackend('cpu');
    const page = createContext({ tf });
    // Read without Node's help on errors, which would print the whole minified line.
    runInContext(readFileSync(join(consumer.folder, UMD_FILE), 'utf8'), page, { displayErrors: false });
    expect(Object.keys(page)).toEqual(['tf', 'tfjsLla']);
    const { softmaxAttention } = (page as { tfjsLla: typeof lla }).tfjsLla;
    const mean = softmaxAttention(tf.zeros([1, 1, 2]), tf.ones([1, 3, 2]), tf.tensor3d([1, 2, 6], [1, 3, 1]));
    expect(mean.dataSync()[0]).toBeCloseTo(3, 5);
    expect(tf.Tensor.prototype).toHaveProperty('mesaAttention');
    const { layers } = (page as { tfjsLla: typeof llaLayers }).tfjsLla;
    const model = tf.sequential({ layers: [layers.softmaxAttention({ numHeads: 1, keyDim: 2, inputShape: [3, 4] })] });
    expect(model.outputShape).toEqual([null, 3, 4]);
  });

  test('the UMD file needs no tf.layers until a layer is made', () => {
    const core = Object.fromEntries(
      Object.entries(tf).filter(([name]) => !['layers', 'SymbolicTensor'].includes(name)),
    );
    const page = createContext({ tf: core });
    runInContext(readFileSync(join(consumer.folder, UMD_FILE), 'utf8'), page, { displayErrors: false });
    const { softmaxAttention, layers } = (page as { tfjsLla: typeof lla & typeof llaLayers }).tfjsLla;
    expect(softmaxAttention(tf.ones([1, 1, 2]), tf.ones([1, 3, 2]), tf.ones([1, 3, 1])).shape).toEqual([1, 1, 1]);
    expect(() => layers.softmaxAttention({ numHeads: 1, keyDim: 2 })).toThrow('layers need tf.layers');
  });

  test('safetensors go into a bundle for browsers, without anything of Node', async () => {
    consumer.write('weights.js', WEIGHTS);
    const { outputFiles } = await build({
      entryPoints: [join(consumer.folder, 'weights.js')],
      bundle: true,
      platform: 'browser',
      format: 'cjs',
      external: ['@tensorflow/*'],
      write: false,
    });
    const [{ text }] = outputFiles;
    expect(text).not.toMatch(/require\("(?!@tensorflow)/);
    // Attention is not among what it needs.
    expect(text).not.toContain('softmaxAttention');
    expect(consumer.node('weights.cjs', text).stdout).toBe('1,2\n');
  });

  test('the UMD file can be required', () => {
    const { stdout } = consumer.node(
      'umd.cjs',
      `const tf = require('@tensorflow/tfjs');
      const { softmaxAttention } = require('./${UMD_FILE}');
      console.log(${MEAN});`,
    );
    expect(stdout).toBe('3.000\n');
  });

  test('package.json leads CDNs to the UMD file', () => {
    const manifest = readJson(join(consumer.folder, 'node_modules/tfjs-lla/package.json'));
    for (const field of ['unpkg', 'jsdelivr']) {
      expect(join('node_modules/tfjs-lla', String(manifest[field]))).toBe(UMD_FILE);
    }
  });

  test('a bundle of one operator keeps what registers kernels and drops the rest', async () => {
    consumer.write(
      'bundled.js',
      `import * as tf from '@tensorflow/tfjs';
      import { softmaxAttention } from 'tfjs-lla';
      console.log(typeof tf.getKernel('LocalLinearAttention', 'cpu'), ${MEAN});`,
    );
    const { outputFiles } = await build({
      entryPoints: [join(consumer.folder, 'bundled.js')],
      bundle: true,
      minify: true,
      format: 'cjs',
      external: ['@tensorflow/*'],
      write: false,
    });
    const [{ text }] = outputFiles;
    expect(text).not.toContain('initBackend');
    expect(text).not.toContain('TransformerBlockLayer');
    expect(consumer.node('bundle.cjs', text).stdout).toBe('object 3.000\n');
  });
});

describe.each(['add-an-lla-layer', 'generate-text'])('the guide, %s', (page) => {
  guideSuite(`docs/guide/${page}.md`, () => consumer);
});
