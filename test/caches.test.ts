import { backends, useBackend } from './backends.js';
import { cacheSuite } from './cache_suite.js';

for (const backend of backends) cacheSuite(backend, () => useBackend(backend));
