/**
 * `npm run cases -- --backend webgpu`: the case table of the tests, gradients included, without a test framework: for a
 * device that the tests do not reach. `npm run cases:bundle -- FILE` makes one file of it.
 */
import { writeFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';

import { positiveNumber, regularExpression } from '../arguments.js';
import { type BackendName, initBackend } from '../../src/node.js';
import { type Case, casesOf, type Extent, operators } from '../../test/cases.js';
import { checkCase } from '../../test/check_case.js';
import type { Measured } from '../../test/bars.js';
import type { Operator } from '../../test/values.js';

interface Options {
  readonly backend: BackendName;
  readonly extent: Extent;
  readonly operator: readonly Operator[];
  readonly only?: RegExp;
  readonly part: Part;
  readonly precision: 'high' | 'fast';
  readonly limit: number;
  readonly json?: string;
}

/** Which cases of the table to take: the `index`-th of every `count`. */
interface Part {
  readonly index: number;
  readonly count: number;
}

interface Miss {
  readonly operator: Operator;
  readonly name: string;
  readonly wrong: readonly string[];
}

function partOf(text: string): Part {
  const [index, count] = text.split('/').map(Number);
  if (!Number.isInteger(index) || !Number.isInteger(count) || index < 1 || index > count) {
    throw new InvalidArgumentError('It must be like 2/5: the second of five parts.');
  }
  return { index: index - 1, count };
}

const program = new Command('npm run cases --')
  .description('Runs the case table of the tests, gradients included, against the float64 references.')
  .addOption(
    new Option('--backend <name>', 'tfjs backend').choices(['cpu', 'wasm', 'webgpu', 'tensorflow']).default('cpu'),
  )
  .addOption(new Option('--extent <name>', 'how much of it').choices(['optionPairs', 'pairs', 'all']).default('pairs'))
  .addOption(new Option('--operator <names...>', 'which operators').choices(operators).default(operators, 'all'))
  .option('--only <regex>', 'only cases whose name it matches', regularExpression)
  .option('--part <k/n>', 'every n-th case, beginning with the k-th', partOf, { index: 0, count: 1 })
  .addOption(new Option('--precision <name>', 'of every case').choices(['high', 'fast']).default('high'))
  .option('--limit <seconds>', 'begin no case after this', positiveNumber, 3600)
  .option('--json <file>', 'write what was run and what is wrong to a file');

/** Errors of a case's arrays, and how many times its bar the largest one is; the bars are those of `'high'`. */
interface Errors {
  readonly operator: Operator;
  readonly name: string;
  /** By array: relative L2, largest single one, and the larger of the two over its bar (null where there is none). */
  readonly arrays: Readonly<Record<string, readonly [l2: number, max: number, timesBar: number | null]>>;
}

const digits = (x: number): number => Number(x.toPrecision(3));

function figuresOf({ errors: { l2, max }, bar }: Measured): Errors['arrays'][string] {
  return [digits(l2), digits(max), bar ? digits(Math.max(l2 / bar.l2, max / bar.max)) : null];
}

/** What is wrong with a case; an error is that too. */
async function check(
  build: () => Case,
  backend: string,
  report: (arrays: Errors['arrays']) => void,
): Promise<string[]> {
  try {
    return await checkCase(build(), backend, (measured) => {
      report(Object.fromEntries(Object.entries(measured).map(([array, one]) => [array, figuresOf(one)])));
    });
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

function withPrecision(testCase: Case, precision: 'high' | 'fast'): Case {
  return { ...testCase, options: { ...testCase.options, precision } };
}

/** What came of the cases of one operator. */
interface Count {
  passed: number;
  failed: number;
  /** Not begun in time. */
  left: number;
  seconds: number;
}

/** The cases of one operator that are asked for. */
const chosenCases = (operator: Operator, { extent, part, only }: Options) =>
  casesOf(operator, extent).filter(([name], i) => i % part.count === part.index && (only?.test(name) ?? true));

/** All cases that are asked for, one after another: their data are large. */
function* allCases(options: Options): Generator<Case> {
  for (const operator of options.operator) {
    for (const [, build] of chosenCases(operator, options)) yield withPrecision(build(), options.precision);
  }
}

/** What was found out so far. */
interface Findings {
  readonly missed: Miss[];
  readonly errors: Errors[];
}

/** Runs the cases of one operator until the clock says `end`; says what is wrong as it comes, and adds it to `found`. */
async function runOperator(operator: Operator, options: Options, end: number, found: Findings): Promise<Count> {
  const { backend, precision } = options;
  const begin = Date.now();
  const count: Count = { passed: 0, failed: 0, left: 0, seconds: 0 };
  for (const [name, build] of chosenCases(operator, options)) {
    if (Date.now() > end) {
      count.left++;
      continue;
    }
    const wrong = await check(
      () => withPrecision(build(), precision),
      backend,
      (arrays) => found.errors.push({ operator, name, arrays }),
    );
    count[wrong.length > 0 ? 'failed' : 'passed']++;
    if (wrong.length === 0) continue;
    found.missed.push({ operator, name, wrong });
    console.log(`${operator}: ${name}\n  ${wrong.join('\n  ')}`);
  }
  count.seconds = (Date.now() - begin) / 1000;
  const { passed, failed, left, seconds } = count;
  console.log(
    `${operator}: ${passed} passed, ${failed} failed, ${left} not begun in time, ${seconds.toFixed(1)} seconds`,
  );
  return count;
}

async function main(): Promise<number> {
  const options = program.parse().opts<Options>();
  const { backend, extent, part, only, precision } = options;
  const { adapter } = await initBackend(backend);
  console.log(`backend ${backend} (${adapter}), extent ${extent}, precision ${precision}`);
  const begin = Date.now();
  const end = begin + 1000 * options.limit;
  if (backend === 'webgpu') {
    const { compileCases } = await import('./compile_ahead.js');
    const count = await compileCases(allCases(options));
    console.log(`${count} shaders compiled in ${((Date.now() - begin) / 1000).toFixed(1)} seconds`);
  }
  const found: Findings = { missed: [], errors: [] };
  const counts: Partial<Record<Operator, Count>> = {};
  for (const operator of options.operator) counts[operator] = await runOperator(operator, options, end, found);
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ backend, adapter, extent, precision, part, counts, ...found })}\n`);
  }
  const sum = (of: keyof Count): number => Object.values(counts).reduce((all, count) => all + count[of], 0);
  const [passed, failed] = [sum('passed'), sum('failed') + sum('left')];
  if (passed + failed === 0) program.error(`error: no case of ${extent} matches ${String(only)}`);
  console.log(`tests: ${passed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

void main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
