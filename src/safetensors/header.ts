/** The header: where each tensor lies, checked so that nothing else has to be. */
import { BITS } from './dtypes.js';
import { parseHeaderText, type FileTensor, type HeaderText } from './header_text.js';
import { quoted, shown, type FileProblems } from './problem.js';
import type { Chunks } from './chunks.js';

export interface Header {
  readonly tensors: ReadonlyMap<string, FileTensor>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Bytes behind the header. */
  readonly dataSize: number;
}

/** Bytes of the header's length, a little-endian 64-bit integer. */
const LENGTH_BYTES = 8;

/** The format's own bound of a header, in bytes. */
const LONGEST_HEADER = 100_000_000;

/**
 * Reads and checks the header, without having more in memory than what has arrived.
 *
 * @param size Bytes of the whole file, where they are known.
 */
export async function readHeader(chunks: Chunks, size: number | undefined, problems: FileProblems): Promise<Header> {
  const prefix = await chunks.take(LENGTH_BYTES);
  if (prefix.length < LENGTH_BYTES) {
    problems.fail(`is not a safetensors file: it ends after ${prefix.length} bytes, the header's length needs 8`);
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > BigInt(LONGEST_HEADER)) {
    const start = quoted(new TextDecoder('latin1').decode(prefix));
    problems.fail(
      `has a header length of ${length} bytes, more than the ${LONGEST_HEADER} that the format allows; ` +
        `it starts with ${start}: is it a safetensors file?`,
    );
  }
  const headerSize = Number(length);
  if (size !== undefined && LENGTH_BYTES + headerSize > size) {
    problems.fail(`is truncated: its header has ${headerSize} bytes, the whole file ${size}`);
  }
  const bytes = await chunks.take(headerSize);
  if (bytes.length < headerSize) {
    problems.fail(`is truncated: its header has ${headerSize} bytes, ${bytes.length} arrived`);
  }
  const header = checked(parseHeaderText(decode(bytes, problems), problems), problems);
  checkSize(header, size === undefined ? undefined : size - LENGTH_BYTES - headerSize, problems);
  return header;
}

function decode(bytes: Uint8Array, problems: FileProblems): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    problems.fail('has a header that is not UTF-8');
  }
}

function checked({ tensors, metadata }: HeaderText, problems: FileProblems): Header {
  for (const { name, dtype, shape, begin, end } of tensors.values()) {
    const size = byteSize(name, dtype, shape, problems);
    if (end - begin !== size) {
      problems.fail(
        `needs ${size} bytes for shape ${shown(shape)} of ${dtype}, its data_offsets [${begin}, ${end}] have ${end - begin}`,
        name,
      );
    }
  }
  const inOrder = [...tensors.values()].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let dataSize = 0;
  let previous = '';
  for (const { name, begin, end } of inOrder) {
    if (begin < dataSize) problems.fail(`overlaps tensor ${quoted(previous)}: it begins at byte ${begin}`, name);
    if (begin > dataSize) {
      problems.fail(`begins at byte ${begin}, and no tensor has the bytes from ${dataSize} on`, name);
    }
    dataSize = end;
    previous = name;
  }
  return { tensors, metadata, dataSize };
}

/** Bytes of a tensor. */
function byteSize(name: string, dtype: string, shape: readonly number[], problems: FileProblems): number {
  const bits = BITS.get(dtype);
  if (bits === undefined) {
    problems.fail(`has dtype ${quoted(dtype)}; the format has ${[...BITS.keys()].join(', ')}`, name);
  }
  // A zero anywhere makes the product zero, and must not hide one that overflows on the way, as in the format's reader.
  const total = shape.reduce((product, size) => checkedProduct(product, size), bits);
  if (Number.isNaN(total)) problems.fail(`has shape ${shown(shape)}, whose size overflows`, name);
  if (total % 8 !== 0) problems.fail(`has shape ${shown(shape)} of ${dtype}, which is no whole number of bytes`, name);
  return total / 8;
}

/** The product, or NaN once it leaves the integers that a number holds exactly. */
function checkedProduct(a: number, b: number): number {
  const product = a * b;
  return Number.isSafeInteger(product) ? product : NaN;
}

/** Compares the bytes that the tensors need with those that there are, where that is known. */
function checkSize({ tensors, dataSize }: Header, available: number | undefined, problems: FileProblems): void {
  if (available === undefined || available === dataSize) return;
  if (available > dataSize) {
    problems.fail(`has ${available - dataSize} bytes behind its last tensor, which belong to none`);
  }
  failTruncated(tensors, available, problems);
}

/** Throws for a file that ends `available` bytes behind its header. */
export function failTruncated(
  tensors: ReadonlyMap<string, FileTensor>,
  available: number,
  problems: FileProblems,
): never {
  const cut = [...tensors.values()].find(({ begin, end }) => begin <= available && available < end);
  problems.fail(
    `is cut off: it ends at byte ${cut?.end ?? available}, the file has ${available} of tensors`,
    cut?.name,
  );
}
