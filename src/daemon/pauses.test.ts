// `sentinelctl pause`, `resume` and `maintenance`: refused with a reason, or proposed and answered for once it holds.
import { describe, expect, test } from 'vitest';
import { groupId, type NodeId } from '../base/ids.ts';
import { DEFAULT_GROUP_SETTINGS } from '../cluster/apply-settings.ts';
import type { Command } from '../cluster/commands.ts';
import { PAUSE_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  A,
  ALONE,
  B,
  GROUP,
  type Log,
  MA,
  MB,
  MC,
  RULE_BC,
  at,
  newLog,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { ALL_WELL, type SeenNodes, WALL_MS, viewOf } from '../failover/testing/view.ts';
import type { ProposalOutcome } from './replica.ts';
import { type PauseRequest, steerPause } from './pauses.ts';
import type { SteerOptions } from './steering.ts';

const REFUSED = (reason: RegExp) => ({ kind: 'refused', reason: expect.stringMatching(reason) as unknown });
const DONE = (detail: RegExp) => ({ kind: 'done', detail: expect.stringMatching(detail) as unknown });
const upgraded = (log: Log = running()): Log => newLog({ ...log.state, featureLevel: PAUSE_FEATURE_LEVEL });
const pause = (more: Partial<Extract<PauseRequest, { kind: 'pause' }>> = {}): PauseRequest => ({
  kind: 'pause',
  group: undefined,
  node: undefined,
  forMs: undefined,
  dryRun: false,
  ...more,
});
const resume = (node?: NodeId, dryRun = false): PauseRequest => ({
  kind: 'resume',
  group: undefined,
  node,
  dryRun,
});
const maintain = (
  node: NodeId,
  more: Partial<Extract<PauseRequest, { kind: 'maintenance' }>> = {},
): PauseRequest => ({ kind: 'maintenance', node, to: undefined, forMs: undefined, dryRun: false, ...more });

/** `next` plays what the cluster does once a command of that kind is in the log. */
function world(
  log: Log,
  seen: SeenNodes = ALL_WELL,
  next: Partial<Record<Command['kind'], () => void>> = {},
) {
  const proposed: string[] = [];
  const options: SteerOptions = {
    state: () => log.state,
    view: () => viewOf(log, 0, seen),
    propose(command): Promise<ProposalOutcome> {
      proposed.push(command.kind);
      const reason = log.commit(command);
      if (reason !== undefined) return Promise.resolve({ kind: 'refused', reason });
      const index = log.state.appliedIndex;
      next[command.kind]?.();
      return Promise.resolve({ kind: 'applied', index });
    },
    signal: new AbortController().signal,
  };
  return { proposed, ask: (request: PauseRequest) => steerPause(options, request) };
}

/** The primary carries out what the leader proposes: `rule` is in force as soon as the node is set aside. */
const leaving = (log: Log, rule: typeof ALONE) => ({
  pause() {
    log.must(at(log).change(rule));
    log.must(at(log).commitRule());
  },
});

test('nothing is proposed that an older peer could not read', async () => {
  const { ask, proposed } = world(newLog({ ...running().state, featureLevel: PAUSE_FEATURE_LEVEL - 1 }));
  expect(await ask(pause())).toEqual(REFUSED(/upgrade all of them/));
  expect(await ask(maintain(B))).toEqual(REFUSED(/upgrade all of them/));
  expect(proposed).toEqual([]);
});

describe('pause and resume', () => {
  test('of a group, with an end by the clock of the peer that is asked', async () => {
    const log = upgraded();
    const { ask, proposed } = world(log);
    expect(await ask(pause({ forMs: 60_000 }))).toEqual(DONE(/group main is paused until 2027-/));
    expect(log.group.paused).toEqual({ untilMs: WALL_MS + 60_000 });
    expect(await ask(pause())).toEqual(DONE(/group main is paused:/));
    expect(log.group.paused).toEqual({ untilMs: undefined });
    expect(await ask(resume())).toEqual(DONE(/fails over by itself again/));
    expect(log.group.paused).toBeUndefined();
    expect(proposed).toEqual(['pause', 'pause', 'end-pause']);
  });

  test('may be asked twice, and change nothing the second time', async () => {
    const { ask, proposed } = world(upgraded());
    await ask(pause());
    expect(await ask(pause())).toEqual(DONE(/paused already/));
    await ask(resume());
    expect(await ask(resume())).toEqual(DONE(/group main is not paused/));
    expect(await ask(resume(B))).toEqual(DONE(/b is not paused or in maintenance/));
    expect(proposed).toEqual(['pause', 'end-pause']);
  });

  test('of a primary: it stays in its place', async () => {
    const log = upgraded();
    const { ask } = world(log);
    expect(await ask(pause({ node: A }))).toEqual(DONE(/a, the primary of group main, is paused/));
    expect(log.group).toMatchObject({ rule: RULE_BC, pausedNodes: [{ node: A, isMaintenance: false }] });
    expect(await ask(resume())).toEqual(DONE(/group main is not paused; single nodes are .*\(a\)/));
    expect(await ask(resume(A))).toEqual(DONE(/a is no longer paused/));
  });

  test('of a standby: answers once it has left the sync rule', async () => {
    const log = upgraded();
    const { ask } = world(log, ALL_WELL, leaving(log, { members: [MC], acks: 1 }));
    expect(await ask(pause({ node: B }))).toEqual(DONE(/b is paused: its PostgreSQL may be stopped/));
    expect(log.group.rule.members).toEqual([MC]);
  });

  test('--dry-run proposes nothing', async () => {
    const log = upgraded();
    const { ask, proposed } = world(log);
    for (const request of [pause({ dryRun: true }), pause({ node: B, dryRun: true })])
      expect(await ask(request)).toEqual(DONE(/nothing was changed; then: .*paused/));
    log.must({ kind: 'pause', group: GROUP, node: undefined, isMaintenance: false, untilMs: undefined });
    expect(await ask(resume(undefined, true))).toEqual(DONE(/nothing was changed; then: .*no longer/));
    expect(proposed).toEqual([]);
  });

  test('name what is not there', async () => {
    const { ask } = world(upgraded());
    expect(await ask(pause({ group: 'other' }))).toEqual(REFUSED(/no group other/));
    expect(await ask(pause({ node: 'd' as NodeId }))).toEqual(REFUSED(/no node d/));
    expect(await ask(pause({ group: groupId('other'), node: B }))).toEqual(
      REFUSED(/b is a node of group main/),
    );
  });
});

describe('maintenance', () => {
  test('of a standby: answers once it has left the sync rule, and again without doing anything', async () => {
    const log = upgraded();
    const { ask, proposed } = world(log, ALL_WELL, leaving(log, { members: [MC], acks: 1 }));
    expect(await ask(maintain(B))).toEqual(DONE(/b is in maintenance: its PostgreSQL may be stopped/));
    expect(await ask(maintain(B))).toEqual(DONE(/in maintenance already/));
    expect(proposed).toEqual(['pause']);
    expect(await ask(resume(B))).toEqual(DONE(/no longer in maintenance; its agent looks after it again/));
  });

  test('of the last standby says what that means', async () => {
    const log = upgraded(running({ members: [MB], acks: 1 }));
    const { ask } = world(log, ALL_WELL, leaving(log, ALONE));
    expect(await ask(maintain(B))).toEqual(DONE(/commits are on a alone and nobody can take over/));
  });

  test('is refused where a strict group needs the standby', async () => {
    const log = upgraded(running({ members: [MB, MC], acks: 2 }));
    const settings = { ...DEFAULT_GROUP_SETTINGS, durability: 'strict', acks: 2 } as const;
    log.must({ kind: 'change-settings', group: GROUP, settings });
    const { ask, proposed } = world(log);
    expect(await ask(maintain(B))).toEqual(REFUSED(/b is not in maintenance: .*strict.*writes would wait/));
    expect(await ask(maintain(A))).toEqual(REFUSED(/a is the primary.*strict.*writes would wait/));
    expect(proposed).toEqual([]);
  });

  const switched = (log: Log) => ({
    'begin-failover'() {
      log.must(at(log).cut(A, 120, { stopped: true }), at(log).cut(B, 120));
      log.must(at(log).promote(B, 2, ALONE));
      log.must(at(log).promoted(B, 2, 120));
      log.must(at(log).change({ members: [MA, MC], acks: 1 }));
      log.must(at(log).commitRule());
    },
  });

  test('of a primary: a switchover, and once it follows as of a standby', async () => {
    const log = upgraded();
    const seen = { ...ALL_WELL, a: { condition: 'standby', streamingFrom: B, position: 100n } } as const;
    const { ask, proposed } = world(log, seen, {
      ...switched(log),
      ...leaving(log, { members: [MC], acks: 1 }),
    });
    expect(await ask(maintain(A, { to: B, dryRun: true }))).toEqual(DONE(/switches over from a to b/));
    expect(proposed).toEqual([]);
    expect(await ask(maintain(A, { to: B, forMs: 1000 }))).toEqual(DONE(/a is in maintenance until/));
    expect(proposed).toEqual(['begin-failover', 'pause']);
    expect(log.group).toMatchObject({ phase: { primary: B }, pausedNodes: [{ node: A }] });
  });

  test('of a primary that cannot be switched over is refused with the reason', async () => {
    const { ask, proposed } = world(upgraded(runningAlone()));
    for (const dryRun of [true, false])
      expect(await ask(maintain(A, { dryRun }))).toEqual(
        REFUSED(/a is the primary.*not in maintenance: .*alone/),
      );
    expect(proposed).toEqual([]);
    const log = upgraded();
    log.must({ kind: 'pause', group: GROUP, node: A, isMaintenance: false, untilMs: undefined });
    expect(await world(log).ask(maintain(A))).toEqual(
      REFUSED(/it is paused; sentinelctl resume --node a ends that/),
    );
    expect(await world(upgraded()).ask(maintain(A, { to: A }))).toEqual(REFUSED(/is the primary already/));
  });
});
