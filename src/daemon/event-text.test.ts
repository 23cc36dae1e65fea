// One sentence for each kind of log entry, naming nodes rather than member ids where they are known.
import { describe, expect, test } from 'vitest';
import type { Command } from '../cluster/commands.ts';
import { listEvents } from '../cluster/event-list.ts';
import {
  A,
  ALONE,
  B,
  C,
  MA,
  MB,
  P1,
  RULE_BC,
  at,
  fencing,
  opening,
  promoting,
  registration,
  running,
} from '../cluster/testing/example.ts';
import { eventView, groupOf, nodeOfMember, ruleText } from './event-text.ts';
import { logIndex, memberId, nodeId } from '../base/ids.ts';

const log = promoting();
const text = (command: Command): string =>
  eventView(log.state, { index: logIndex(9), proposedAtMs: 5, command, refused: undefined }).text;

describe('says', () => {
  test.each<[Command, string]>([
    [registration(A), 'a registered at a:5432 by peer p1, no data yet'],
    [registration(A, MA), 'a registered at a:5432 by peer p1 as a_00000001'],
    [{ kind: 'create-group', group: log.group.id, primary: A }, 'group main created, first primary a'],
    [at(log).ready(), 'group main takes writes on timeline 1'],
    [at(log).down(P1, A), 'peer p1 holds a for down: connection closed, new ones refused'],
    [at(log).up(P1, A), 'peer p1 finds a up again'],
    [at(log).begin(), 'failover of group main begins: a quorum of peers holds the primary for down'],
    [at(log).begin({ kind: 'planned', to: undefined }), 'switchover of group main begins'],
    [at(log).begin({ kind: 'planned', to: B }), 'switchover of group main begins, to b'],
    [
      at(log).begin({ kind: 'promotion-failed' }),
      'failover of group main begins again: the promotion failed',
    ],
    [at(log).cut(B, 0x1000), 'b cut its WAL streams at timeline 1, 0/1000'],
    [at(log).cut(A, 0x1000, { stopped: true }), 'a stopped at timeline 1, 0/1000'],
    [at(log).promote(B, 2, RULE_BC), 'b chosen for promotion to timeline 2; commits: 1 of b, c'],
    [at(log).promoted(B, 2, 0x1000), 'b is primary on timeline 2 from 0/1000'],
    [at(log).failed(B), 'promotion of b failed: no room'],
    [at(log).resume(), 'false alarm: group main goes on with its primary'],
    [at(log).change(RULE_BC), 'synchronous commit is changing to 1 of b, c'],
    [
      at(log).change(ALONE),
      'durability is degraded: synchronous commit is changing to alone, commits are then on the primary only',
    ],
    [at(log).commitRule(), 'synchronous commit has changed'],
    [at(log).floorPassed(), 'standbys hold the switch point of the last promotion'],
    [
      { kind: 'pause', group: log.group.id, node: undefined, isMaintenance: false, untilMs: 0 },
      'group main is paused until 1970-01-01T00:00:00.000Z: it does not fail over by itself',
    ],
    [
      { kind: 'pause', group: log.group.id, node: B, isMaintenance: true, untilMs: undefined },
      'b is in maintenance: its agent leaves its PostgreSQL as it is',
    ],
    [
      { kind: 'pause', group: log.group.id, node: B, isMaintenance: false, untilMs: undefined },
      'b is paused',
    ],
    [
      { kind: 'end-pause', group: log.group.id, node: undefined },
      'group main is no longer paused: it may fail over by itself',
    ],
    [
      { kind: 'end-pause', group: log.group.id, node: B, onlyUntilMs: 5 },
      'b is no longer paused or in maintenance, its time being over: it takes part again',
    ],
    [
      { kind: 'mark-absent', group: log.group.id, member: MB },
      'b is absent: its replication slots are kept for slot_retention',
    ],
    [
      { kind: 'give-up-slot', group: log.group.id, member: MB },
      'b was absent for slot_retention: its replication slots are given up; when it is back it is cloned, unless all that it lacks is still there',
    ],
    [
      { kind: 'mark-present', group: log.group.id, member: MB },
      'b is no longer absent: every node keeps a replication slot for it',
    ],
    [
      { kind: 'remove-node', group: log.group.id, node: B, leaving: 'leave' },
      'b is removed from group main; its PostgreSQL is left running',
    ],
    [
      { kind: 'remove-node', group: log.group.id, node: B, leaving: 'destroy' },
      'b is removed from group main, its PostgreSQL stopped and its data directory destroyed',
    ],
    [
      { kind: 'remove-node', group: log.group.id, node: B, leaving: 'leave', acceptsLoss: true },
      'b is removed from group main; its PostgreSQL is left running; what it alone held, before the log was recovered, is given up',
    ],
    [{ kind: 'readmit-node', group: log.group.id, node: B }, 'b may join group main again'],
    [opening(log), 'peer p1 has started'],
    [{ kind: 'set-feature-level', level: 2 }, 'all peers are upgraded: feature level 2 is in use'],
  ])('%#', (command, expected) => {
    expect(text(command)).toBe(expected);
  });

  test('what was refused, with the reason, and whose event it is', () => {
    const view = eventView(log.state, {
      index: logIndex(9),
      proposedAtMs: 5,
      command: at(log).resume(),
      refused: 'no',
    });
    expect(view).toMatchObject({ index: 9, atMs: 5, group: 'main', kind: 'resume', refused: 'no' });
  });
});

test('every event of a failover has a sentence', () => {
  for (const event of listEvents(fencing(running()).state.events))
    expect(eventView(log.state, event).text).toMatch(/\w{3,}/);
});

test('the group of an event about a node is that of the node, where it is known', () => {
  expect(groupOf(log.state, at(log).down(P1, C))).toBe('main');
  expect(groupOf(log.state, at(log).down(P1, nodeId('z')))).toBeUndefined();
  expect(groupOf(log.state, opening(log))).toBeUndefined();
});

test('members are named by their node, former ones by their id', () => {
  expect(nodeOfMember(log.state, MB)).toBe('b');
  expect(nodeOfMember(log.state, memberId('b_0000000f'))).toBe('b_0000000f');
  expect(ruleText({ members: [memberId('x'), memberId('w')], acks: 2 }, (member) => member)).toBe(
    '2 of w, x',
  );
});
