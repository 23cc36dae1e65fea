// Which replication slots are taken for those of members.
import { expect, test } from 'vitest';
import { nodeId } from '../base/ids.ts';
import { isLeftAsStandby, slotsOfMembers } from './leave-server.ts';

test('slots of members of nodes that are known, not people’s that look alike', () => {
  const names = ['pg2_0a1b2c3d', 'backup_20261122', 'pg_3_0a1b2c3d', 'pg2', 'pg2_old', 'pg9_0a1b2c3d'];
  expect(slotsOfMembers(names, [nodeId('pg2'), nodeId('pg-3')])).toEqual(['pg2_0a1b2c3d', 'pg_3_0a1b2c3d']);
});

test.each([
  // Also where it was stopped before it ever ran as one: it must not begin to take writes.
  ['as was decided, while anything of ours is left', { role: 'standby', isOurs: true, found: false }, true],
  ['as was decided of a primary', { role: 'primary', isOurs: true, found: true }, false],
  [
    'as it is, once it is its owner’s, who has promoted it',
    { role: 'standby', isOurs: false, found: false },
    false,
  ],
  ['as it is, where its owner has made it a standby', { role: 'primary', isOurs: false, found: true }, true],
] as const)('a server is left %s', (_, server, isStandby) => {
  expect(isLeftAsStandby(server)).toBe(isStandby);
});
