/**
 * The layers of the project as a lint rule: `models -> src/layers -> src/ops -> kernels`, and no backend's file
 * imports another backend's.
 *
 * A zone matches the importing file and the imported one, both as paths from the repository's root without their
 * extension (a package keeps its name). All zones apply to every file.
 */
import { dirname, relative, resolve, sep } from 'node:path';

/**
 * @typedef {object} Zone
 * @property {RegExp} from files the zone is about
 * @property {RegExp} forbids what they must not import
 * @property {boolean} [typesAllowed] whether `import type` is exempt
 * @property {string} why
 */

/**
 * An import or a re-export, as typescript-eslint's parser describes it.
 *
 * @typedef {import('eslint').Rule.Node & {
 *   source?: { value?: unknown } | null,
 *   importKind?: string,
 *   exportKind?: string,
 * }} ModuleNode
 */

/** Kernel files that belong to one backend; a sibling's name never appears among their imports. */
const BACKENDS = ['cpu', 'composed', 'webgpu', 'webgl', 'tensorflow'];

/** @param {string} backend */
const kernelOf = (backend) => new RegExp(`^kernels/.*\\b${backend}\\b|^src/backends/${backend}$`);

/** @type {Zone[]} */
const siblings = BACKENDS.map((backend) => ({
  from: kernelOf(backend),
  forbids: new RegExp(
    BACKENDS.filter((other) => other !== backend)
      .map((other) => kernelOf(other).source)
      .join('|'),
  ),
  why: 'a backend must not depend on another backend',
}));

/** @type {Zone[]} */
const ZONES = [
  { from: /^kernels\//, forbids: /^(src|models|test|scripts)\//, why: 'kernels are the lowest layer' },
  {
    from: /^kernels\/.*\b(spec|reference|cpu)\b/,
    forbids: /^@tensorflow\//,
    typesAllowed: true,
    why: 'specs, references and cpu kernels are plain TypeScript',
  },
  { from: /^src\//, forbids: /^(models|test|scripts)\//, why: 'the package stands on kernels alone' },
  {
    // The entry of the layers brings the `cpu` kernels, as `src/index` does.
    from: /^src\/(ops\/|gradients$|layers\/(?!index$))/,
    forbids: /^src\/(backends|cli|node|index|chained)\b/,
    why: 'operators, gradients and layers know no backend',
  },
  { from: /^src\/ops\//, forbids: /^src\/layers\b/, why: 'operators lie below layers' },
  { from: /^models\//, forbids: /^(kernels|test|scripts)\//, why: 'models use the package, not its kernels' },
  { from: /^models\/(?!\w+\/demo\/)/, forbids: /^demos\/|\/demo\//, why: 'models run without a page' },
  { from: /^demos\/(engine|parts)\//, forbids: /^models\/(?!common\/)/, why: 'what pages share knows no page' },
  { from: /^(src|kernels|scripts)\//, forbids: /^demos\//, why: 'the package stands without the demos' },
  ...siblings,
];

/** @type {import('eslint').Rule.RuleModule} */
export const boundaries = {
  meta: { type: 'problem', schema: [], messages: { crossed: '{{from}} must not import {{to}}: {{why}}' } },
  create(context) {
    /** @param {string} file */
    const fromRoot = (file) => relative(context.cwd, file).split(sep).join('/');
    const from = fromRoot(context.filename).replace(/\.[cm]?[jt]sx?$/, '');

    /** @param {ModuleNode} node */
    const check = (node) => {
      const specifier = node.source?.value;
      if (typeof specifier !== 'string') return;
      const to = specifier.startsWith('.')
        ? fromRoot(resolve(dirname(context.filename), specifier)).replace(/\.[cm]?js$/, '')
        : specifier;
      const typesOnly = node.importKind === 'type' || node.exportKind === 'type';
      for (const zone of ZONES) {
        if (!zone.from.test(from) || !zone.forbids.test(to) || (typesOnly && zone.typesAllowed)) continue;
        context.report({ node, messageId: 'crossed', data: { from, to, why: zone.why } });
      }
    };
    return {
      ImportDeclaration: check,
      ImportExpression: check,
      ExportNamedDeclaration: check,
      ExportAllDeclaration: check,
    };
  },
};
