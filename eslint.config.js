import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';
import { boundaries } from './scripts/lint/boundaries.js';

export default defineConfig(
  globalIgnores(['dist/', 'demos/dist/', 'coverage/', 'docs/html/']),
  {
    // The rules hold for everyone: no file switches one off by a comment.
    linterOptions: { noInlineConfig: true, reportUnusedDisableDirectives: 'error' },
    languageOptions: { parserOptions: { projectService: true } },
  },
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    plugins: { project: { rules: { boundaries } } },
    rules: {
      'project/boundaries': 'error',
      'max-lines': ['error', 400],
      eqeqeq: 'error',
      'no-restricted-syntax': [
        'error',
        {
          selector: 'TSAsExpression > TSAsExpression > TSUnknownKeyword',
          message: '`as unknown as` switches the type checker off.',
        },
      ],
      '@typescript-eslint/ban-ts-comment': [
        'error',
        { 'ts-expect-error': true, 'ts-ignore': true, 'ts-nocheck': true, 'ts-check': false },
      ],
      // A kernel's attributes must fit tfjs' `NamedAttrMap`; type aliases do, interfaces do not.
      '@typescript-eslint/consistent-type-definitions': 'off',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
    },
  },
  {
    // An interface that merges with a class of tfjs has to repeat its type parameter.
    files: ['src/chained.ts'],
    rules: { '@typescript-eslint/no-unused-vars': ['error', { varsIgnorePattern: '^R$' }] },
  },
  {
    files: ['kernels/**', 'src/**'],
    ignores: ['src/cli/**'],
    // A library warns where it must and prints nothing else.
    rules: { 'no-console': ['error', { allow: ['warn'] }] },
  },
);
