/**
 * The header's text: JSON of one fixed form.
 *
 * `JSON.parse` keeps the last of two members of one name, builds whatever the text describes, and loses the place of a
 * problem. This parser takes the form of the format and nothing else: it finds every duplicate, names the tensor, and
 * holds no more than a small multiple of the text.
 */
import type { FileProblems } from './problem.js';
import { quoted } from './problem.js';

/** What the header says about a tensor; the form is checked, the numbers are not. */
export interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte and the byte after the last one, from the end of the header. */
  readonly offsets: readonly number[];
}

export interface HeaderText {
  /** In the order of the text. */
  readonly tensors: ReadonlyMap<string, HeaderEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** More axes than NumPy and PyTorch know, so that no list of a hostile file grows without end. */
const MOST_AXES = 64;

const METADATA = '__metadata__';

export function parseHeaderText(text: string, problems: FileProblems): HeaderText {
  return new Parser(text, problems).header();
}

class Parser {
  readonly #text: string;
  readonly #problems: FileProblems;
  #at = 0;
  /** The tensor whose entry is being read. */
  #tensor: string | undefined;

  constructor(text: string, problems: FileProblems) {
    this.#text = text;
    this.#problems = problems;
  }

  header(): HeaderText {
    const tensors = new Map<string, HeaderEntry>();
    const metadata = new Map<string, string>();
    // The format wants the brace as the very first byte, without white space or a byte order mark.
    if (!this.#text.startsWith('{')) this.#expected("'{' at its start");
    this.#object((name) => {
      if (name === METADATA) {
        this.#object((key) => metadata.set(key, this.#string('a text')));
      } else {
        this.#tensor = name;
        tensors.set(name, this.#entry());
        this.#tensor = undefined;
      }
    });
    this.#skipSpace();
    if (this.#at < this.#text.length) this.#expected('nothing after its last brace but spaces');
    return { tensors, metadata };
  }

  #entry(): HeaderEntry {
    let dtype: string | undefined;
    let shape: number[] | undefined;
    let offsets: number[] | undefined;
    this.#object((field) => {
      if (field === 'dtype') dtype = this.#string("the dtype's name");
      else if (field === 'shape') shape = this.#integers(MOST_AXES, 'shape');
      else if (field === 'data_offsets') offsets = this.#integers(2, 'data_offsets');
      else this.#fail(`has a field ${quoted(field)} in its header entry, which the format does not know`);
    });
    if (dtype === undefined) this.#fail('has no dtype in its header entry');
    if (shape === undefined) this.#fail('has no shape in its header entry');
    if (offsets?.length !== 2) this.#fail('has no two data_offsets in its header entry');
    return { dtype, shape, offsets };
  }

  /** Reads an object; `member` reads the value of each name. */
  #object(member: (name: string) => void): void {
    const names = new Set<string>();
    this.#punctuation('{');
    if (this.#take('}')) return;
    do {
      const name = this.#string('a name in quotes');
      if (names.has(name)) this.#duplicate(name);
      names.add(name);
      this.#punctuation(':');
      member(name);
    } while (this.#take(','));
    this.#punctuation('}');
  }

  #duplicate(name: string): never {
    if (this.#tensor !== undefined) this.#fail(`has two fields ${quoted(name)} in its header entry`);
    this.#problems.fail('is in the header twice', name);
  }

  /** Reads a list of at most `most` integers that are not negative. */
  #integers(most: number, field: string): number[] {
    const values: number[] = [];
    this.#punctuation('[');
    if (this.#take(']')) return values;
    do {
      if (values.length === most) this.#fail(`has more than ${most} numbers in its ${field}`);
      values.push(this.#integer(field));
    } while (this.#take(','));
    this.#punctuation(']');
    return values;
  }

  #integer(field: string): number {
    this.#skipSpace();
    const start = this.#at;
    while (/[-+.\w]/.test(this.#text.charAt(this.#at)) && this.#at - start < 40) this.#at++;
    const digits = this.#text.slice(start, this.#at);
    const value = /^(0|[1-9]\d*)$/.test(digits) ? Number(digits) : NaN;
    if (!Number.isSafeInteger(value)) {
      const found = digits === '' ? quoted(this.#text.charAt(start)) : digits;
      this.#fail(`must have integers from 0 to 2^53 - 1 in its ${field}, got ${found}`);
    }
    return value;
  }

  #string(what: string): string {
    this.#skipSpace();
    const start = this.#at;
    if (this.#text[start] !== '"') this.#expected(what);
    let end = start + 1;
    while (end < this.#text.length && this.#text[end] !== '"') end += this.#text[end] === '\\' ? 2 : 1;
    try {
      // Escapes and control characters are JSON's own business.
      const value = JSON.parse(this.#text.slice(start, end + 1)) as string;
      this.#at = end + 1;
      return value;
    } catch {
      this.#expected(what);
    }
  }

  /** Reads `mark` if it comes next. */
  #take(mark: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== mark) return false;
    this.#at++;
    return true;
  }

  #punctuation(mark: string): void {
    if (!this.#take(mark)) this.#expected(`'${mark}'`);
  }

  #skipSpace(): void {
    while (' \t\n\r'.includes(this.#text[this.#at] ?? '!')) this.#at++;
  }

  #expected(what: string): never {
    const rest = this.#text.slice(this.#at, this.#at + 12);
    const found = rest === '' ? 'its end' : quoted(rest);
    this.#fail(`has a header that is not of the format: ${what} expected at character ${this.#at}, got ${found}`);
  }

  #fail(problem: string): never {
    this.#problems.fail(problem, this.#tensor);
  }
}
