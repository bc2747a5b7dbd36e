/** Where a file comes from: every kind of source as a name, a size where it is known, and a stream of bytes. */
import { printed, reject } from '../../kernels/common/validate.js';
import { fileOf, type FileSource } from './file_source.js';

/**
 * What `loadSafetensors` reads:
 *
 * - the file's bytes: `Uint8Array` (a Node `Buffer` is one) or `ArrayBuffer`
 * - `Blob` or `File`, as from `<input type="file">` or a drop
 * - `Response`, as from `fetch`; `ReadableStream`; any `AsyncIterable` of `Uint8Array`, such as a Node stream
 * - a URL as `string` or `URL`, which is fetched; in Node a path or a `file:` URL as well, which is read from disk
 *   (Node 20.16 and later; `fileSource(path)` of `tfjs-lla/node` does it in every version)
 */
export type SafetensorsSource =
  | Uint8Array
  | ArrayBuffer
  | Blob
  | Response
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array>
  | FileSource
  | string
  | URL;

/** An opened source. */
export interface OpenedFile {
  /** What errors call it. */
  readonly name: string;
  /** Bytes of the whole file, where they are known before it is read. */
  readonly size?: number;
  readonly pieces: AsyncIterable<Uint8Array>;
}

/** Opens a source; throws, naming `caller`, for what is none. */
export async function openSource(caller: string, source: SafetensorsSource): Promise<OpenedFile> {
  if (typeof source === 'string' || source instanceof URL) return await openAddress(caller, source);
  const given: unknown = source;
  if (typeof given !== 'object' || given === null) {
    reject(caller, 'source', `must be bytes, a Blob, a Response, a stream or an address, got ${printed(given)}`);
  }
  // By their form, not by `instanceof`: sources also come from other realms (frames, workers, test sandboxes).
  const kind = Object.prototype.toString.call(given);
  if (kind === '[object Uint8Array]') return openBytes(given as Uint8Array);
  if (kind === '[object ArrayBuffer]') return openBytes(new Uint8Array(given as ArrayBuffer));
  if (kind === '[object Blob]' || kind === '[object File]') return openBlob(given as Blob);
  if (kind === '[object Response]') return openResponse(caller, given as Response);
  if ('getReader' in given) {
    return { name: 'ReadableStream', pieces: bytesOnly(caller, piecesOf(given as ReadableStream<unknown>)) };
  }
  if (Symbol.asyncIterator in given) {
    return { name: 'AsyncIterable', pieces: bytesOnly(caller, given as AsyncIterable<unknown>) };
  }
  // Last, since a file stream of Node has a method of that name, too.
  if ('open' in given) return await (given as FileSource).open(caller);
  reject(caller, 'source', `must be bytes, a Blob, a Response, a stream or an address, got ${kind}`);
}

/** An address: read from disk where that is what it means, fetched otherwise. */
async function openAddress(caller: string, source: string | URL): Promise<OpenedFile> {
  const address = String(source);
  const scheme = /^([a-z][a-z\d+.-]+):/i.exec(address)?.[1]?.toLowerCase();
  const files = nodeModule('node:fs/promises');
  const urls = nodeModule('node:url');
  const onDisk = scheme === 'file' || (scheme === undefined && runsInNode());
  if (!onDisk) return openResponse(caller, await fetch(address), address);
  if (files === undefined || urls === undefined) {
    reject(caller, 'source', `${printed(address)} is a file; read it by fileSource(path) of tfjs-lla/node`);
  }
  return await fileOf(files, scheme === 'file' ? urls.fileURLToPath(address) : address).open(caller);
}

/** Node's own global, which pages and workers do not have; the type of the global claims that it is always there. */
const { process: node } = globalThis as { process?: Partial<NodeJS.Process> };

const runsInNode = (): boolean => node?.versions?.node !== undefined;

/** A module of Node without an `import`, which a bundler for browsers would stumble over. */
function nodeModule<Name extends 'node:fs/promises' | 'node:url'>(name: Name) {
  return node?.getBuiltinModule?.(name);
}

function openBytes(bytes: Uint8Array): OpenedFile {
  return { name: `${bytes.length} bytes`, size: bytes.length, pieces: onePiece(bytes) };
}

/** An iteration of one piece. (A generator function without an `await` would say less plainly what it does.) */
function onePiece(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator]() {
      let given = false;
      return {
        next() {
          const result = given ? { done: true as const, value: undefined } : { done: false as const, value: bytes };
          given = true;
          return Promise.resolve(result);
        },
      };
    },
  };
}

function openBlob(blob: Blob): OpenedFile {
  const name = 'name' in blob && typeof blob.name === 'string' ? blob.name : 'Blob';
  return { name, size: blob.size, pieces: piecesOf(blob.stream()) };
}

function openResponse(caller: string, response: Response, address = response.url): OpenedFile {
  const name = address || 'Response';
  if (!response.ok) reject(caller, 'source', `${printed(name)} answered ${response.status} ${response.statusText}`);
  if (response.bodyUsed) reject(caller, 'source', `${printed(name)} was read before`);
  // Its Content-Length is of no use as a size: it counts compressed bytes.
  return { name, pieces: response.body ? piecesOf(response.body) : onePiece(new Uint8Array()) };
}

/** The pieces of a stream. Not every browser's streams are iterable by themselves. */
async function* piecesOf<Piece>(stream: ReadableStream<Piece>): AsyncGenerator<Piece> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // Where the stream failed, its reader has said so already.
    await reader.cancel().catch(() => undefined);
  }
}

/** Passes bytes on and refuses anything else, such as the strings of a Node stream with an encoding. */
async function* bytesOnly(caller: string, pieces: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    if (Object.prototype.toString.call(piece) !== '[object Uint8Array]') {
      reject(caller, 'source', `must give pieces of type Uint8Array, gave ${printed(piece)}`);
    }
    yield piece as Uint8Array;
  }
}
