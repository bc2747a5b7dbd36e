/** Wheels of Python's pip: fetched and unpacked, never installed. */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run, SetupError, tail } from './shell.js';

/** Takes wheels of any Python version: only libraries and headers are used. pip takes each tag by itself. */
const WHEEL_ARGUMENTS = ['--python-version', '3.11', '--implementation', 'cp'].concat(
  ['manylinux_2_27', 'manylinux_2_17', 'manylinux2014', 'manylinux2010', 'manylinux1'].flatMap((tag) => [
    '--platform',
    `${tag}_x86_64`,
  ]),
);

/** Unpacks what is needed of a wheel, with the Python that has fetched it. */
const UNPACK = `
import re, sys, zipfile
wheel, folder, needed = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if re.match(needed, name):
            archive.extract(name, folder)
`;

/** The Python that is used: `$PYTHON` or `python3`. */
export function python(): string {
  return process.env.PYTHON ?? 'python3';
}

/** Refuses a machine without pip; `what` is what it is needed for, `otherwise` what else may be done. */
export async function checkPip(what: string, otherwise: string): Promise<void> {
  const { status, missing } = await run(python(), ['-m', 'pip', '--version']);
  if (status === 0) return;
  throw new SetupError(
    `${what} is fetched with pip, and '${python()} -m pip' ${missing ? 'is not there' : 'does not run'}: install ` +
      'Python 3 and pip (Debian, Ubuntu: apt install python3-pip; Fedora: dnf install python3-pip), name a Python in the ' +
      `variable PYTHON, or ${otherwise}`,
  );
}

/** Fetches wheels into a folder, and nothing that they depend on. What is there already is not fetched again. */
export async function download(wheels: string, wanted: readonly string[]): Promise<void> {
  mkdirSync(wheels, { recursive: true });
  const args = ['-m', 'pip', 'download', '--disable-pip-version-check', '--no-input', '--no-deps'];
  const { status, stderr } = await run(
    python(),
    [...args, '--only-binary=:all:', '--dest', wheels, ...WHEEL_ARGUMENTS, ...wanted],
    { shown: true },
  );
  if (status === 0) return;
  throw new SetupError(
    `pip could not fetch ${wanted.join(', ')} (no network, or a proxy that pip does not know?):\n${tail(stderr)}`,
  );
}

/** Unpacks the files of `wheels` whose names begin as the regular expression `needed` says. */
export async function unpack(wheels: string, needed: string, folder: string): Promise<void> {
  for (const name of readdirSync(wheels).filter((file) => file.endsWith('.whl'))) {
    const wheel = join(wheels, name);
    const { status, stderr } = await run(python(), ['-c', UNPACK, wheel, folder, needed]);
    if (status === 0) continue;
    // A wheel that cannot be unpacked would be taken again by the next run.
    rmSync(wheel, { force: true });
    throw new SetupError(`${wheel} could not be unpacked; run the command again:\n${tail(stderr)}`);
  }
}
