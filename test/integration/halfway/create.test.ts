// The first data directory of a new group, by sentineld itself: killed at each step and started again, it completes, and takes writes.
import { CREATE, testCreating } from './create-table.ts';

testCreating(CREATE);
