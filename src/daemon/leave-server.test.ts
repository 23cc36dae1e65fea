// Which replication slots are taken for those of members.
import { expect, test } from 'vitest';
import { nodeId } from '../base/ids.ts';
import { slotsOfMembers } from './leave-server.ts';

test('slots of members of nodes that are known, not people’s that look alike', () => {
  const names = ['pg2_0a1b2c3d', 'backup_20261122', 'pg_3_0a1b2c3d', 'pg2', 'pg2_old', 'pg9_0a1b2c3d'];
  expect(slotsOfMembers(names, [nodeId('pg2'), nodeId('pg-3')])).toEqual(['pg2_0a1b2c3d', 'pg_3_0a1b2c3d']);
});
