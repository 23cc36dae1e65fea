// The simulated agents on the product's own log: a group comes, loses its primary, and is whole again.
import { beforeEach, describe, expect, test } from 'vitest';
import { groupId, logIndex, nodeId, peerId, timeline } from '../../src/base/ids.ts';
import { apply, emptyState } from '../../src/cluster/apply.ts';
import type { Command } from '../../src/cluster/commands.ts';
import type { ClusterState, GroupState } from '../../src/cluster/state.ts';
import { decide, type Memory } from '../../src/failover/decide.ts';
import { DEFAULT_FAILOVER_SETTINGS } from '../../src/failover/view.ts';
import { newNode, type NodeModel, reportOf, stepAgent } from './agent-model.ts';

const GROUP = groupId('g0001');
const VOTERS = ['a', 'b', 'c'].map(peerId);
const AGENTS = peerId('agents');

let state: ClusterState;
let nodes: NodeModel[];
let memory: Memory;
let nowMs: number;
let done: Command['kind'][];

beforeEach(() => {
  const membership = { voters: VOTERS, learners: [AGENTS], addresses: new Map(), incarnation: 1 };
  state = emptyState(membership);
  nodes = [1, 2, 3].map((at) =>
    newNode({ node: nodeId(`g0001-n${at}`), group: GROUP, peer: AGENTS, host: `127.90.0.${at}`, port: 5432 }),
  );
  memory = new Map();
  nowMs = 0;
  done = [];
});

function propose(command: Command): void {
  const envelope = { session: '', sequence: 1, answeredBelow: 1, proposedAtMs: nowMs, command };
  const { state: next, refused } = apply(state, logIndex(state.appliedIndex + 1), envelope);
  expect(refused).toBeUndefined();
  state = next;
  done.push(command.kind);
}

/** Agents and leader take turns until nothing is left to do. */
function settle(): void {
  for (let isBusy = true; isBusy;) {
    isBusy = false;
    for (const [at, before] of nodes.entries()) {
      const others = nodes.filter((node) => node !== before);
      const { model, wanted } = stepAgent(before, others, state);
      isBusy ||= model !== before || wanted.length > 0;
      nodes[at] = model;
      for (const command of wanted) propose(command);
    }
    nowMs += 20;
    const reports = new Map(
      nodes.map((node) => {
        const others = nodes.filter((other) => other !== node);
        return [
          node.node,
          { report: reportOf(node, others, { sequence: 1, startedAtMs: 0 }), receivedAtMs: nowMs },
        ] as const;
      }),
    );
    const view = { nowMs, wallMs: nowMs, reports, settings: DEFAULT_FAILOVER_SETTINGS };
    const decision = decide(state, view, memory);
    memory = decision.memory;
    isBusy ||= decision.commands.length > 0;
    for (const command of decision.commands) propose(command);
  }
}

const group = (): GroupState => {
  const found = state.groups.get(GROUP);
  if (found === undefined) throw new Error('the group is not there');
  return found;
};

function begin(): void {
  settle();
  propose({ kind: 'create-group', group: GROUP, primary: nodeId('g0001-n1') });
  settle();
}

describe('the simulated agents', () => {
  test('register, and make a whole group of what the log creates', () => {
    begin();
    expect(group().phase).toEqual({ kind: 'running', primary: 'g0001-n1', timeline: 1 });
    expect(group().rule).toMatchObject({ members: ['g0001_n2_00000001', 'g0001_n3_00000001'], acks: 1 });
    expect(nodes.map(({ server, upstream }) => [server, upstream])).toEqual([
      ['primary', undefined],
      ['standby', 'g0001-n1'],
      ['standby', 'g0001-n1'],
    ]);
  });

  test('do nothing once a group is whole: an idle cluster writes nothing', () => {
    begin();
    const before = state;
    settle();
    expect(state).toBe(before);
  });

  test('cut, promote and follow when the primary has crashed, and take it back when it may start', () => {
    begin();
    const [first, ...standbys] = nodes;
    if (first === undefined) throw new Error('there are three nodes');
    nodes = [{ ...first, server: 'down', isCrashed: true }, ...standbys];
    done = [];
    const { epoch } = group();
    for (const peer of VOTERS.slice(0, 2))
      propose({ kind: 'subjective-down', peer, node: first.node, epoch, evidence: 'refused' });
    settle();
    expect(group().phase).toEqual({ kind: 'running', primary: 'g0001-n2', timeline: 2 });
    expect(nodes.map(({ server }) => server)).toEqual(['down', 'primary', 'standby']);
    expect(done).toEqual(expect.arrayContaining(['begin-failover', 'cut-report', 'promote', 'promoted']));
    nodes = nodes.map((node) => ({ ...node, isCrashed: false }));
    for (const peer of VOTERS.slice(0, 2))
      propose({ kind: 'subjective-up', peer, node: first.node, epoch: group().epoch });
    settle();
    expect(nodes[0]).toMatchObject({ server: 'standby', upstream: 'g0001-n2', timeline: timeline(2) });
    expect(group()).toMatchObject({ floor: undefined, next: undefined });
    expect(group().rule.members).toHaveLength(2);
  });

  test('tell of a healthy node what a real agent tells', () => {
    begin();
    const [first, ...standbys] = nodes;
    if (first === undefined) throw new Error('there are three nodes');
    const report = reportOf(first, standbys, { sequence: 7, startedAtMs: 1 });
    expect(report).toMatchObject({ condition: 'primary', sequence: 7, isGuarded: true });
    expect(report.walSenders.map(({ state: sender }) => sender)).toEqual(['streaming', 'streaming']);
  });
});
