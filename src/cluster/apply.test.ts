// Every command in every phase: taken or refused, and why; a refused command changes nothing but the record of it.
import { describe, expect, test } from 'vitest';
import { epoch, logIndex, peerId } from '../base/ids.ts';
import { apply, applyNothing, applyVoters, emptyState } from './apply.ts';
import type { Command } from './commands.ts';
import { type ClusterState, EVENT_COUNT_MAX, RECENT_PROPOSAL_COUNT_MAX } from './state.ts';
import {
  A,
  B,
  C,
  GROUP,
  type Log,
  MB,
  P1,
  P2,
  RULE_BC,
  at,
  creating,
  fencing,
  newLog,
  promoting,
  registration,
  running,
} from './testing/example.ts';

const PHASES = { creating, running, fencing, promoting: () => promoting() };
type PhaseName = keyof typeof PHASES;

/** `taken`, or what the refusal says. */
type Outcome = 'taken' | RegExp;

const TABLE: {
  readonly [name: string]: { readonly command: (log: Log) => Command } & Readonly<Record<PhaseName, Outcome>>;
} = {
  'create-group': {
    command: () => ({ kind: 'create-group', group: GROUP, primary: A }),
    creating: /exists/,
    running: /exists/,
    fencing: /exists/,
    promoting: /exists/,
  },
  'group-ready': {
    command: (log) => at(log).ready(),
    creating: 'taken',
    running: /is running, not creating/,
    fencing: /is fencing/,
    promoting: /is promoting/,
  },
  'subjective-down': {
    command: (log) => at(log).down(P1),
    creating: 'taken',
    running: 'taken',
    fencing: 'taken',
    promoting: 'taken',
  },
  'subjective-up': {
    command: (log) => at(log).up(P1),
    creating: 'taken',
    running: 'taken',
    fencing: 'taken',
    promoting: 'taken',
  },
  'begin-failover without a quorum': {
    command: (log) => at(log).begin(),
    creating: /being created/,
    running: /fewer than 2 of 3 voters/,
    fencing: /is fencing already/,
    promoting: /fewer than 2 of 3 voters/,
  },
  'begin-failover planned': {
    command: (log) => at(log).begin({ kind: 'planned', to: undefined }),
    creating: /being created/,
    running: 'taken',
    fencing: /is fencing, not running/,
    promoting: /is promoting, not running/,
  },
  'begin-failover promotion-failed': {
    command: (log) => at(log).begin({ kind: 'promotion-failed' }),
    creating: /being created/,
    running: /no promotion .* has failed/,
    fencing: /no promotion/,
    promoting: /no promotion/,
  },
  'cut-report': {
    command: (log) => at(log).cut(B, 100),
    creating: /is creating, not fencing/,
    running: /is running/,
    fencing: 'taken',
    promoting: /is promoting/,
  },
  promote: {
    command: (log) => at(log).promote(B, 9, RULE_BC),
    creating: /is creating, not fencing/,
    running: /is running/,
    fencing: /has not reported/,
    promoting: /is promoting/,
  },
  promoted: {
    command: (log) => at(log).promoted(B, 2, 100),
    creating: /is not being promoted/,
    running: /is not being promoted/,
    fencing: /is not being promoted/,
    promoting: 'taken',
  },
  'promotion-failed': {
    command: (log) => at(log).failed(B),
    creating: /is not being promoted/,
    running: /is not being promoted/,
    fencing: /is not being promoted/,
    promoting: 'taken',
  },
  resume: {
    command: (log) => at(log).resume(),
    creating: /is creating, not fencing/,
    running: /is running/,
    fencing: /2 voters still hold a for down/,
    promoting: /is promoting/,
  },
  'begin-rule-change': {
    command: (log) => at(log).change({ members: [MB], acks: 1 }),
    creating: /is creating, not running/,
    running: 'taken',
    fencing: /is fencing/,
    promoting: /is promoting/,
  },
  'commit-rule': {
    command: (log) => at(log).commitRule(),
    creating: /is creating/,
    running: /no change/,
    fencing: /is fencing/,
    promoting: /is promoting/,
  },
  'floor-passed': {
    command: (log) => at(log).floorPassed(),
    creating: /is creating/,
    running: 'taken',
    fencing: /is fencing/,
    promoting: /is promoting/,
  },
};

const phaseNames = Object.keys(PHASES) as PhaseName[];

