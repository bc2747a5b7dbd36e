import { resolve } from 'node:path';

/**
 * `npm run SCRIPT` and `npm start` work in the root of the project wherever they are called; a path that the user names is
 * meant from where they stood.
 *
 * @returns Makes such a path absolute; for a command's options.
 */
export const userPath =
  (script: string) =>
  (path: string): string => {
    const { npm_lifecycle_event: running, INIT_CWD: called } = process.env;
    return resolve(running === script && called !== undefined ? called : '.', path);
  };
