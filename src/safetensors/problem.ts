/** The one form of error of this folder: function, file, tensor, what is wrong with it. */

/** Text of a file, shortened and with control characters escaped: a hostile one must not garble a terminal. */
export function quoted(text: string): string {
  const shown = text.length > 80 ? `${text.slice(0, 77)}...` : text;
  return `'${JSON.stringify(shown).slice(1, -1)}'`;
}

/** Says what is wrong with a file, or with one of its tensors. */
export class FileProblems {
  readonly #caller: string;
  readonly #file: string;

  constructor(caller: string, file: string) {
    this.#caller = caller;
    this.#file = file;
  }

  fail(problem: string, tensor?: string): never {
    throw new Error(`${this.#caller}: file ${quoted(this.#file)}${tensorPart(tensor)} ${problem}`);
  }
}

const tensorPart = (tensor: string | undefined): string => (tensor === undefined ? '' : `, tensor ${quoted(tensor)}`);

/** A shape as errors print it. */
export const shown = (shape: readonly (number | null)[]): string => `[${shape.join(', ')}]`;