describe.each(phaseNames)('in phase %s', (phase) => {
  test.each(Object.keys(TABLE))('%s', (name) => {
    const row = TABLE[name];
    if (row === undefined) throw new Error(name);
    const log = PHASES[phase]();
    const before = log.state;
    const refused = log.commit(row.command(log));
    const expected = row[phase];
    if (expected === 'taken') expect(refused).toBeUndefined();
    else {
      expect(refused).toMatch(expected);
      expectUnchanged(before, log.state);
    }
    expect(log.state.appliedIndex).toBe(before.appliedIndex + 1);
    expect(log.state.events.at(-1)).toMatchObject({ index: log.state.appliedIndex, refused });
  });

  test.each(Object.keys(TABLE).filter((name) => !['create-group', 'subjective-up'].includes(name)))(
    '%s of another epoch is refused',
    (name) => {
      for (const by of [-1, 1]) {
        const log = PHASES[phase]();
        const command = TABLE[name]?.command(log);
        if (command === undefined || !('epoch' in command)) throw new Error(name);
        const before = log.state;
        expect(log.commit({ ...command, epoch: epoch(command.epoch + by) })).toMatch(/is at epoch/);
        expectUnchanged(before, log.state);
      }
    },
  );
});

function expectUnchanged(before: ClusterState, after: ClusterState): void {
  const strip = ({ appliedIndex: _, events: __, recentProposals: ___, ...rest }: ClusterState) => rest;
  expect(strip(after)).toEqual(strip(before));
}

test('a command about a group or a node that is not there is refused', () => {
  const log = newLog();
  expect(log.commit({ kind: 'resume', group: GROUP, epoch: epoch(1) })).toMatch(/there is no group main/);
  expect(
    log.commit({ kind: 'subjective-down', peer: P1, node: A, epoch: epoch(1), evidence: 'refused' }),
  ).toMatch(/there is no node a/);
  expect(log.commit({ kind: 'subjective-up', peer: P1, node: A, epoch: epoch(1) })).toMatch(
    /there is no node a/,
  );
  log.must(registration(A));
  expect(
    log.commit({ kind: 'subjective-down', peer: P1, node: A, epoch: epoch(1), evidence: 'refused' }),
  ).toMatch(/there is no group main/);
});

describe('a proposal that comes twice', () => {
  test('counts once', () => {
    const log = running();
    log.commit(at(log).change({ members: [MB], acks: 1 }), 'same');
    const after = log.state;
    expect(log.commit({ ...at(log).change({ members: [], acks: 0 }) }, 'same')).toBeUndefined();
    expect(log.state).toEqual({ ...after, appliedIndex: after.appliedIndex + 1 });
    expect(log.group.next?.change).toBe(after.appliedIndex);
  });

  test('is not taken the second time where it was refused the first time', () => {
    const log = fencing();
    expect(log.commit(at(log).resume(), 'same')).toBeDefined();
    log.must(at(log).up(P1), at(log).up(P2));
    log.commit(at(log).resume(), 'same');
    expect(log.group.phase.kind).toBe('fencing');
  });
});

test('events and remembered proposals are bounded, the latest are kept', () => {
  const log = running();
  for (let count = 0; count < EVENT_COUNT_MAX + 5; count += 1) log.commit(at(log).up(P1));
  expect(log.state.events).toHaveLength(EVENT_COUNT_MAX);
  expect(log.state.recentProposals).toHaveLength(RECENT_PROPOSAL_COUNT_MAX);
  expect(log.state.events.at(-1)?.index).toBe(log.state.appliedIndex);
});

test('entries without a command move the index on; voters come into force where they are applied', () => {
  const state = applyNothing(emptyState([P1]), logIndex(4));
  expect(state.appliedIndex).toBe(4);
  expect(applyVoters(state, logIndex(5), [P1, P2])).toMatchObject({ appliedIndex: 5, voters: [P1, P2] });
});

test('a quorum is counted on the voters in force where the command is applied', () => {
  const log = running();
  log.must(at(log).down(P1), at(log).down(P2));
  const five = [P1, P2, ...['p3', 'p4', 'p5'].map(peerId)];
  log.state = applyVoters(log.state, logIndex(log.state.appliedIndex + 1), five);
  expect(log.commit(at(log).begin())).toMatch(/fewer than 3 of 5 voters/);
});

test('applying the same log again gives the same state, entry by entry', () => {
  const first = promoting();
  const again = newLog();
  for (const event of first.state.events) {
    again.commit(event.command, first.state.recentProposals[event.index - 1]);
  }
  expect(again.state).toEqual(first.state);
  expect(again.state.events.every((event) => event.refused === undefined)).toBe(true);
});

test('apply leaves the state that it was given as it was', () => {
  const log = fencing();
  const before = structuredClone(log.state);
  const given = log.state;
  apply(given, logIndex(given.appliedIndex + 1), {
    proposalId: 'x',
    proposedAtMs: 0,
    command: at(log).cut(C, 90),
  });
  expect(given).toEqual(before);
});
