/** Reads a guide: its code blocks, and whether what they print is what the guide says. */
import { readFileSync } from 'node:fs';

/** A fenced block. */
export interface Block {
  readonly language: string;
  /** The file that the guide tells its reader to save the block as. */
  readonly file: string | undefined;
  readonly text: string;
}

/** All blocks of a Markdown file, in order. */
export function blocksOf(path: string): Block[] {
  const found = readFileSync(path, 'utf8').matchAll(/^```(\w*) *(.*)\n([^]*?)^```$/gm);
  return [...found].map(([, language, file, text]) => ({ language, file: file || undefined, text }));
}

const NUMBER = /\d+(?:\.\d+)?/g;

/**
 * Brings an output into the words of the guide: a fraction that agrees with the guide's to a tenth of it becomes the
 * guide's. (Training multiplies the last bits in which one processor's `Math.exp` differs from another's.)
 */
export function inTheWordsOf(guide: string, output: string): string {
  const told = [...guide.matchAll(NUMBER)].map(([number]) => number);
  let index = 0;
  return output.replace(NUMBER, (number) => {
    const expected = told.at(index++) ?? number;
    const isClose = expected.includes('.') && Math.abs(Number(number) - Number(expected)) <= 0.1 * Number(expected);
    return isClose ? expected : number;
  });
}
