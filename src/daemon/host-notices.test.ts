// What `status` says of upstreams that are none. Hosts and formations: test/integration/layouts.
import { expect, test } from 'vitest';
import { groupId, makeMemberId, nodeId } from '../base/ids.ts';
import { CASCADE_FEATURE_LEVEL } from '../cluster/features.ts';
import { B, C, type Log, MB, MC, registration, running } from '../cluster/testing/example.ts';
import { hostNotices } from './host-notices.ts';

const notices = (log: Log): string[] => [...hostNotices(log.state, log.group)];
const D = nodeId('d');

test('an upstream that is no node of the group is named, with the host whose configuration names it, until it is one', () => {
  const log = running({ members: [MB], acks: 1 });
  log.state = { ...log.state, featureLevel: CASCADE_FEATURE_LEVEL };
  const options = { noFailover: false, noSync: false, applyDelayMs: 0 };
  log.must({ ...registration(C, MC), options: { ...options, upstream: B } });
  expect(notices(log)).toEqual([]);
  log.must({ ...registration(C, MC), options: { ...options, upstream: D } });
  const notice =
    'group main has no node d, which c is to stream from (node.upstream of host p3): c follows the primary, and is still not counted for commits; correct the name, or leave it out';
  expect(notices(log)).toEqual([notice]);
  // A node of that name in another group is none of its group either.
  const elsewhere = { ...registration(D, makeMemberId(D, '00000001')), group: groupId('other') };
  log.must(elsewhere);
  expect(notices(log)).toEqual([notice]);
  log.must({ ...registration(C, MC), options: { ...options, upstream: B } });
  expect(notices(log)).toEqual([]);
});
