// A former primary that comes back, its sentineld killed at each step: started again, it rejoins by itself; what only it had written is saved.
import { REJOIN } from './rejoin-tables.ts';
import { testTables } from './table.ts';

testTables('rejoin', REJOIN);
