/** Does what a guide tells its reader to do, in a folder in which the packed package is installed. */
import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openPage } from './browser/page.js';
import { ROOT, type Consumer, type Result } from './consumer.js';
import { blocksOf, inTheWordsOf, type Block } from './guide.js';

/** tfjs advertises tfjs-node at every start. */
const ADVERTISEMENT = /\n?=+\nHi, looks like you are running TensorFlow\.js in Node\.js\..*\n=+\n/;

/** Milliseconds. The first page of a machine waits until the browser is unpacked. */
const PATIENCE = 120_000;

/** Files that readers bring along. */
const BROUGHT = { 'attention.safetensors': 'test/fixtures/torch/linears_f32.safetensors' };

/** Makes the tests of a guide: one for each of its blocks, in order. */
export function guideSuite(path: string, installed: () => Consumer): void {
  let printed: string | undefined;

  beforeAll(() => {
    for (const [file, source] of Object.entries(BROUGHT))
      copyFileSync(join(ROOT, source), join(installed().folder, file));
  });

  /** Runs a command of the guide; what it prints. */
  function run(command: string): string {
    const [program, ...args] = command.trim().split(' ');
    if (command.startsWith('npm install ')) {
      // It is installed already, by the same name.
      expect(args).toEqual(['install', 'tfjs-lla', '@tensorflow/tfjs']);
      return '';
    }
    expect(program).toBe('node');
    const { status, stdout, stderr }: Result = installed().run(process.execPath, ...args);
    expect(stderr.replace(ADVERTISEMENT, '')).toBe('');
    expect(status).toBe(0);
    return stdout;
  }

  /** The files that a page may ask for: the scripts it names, and what the blocks before it have written. */
  function filesFor(page: string): Record<string, Buffer> {
    const { folder } = installed();
    const scripts = [...page.matchAll(/src="([^"]+)"/g)].map(([, path]) => path);
    const written = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
      (path) => !path.startsWith('node_modules') && /\.(html|mjs|json|bin)$/.test(path),
    );
    return Object.fromEntries([...scripts, ...written].map((path) => [path, readFileSync(join(folder, path))]));
  }

  /** Opens a page of the guide; what it says, once that is as much as the guide tells. */
  async function open(file: string, text: string, told: string): Promise<string> {
    installed().write(file, text);
    const opened = await openPage(filesFor(text));
    const { page, errors } = opened;
    try {
      const count = told.trim().split('\n').length;
      await page.waitForFunction(`document.querySelector('pre').textContent.trim().split('\\n').length >= ${count}`);
      expect(errors).toEqual([]);
      return (await page.textContent('pre')) ?? '';
    } finally {
      await opened.close();
    }
  }

  const kinds: Readonly<Record<string, (block: Block, next?: Block) => void | Promise<void>>> = {
    js: ({ file = '', text }) => {
      expect(file).toMatch(/^\w+\.mjs$/);
      installed().write(file, text);
    },
    sh: ({ text }) => {
      printed = run(text);
    },
    html: async ({ file = '', text }, next) => {
      expect(file).toBe('index.html');
      expect(next?.language).toBe('text');
      printed = await open(file, text, next?.text ?? '');
    },
    text: ({ text }) => {
      expect(inTheWordsOf(text, printed ?? '')).toBe(text);
      printed = undefined;
    },
  };

  const blocks = blocksOf(path);
  test.each(
    blocks.map((block, index) => ({
      title: `${index + 1}: ${block.language} ${block.file ?? ''}`,
      block,
      next: blocks.at(index + 1),
    })),
  )(
    'block $title',
    async ({ block, next }) => {
      expect(Object.keys(kinds)).toContain(block.language);
      await kinds[block.language](block, next);
    },
    PATIENCE,
  );
}
