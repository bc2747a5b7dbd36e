/** Files that a user names: what is wrong with one is said in words. */
import { constants } from 'node:fs';
import { access, mkdir, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { InputError } from './input_error.js';

export async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new InputError(`cannot read ${file}: ${reason(error)}`);
  }
}

export async function readJson(file: string): Promise<unknown> {
  const text = await readText(file);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InputError(`${file}: this is not JSON (${error instanceof Error ? error.message : String(error)})`);
  }
}

export async function readBytes(file: string): Promise<Uint8Array> {
  try {
    // A buffer may be a view into a larger one.
    return Uint8Array.from(await readFile(file));
  } catch (error) {
    throw new InputError(`cannot read ${file}: ${reason(error)}`);
  }
}

/** Tells before the work begins what would fail after it; leaves an existing file as it is. */
export async function assertWritable(file: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    const found = await stat(file).catch(() => undefined);
    if (found?.isDirectory()) throw new InputError(`cannot write ${file}: it is a directory`);
    await access(found === undefined ? dirname(file) : file, constants.W_OK);
  } catch (error) {
    throw error instanceof InputError ? error : new InputError(`cannot write ${file}: ${reason(error)}`);
  }
}

export async function write(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text);
  } catch (error) {
    throw new InputError(`cannot write ${file}: ${reason(error)}`);
  }
}

/**
 * Writes an ordinary file so that nobody ever finds half of it: under another name first, then renamed. Until then what
 * was there before stays.
 */
export async function writeAtomically(file: string, content: string | Uint8Array): Promise<void> {
  const part = `${file}.${process.pid}.part`;
  try {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(part, content, { flush: true });
    await rename(part, file);
  } catch (error) {
    await unlink(part).catch(() => undefined);
    throw new InputError(`cannot write ${file}: ${reason(error)}`);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a directory, not a file',
  ENOTDIR: 'a part of its path is a file, not a directory',
  EEXIST: 'a part of its path is a file, not a directory',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the device',
};

/** The code of an error of Node's, such as `ENOENT`. */
export const codeOf = (error: unknown): string =>
  typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';

/** Why a file cannot be used. */
export function reason(error: unknown): string {
  return REASONS[codeOf(error)] ?? (error instanceof Error ? error.message : String(error));
}
