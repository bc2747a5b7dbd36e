import { operatorSuite } from './operator_suite.js';

operatorSuite('softmaxAttention');
