// A standby's clone, its sentineld killed at each step: started again, it completes by itself, and nothing of the broken-off one is left.
import { CLONES } from './clone-tables.ts';
import { testTables } from './table.ts';

testTables('clone', CLONES);
