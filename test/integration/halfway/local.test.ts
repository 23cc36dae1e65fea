// `sentinelctl node create` and `node clone`, killed at each step: run again, each completes by itself, and nothing of the broken-off one is left.
import { testLocalTable } from './local-table.ts';
import { LOCAL } from './local-tables.ts';

LOCAL.forEach(testLocalTable);
