import { describe, expect, test } from 'vitest';
import { groupId, nodeId } from '../base/ids.ts';
import { nodesOfGroup } from './state.ts';
import { A, B, C, GROUP, P1, running } from './testing/example.ts';

describe('the nodes of a group', () => {
  test('come in the order of their names, whatever the order of the map', () => {
    const { nodes } = running().state;
    const turned = new Map([...nodes].reverse());
    expect(nodesOfGroup({ nodes: turned }, GROUP).map(({ node }) => node)).toEqual([A, B, C]);
  });

  test('are those of that group only; none of a group that is not there', () => {
    const { nodes } = running().state;
    const [other, stranger] = [groupId('other'), nodeId('a2')];
    const first = nodes.get(A);
    if (first === undefined) throw new Error('there is no node a');
    const both = new Map([...nodes, [stranger, { ...first, node: stranger, group: other, peer: P1 }]]);
    expect(nodesOfGroup({ nodes: both }, other).map(({ node }) => node)).toEqual([stranger]);
    expect(nodesOfGroup({ nodes: both }, GROUP)).toHaveLength(3);
    expect(nodesOfGroup({ nodes: both }, groupId('nobody'))).toEqual([]);
  });

  test('follow the log: a node that registers later is among them, and the state before stays as it was', () => {
    const log = running();
    const before = log.state;
    expect(nodesOfGroup(before, GROUP)).toHaveLength(3);
    const late = nodeId('d');
    const registration = before.nodes.get(C);
    if (registration === undefined) throw new Error('there is no node c');
    const { subjectiveDown: _, ...rest } = registration;
    log.must({ kind: 'register-node', ...rest, node: late, host: 'host-d', member: undefined });
    expect(nodesOfGroup(log.state, GROUP).map(({ node }) => node)).toEqual([A, B, C, late]);
    expect(nodesOfGroup(before, GROUP)).toHaveLength(3);
  });
});
