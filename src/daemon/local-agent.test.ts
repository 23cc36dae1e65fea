// Whose duties a node's are: the peer's that has registered it, and after it was taken out nobody else's.
import { expect, test } from 'vitest';
import { nodeId } from '../base/ids.ts';
import { REMOVAL_FEATURE_LEVEL } from '../cluster/features.ts';
import { ALONE, B, GROUP, P1, P2, at, newLog, running } from '../cluster/testing/example.ts';
import { ownDuty } from './local-agent.ts';

const via = { peers: new Map(), nodes: new Map() };

test('a node that was removed under another peer is not registered by this one', () => {
  const log = newLog({ ...running().state, featureLevel: REMOVAL_FEATURE_LEVEL });
  log.must(at(log).change(ALONE));
  log.must(at(log).commitRule(), { kind: 'remove-node', group: GROUP, node: B, leaving: 'stop' });
  expect(ownDuty(log.state, B, { peer: P2, via })).toMatchObject({ kind: 'removed', leaving: 'stop' });
  expect(ownDuty(log.state, B, { peer: P1, via })).toMatchObject({ kind: 'none', isRemoved: true });
  log.must({ kind: 'readmit-node', group: GROUP, node: B });
  expect(ownDuty(log.state, B, { peer: P1, via })).toEqual({ kind: 'none', reason: 'not registered yet' });
  expect(ownDuty(log.state, nodeId('z'), { peer: P1, via })).not.toHaveProperty('isRemoved');
});
