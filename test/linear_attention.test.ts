import { operatorSuite } from './operator_suite.js';

operatorSuite('linearAttention');
