// `sentinelctl adopt` of a running pair, a sentineld killed at each step until both are taken over.
import { ADOPTIONS, testAdopting } from './adopt-table.ts';

testAdopting(ADOPTIONS);
