// A switchover that is broken off at each of its steps, on each of the three hosts: the second `sentinelctl failover` completes it.
import { SWITCHOVER } from './switchover-tables.ts';
import { testTables } from './table.ts';

testTables('switchover', SWITCHOVER);
