/** Files on disk. Node's module comes as an argument, so that nothing of Node is imported here. */
import type * as files from 'node:fs/promises';
import type { OpenedFile } from './source.js';

/** A file that is opened when it is read. */
export interface FileSource {
  /** Opens the file. `caller` is the function that errors name. */
  open(caller: string): Promise<OpenedFile>;
}

/** Bytes per read. */
const PIECE = 1 << 20;

export function fileOf({ open }: Pick<typeof files, 'open'>, path: string): FileSource {
  return {
    async open(caller) {
      const handle = await open(path, 'r').catch((error: unknown) => {
        throw new Error(`${caller}: source '${path}' cannot be opened: ${String(error)}`, { cause: error });
      });
      try {
        const { size } = await handle.stat();
        return { name: path, size, pieces: piecesOf(handle) };
      } catch (error) {
        await handle.close();
        throw error;
      }
    },
  };
}

/** Reads to the end and closes the file, also where its reader stops before. */
async function* piecesOf(handle: files.FileHandle): AsyncGenerator<Uint8Array> {
  try {
    for (;;) {
      const { bytesRead, buffer } = await handle.read(new Uint8Array(PIECE), 0, PIECE);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}
