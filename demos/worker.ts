/**
 * The worker in which the demos compute, so that no kernel, shader or download ever blocks the page. A page starts one for
 * itself and ends it when it is left, which frees all that it held on the GPU.
 */
import { expose } from 'comlink';
import { takeBackend } from './engine/take_backend.js';
import type { Host } from './engine/use_engine.js';

/** What each page asks the worker to do. */
const JOBS: Readonly<Record<string, () => Promise<{ readonly jobs: object }>>> = {
  associative_recall: () => import('../models/associative_recall/demo/jobs.js'),
  forecast: () => import('../models/forecast/demo/jobs.js'),
  in_context_regression: () => import('../models/in_context_regression/demo/jobs.js'),
  language_model: () => import('../models/language_model/demo/jobs.js'),
  local_fit: () => import('../models/local_fit/demo/jobs.js'),
  measure: () => import('./measure/jobs.js'),
};

const host: Host = {
  takeBackend,
  async open(page, port) {
    const { jobs } = await JOBS[page]();
    expose(jobs, port);
  },
};

expose(host);
