/** Does what a guide tells its reader to do, in a folder in which the packed package is installed. */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, type Consumer, type Result } from './consumer.js';
import { blocksOf, inTheWordsOf, type Block } from './guide.js';

/** tfjs advertises tfjs-node at every start. */
const ADVERTISEMENT = /\n?=+\nHi, looks like you are running TensorFlow\.js in Node\.js\..*\n=+\n/;

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

  const kinds: Readonly<Record<string, (block: Block) => void>> = {
    js: ({ file = '', text }) => {
      expect(file).toMatch(/^\w+\.mjs$/);
      installed().write(file, text);
    },
    sh: ({ text }) => {
      printed = run(text);
    },
    text: ({ text }) => {
      expect(inTheWordsOf(text, printed ?? '')).toBe(text);
      printed = undefined;
    },
  };

  const blocks = blocksOf(path);
  test.each(blocks.map((block, index) => ({ title: `${index + 1}: ${block.language} ${block.file ?? ''}`, block })))(
    'block $title',
    ({ block }) => {
      expect(Object.keys(kinds)).toContain(block.language);
      kinds[block.language](block);
    },
  );
}
