/**
 * The header's text: JSON of one fixed form.
 *
 * `JSON.parse` keeps the last of two members of one name, builds whatever the text describes, and loses the place of a
 * problem. This parser takes the form of the format and nothing else: it finds every duplicate, names the tensor, and
 * holds no more than a small multiple of the text.
 */
import type { FileProblems } from './problem.js';
import { quoted } from './problem.js';

/** What the header says about a tensor. */
export interface FileTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte and the byte after the last one, from the end of the header. */
  readonly begin: number;
  readonly end: number;
}

/** A header whose form is right; its numbers are not checked. */
export interface HeaderText {
  readonly tensors: ReadonlyMap<string, FileTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** More axes than NumPy and PyTorch know, so that no list of a hostile file grows without end. */
const MOST_AXES = 64;

const METADATA = '__metadata__';

/** What a string in quotes cannot hold as it is: an escape, or a control character. */
const SPECIAL = /[\\\p{Cc}]/u;

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
    const tensors = new Map<string, FileTensor>();
    const metadata = new Map<string, string>();
    let hasMetadata = false;
    const isTaken = (name: string) => (name === METADATA ? hasMetadata : tensors.has(name));
    // The format wants the brace as the very first byte, without white space or a byte order mark.
    if (!this.#text.startsWith('{')) this.#expected("'{' at its start");
    this.#object(isTaken, (name) => {
      if (name === METADATA) {
        hasMetadata = true;
        const isNoted = (key: string) => metadata.has(key);
        this.#object(isNoted, (key) => metadata.set(key, this.#string('a text')));
      } else {
        this.#tensor = name;
        tensors.set(name, this.#entry(name));
        this.#tensor = undefined;
      }
    });
    this.#skipSpace();
    if (this.#at < this.#text.length) this.#expected('nothing after its last brace but spaces');
    return { tensors, metadata };
  }

  #entry(name: string): FileTensor {
    let dtype: string | undefined;
    let shape: number[] | undefined;
    let offsets: number[] | undefined;
    const fields: string[] = [];
    const isRead = (field: string) => fields.includes(field);
    this.#object(isRead, (field) => {
      fields.push(field);
      if (field === 'dtype') dtype = this.#string("the dtype's name");
      else if (field === 'shape') shape = this.#integers(MOST_AXES, 'shape');
      else if (field === 'data_offsets') offsets = this.#integers(2, 'data_offsets');
      else this.#fail(`has a field ${quoted(field)} in its header entry, which the format does not know`);
    });
    if (dtype === undefined) this.#fail('has no dtype in its header entry');
    if (shape === undefined) this.#fail('has no shape in its header entry');
    if (offsets?.length !== 2) this.#fail('has no two data_offsets in its header entry');
    const [begin, end] = offsets;
    return { name, dtype, shape, begin, end };
  }

  /** Reads an object; `isTaken` finds the names that were read before, `member` reads the value of each name. */
  #object(isTaken: (name: string) => boolean, member: (name: string) => void): void {
    this.#punctuation('{');
    if (this.#take('}')) return;
    do {
      const name = this.#string('a name in quotes');
      if (isTaken(name)) this.#duplicate(name);
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
    const quote = this.#text.indexOf('"', start + 1);
    const plain = this.#text.slice(start + 1, Math.max(quote, start + 1));
    if (quote > 0 && !SPECIAL.test(plain)) {
      this.#at = quote + 1;
      return plain;
    }
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
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
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
