// What a standby holds back until its primary has been restarted. The rest is tested with real servers: test/integration/commands/settings.test.ts.
import { expect, test } from 'vitest';
import { heldForOthers } from './parameters-duty.ts';

const held = ['max_connections', 'max_worker_processes'];

test('what people want otherwise waits for a restart, and what they have unset while its primary does', () => {
  expect(heldForOthers({ held, wanted: { max_connections: '50' }, primaryPending: [] })).toEqual([
    'max_connections',
  ]);
  expect(heldForOthers({ held, wanted: {}, primaryPending: ['max_connections', 'jit'] })).toEqual([
    'max_connections',
  ]);
  // Such as where postgresql.conf of the two differs.
  expect(heldForOthers({ held, wanted: {}, primaryPending: [] })).toEqual([]);
});
