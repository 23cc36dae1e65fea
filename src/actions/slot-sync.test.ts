// When a standby of 17 and later synchronises slots: never with a wal_level in force that would shut it down.
import { expect, test } from 'vitest';
import { type SyncFacts, isSyncDue } from './slot-sync.ts';

const FACTS: SyncFacts = {
  ...{ followsPrimary: true, hasSlots: true, hasSynced: false },
  ...{ walLevel: 'logical', isPrimaryLogical: true },
};

test.each<[string, Partial<SyncFacts>, boolean]>([
  ['it follows the primary, and both decode logically', {}, true],
  ['PostgreSQL runs with less here', { walLevel: 'replica' }, false],
  ['the primary runs with less', { isPrimaryLogical: false }, false],
  ['it follows another standby', { followsPrimary: false }, false],
  ['there are no slots', { hasSlots: false }, false],
  ['one is left, which only PostgreSQL can drop', { hasSlots: false, hasSynced: true }, true],
  ['one is left, and it runs with less', { hasSynced: true, walLevel: 'replica' }, false],
])('%s', (_, facts, isDue) => {
  expect(isSyncDue({ ...FACTS, ...facts })).toBe(isDue);
});
