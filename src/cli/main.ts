import { createProgram } from './program.js';

// No top-level await: the program is bundled to CommonJS.
void createProgram().parseAsync();
