/** A host of static files behind a slow line. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

/** What a line can do, whatever the number of requests at a time. */
export interface Line {
  /** Bits per second to the visitor. */
  readonly bits: number;
  /** Milliseconds before an answer begins. */
  readonly latency: number;
}

export interface Sent {
  readonly path: string;
  /** Bytes of the answer, as they were sent. */
  readonly bytes: number;
}

export interface SlowHost {
  readonly address: string;
  readonly sent: readonly Sent[];
  close(): void;
}

const TYPES: Readonly<Partial<Record<string, string>>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.csv': 'text/csv',
  '.wasm': 'application/wasm',
};

/** Size of what is sent at once: a few milliseconds of the line. */
const PIECE = 2048;

/** Compresses what hosts compress: texts and programs, not weights. */
export async function hostSlowly(folder: string, { bits, latency }: Line): Promise<SlowHost> {
  const sent: Sent[] = [];
  /** When the line will have sent all that it was given. */
  let free = 0;
  const send = async (bytes: number) => {
    const now = performance.now();
    free = Math.max(free, now) + (8 * bytes * 1000) / bits;
    await wait(free - now);
  };
  const server = createServer((request, response) => {
    const answer = async () => {
      const { pathname } = new URL(request.url ?? '/', 'http://localhost');
      const path = pathname.endsWith('/') ? `${pathname}index.html` : pathname;
      await wait(latency);
      // The address names no folder above: URL has resolved all dots.
      const plain = await readFile(join(folder, decodeURIComponent(path)));
      const type = TYPES[extname(path)];
      const body = type === undefined ? plain : gzipSync(plain);
      sent.push({ path, bytes: body.length });
      response.writeHead(200, {
        'content-type': type ?? 'application/octet-stream',
        'content-length': body.length,
        ...(type !== undefined && { 'content-encoding': 'gzip' }),
      });
      for (let at = 0; at < body.length; at += PIECE) {
        const piece = body.subarray(at, at + PIECE);
        await send(piece.length);
        response.write(piece);
      }
      response.end();
    };
    answer().catch((error: unknown) => {
      console.error(`${request.url ?? ''}: ${error instanceof Error ? error.message : String(error)}`);
      response.writeHead(404).end();
    });
  });
  await new Promise<void>((done) => server.listen(0, 'localhost', done));
  const { port } = server.address() as AddressInfo;
  return { address: `http://localhost:${port}/`, sent, close: () => server.close() };
}
