// Every command in every phase: taken or refused, and why; a refused command changes nothing but the record of it.
import { describe, expect, test } from 'vitest';
import { epoch, logIndex } from '../base/ids.ts';
import { apply, applyNothing, emptyState } from './apply.ts';
import type { Command } from './commands.ts';
import { EVENT_COUNT_MAX, lastEvent, listEvents } from './event-list.ts';
import type { ClusterState } from './state.ts';
import {
  A,
  B,
  C,
  GROUP,
  type Log,
  MB,
  MEMBERSHIP,
  P1,
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
    expect(lastEvent(log.state.events)).toMatchObject({ index: log.state.appliedIndex, refused });
  });

  test.each(Object.keys(TABLE).filter((name) => !['create-group', 'subjective-up'].includes(name)))(
    '%s of another epoch is refused',
    (name) => {
      for (const by of [-1, 1]) {
        const log = PHASES[phase]();
        const command = TABLE[name]?.command(log);
        if (command === undefined || !('epoch' in command) || command.epoch === undefined)
          throw new Error(name);
        const before = log.state;
        expect(log.commit({ ...command, epoch: epoch(command.epoch + by) })).toMatch(/is at epoch/);
        expectUnchanged(before, log.state);
      }
    },
  );
});

function expectUnchanged(before: ClusterState, after: ClusterState): void {
  const strip = ({ appliedIndex: _, events: __, ...rest }: ClusterState) => rest;
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

test('events are bounded, the latest are kept, and a state of long ago still has its own', () => {
  const log = running();
  const before = log.state;
  const listed = listEvents(before.events);
  for (let count = 0; count < 2 * EVENT_COUNT_MAX; count += 1) {
    log.commit(at(log).up(P1));
    const indexes = listEvents(log.state.events).map((event) => event.index);
    const last = log.state.appliedIndex;
    expect(indexes.length).toBeLessThanOrEqual(EVENT_COUNT_MAX);
    expect(indexes.length).toBeGreaterThan(Math.min(last, EVENT_COUNT_MAX - 25) - 1);
    expect([indexes[0], indexes.at(-1)]).toEqual([last - indexes.length + 1, last]);
  }
  expect(listEvents(before.events)).toEqual(listed);
});

test('entries without a command move the index on', () => {
  expect(applyNothing(emptyState(MEMBERSHIP), logIndex(4)).appliedIndex).toBe(4);
});

test('a command is not applied by a peer that does not know yet who takes part', () => {
  const joining = { voters: [], learners: [], addresses: new Map(), incarnation: 0 };
  expect(() => newLog(emptyState(joining)).commit(registration(A))).toThrow(/no entry before it says who/);
});

test('applying the same log again gives the same state, entry by entry', () => {
  const first = promoting();
  const again = newLog();
  for (const event of listEvents(first.state.events)) again.commit(event.command);
  expect(again.state).toEqual(first.state);
  expect(listEvents(again.state.events).every((event) => event.refused === undefined)).toBe(true);
});

test('apply leaves the state that it was given as it was', () => {
  const log = fencing();
  const before = structuredClone(log.state);
  const given = log.state;
  apply(given, logIndex(given.appliedIndex + 1), {
    session: '',
    sequence: 0,
    answeredBelow: 0,
    proposedAtMs: 0,
    command: at(log).cut(C, 90),
  });
  expect(given).toEqual(before);
});
