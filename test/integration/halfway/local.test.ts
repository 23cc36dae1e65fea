// `sentinelctl node create` and `node clone`, killed at each step: run again, each completes by itself, and nothing of the broken-off one is left.
import { testLocalTables } from './local-table.ts';
import { COPIES, CREATES } from './local-tables.ts';

testLocalTables([...CREATES, ...COPIES]);
