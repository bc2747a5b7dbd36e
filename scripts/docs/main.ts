/**
 * Builds the documentation into `docs/html`: the README, the guide and the reference of every entry of the package.
 *
 * A warning, such as a link that leads nowhere or a type that is used in public but not exported, is an error.
 * `--check` finds those without writing anything.
 */
import { fileURLToPath } from 'node:url';
import { Application, type DeclarationReflection } from 'typedoc';
import { ENTRIES } from '../build/entries.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
process.chdir(root);

/** What users import for a module that typedoc names by its path in `src`. */
function importOf(path: string): string {
  const entry = Object.entries(ENTRIES).find(
    ([, module]) => module.replace(/^src\//, '').replace(/\/index$/, '') === path,
  );
  if (entry === undefined) throw new Error(`${path} is no entry of the package`);
  return `tfjs-lla${entry[0].slice(1)}`;
}

/** Whether a module, or what it exports, says what it is; a function does so in its signatures. */
function isDocumented(part: DeclarationReflection): boolean {
  return part.hasComment() || (part.signatures ?? []).some((signature) => signature.hasComment());
}

const app = await Application.bootstrap({
  name: 'tfjs-lla',
  entryPoints: Object.values(ENTRIES).map((module) => `${module}.ts`),
  tsconfig: 'tsconfig.build.json',
  projectDocuments: ['docs/guide/*.md'],
  readme: 'README.md',
  out: 'docs/html',
  treatWarningsAsErrors: true,
  excludeExternals: true,
  excludePrivate: true,
  excludeProtected: true,
  disableSources: true,
  hideGenerator: true,
  // Compiler errors are `npm run check:types`' business, which reads more files than this.
  skipErrorChecking: true,
});

const project = await app.convert();
if (project === undefined) process.exit(1);
for (const module of project.children ?? []) {
  module.name = importOf(module.name);
  for (const part of [module, ...(module.children ?? [])]) {
    if (!isDocumented(part)) app.logger.warn(`${part.getFriendlyFullName()} has no documentation`);
  }
}
for (const document of project.documents ?? []) {
  // Its heading is its title; typedoc would take the file's name for one, and print both.
  const [start] = document.content;
  start.text = start.text.replace(/^# (.+)\s+/, (_, title: string) => {
    document.name = title;
    return '';
  });
}
app.validate(project);
if (!process.argv.includes('--check')) await app.generateOutputs(project);
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);
