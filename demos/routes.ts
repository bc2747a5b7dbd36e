/** The pages of the site, each loaded only when it is opened. */
import type { ComponentType } from 'preact';

export interface Route {
  /** Behind `#/` in the address. */
  readonly path: string;
  readonly title: string;
  /** One sentence for the front page. */
  readonly about: string;
  readonly load: () => Promise<{ readonly Page: ComponentType }>;
}

export const ROUTES: readonly Route[] = [
  {
    path: 'see',
    title: 'See it',
    about: 'Drag points and watch a local constant, a local linear and a global linear fit follow them.',
    load: () => import('../models/local_fit/demo/page.js'),
  },
  {
    path: 'use',
    title: 'Use it',
    about: 'Let a trained language model write, token by token through its cache, and look at what it attends to.',
    load: () => import('./use/page.js'),
  },
  {
    path: 'forecast',
    title: 'Forecast it',
    about: 'Forecast a CSV file of your own, which never leaves the page, or one of six series, by every operator.',
    load: () => import('../models/forecast/demo/page.js'),
  },
  {
    path: 'train',
    title: 'Train it',
    about: 'Train a small model with local linear attention beside the same one with softmax attention.',
    load: () => import('../models/in_context_regression/demo/page.js'),
  },
  {
    path: 'measure',
    title: 'Measure it',
    about: 'Time every operator on your own graphics processor, and copy the result.',
    load: () => import('./measure/page.js'),
  },
];
