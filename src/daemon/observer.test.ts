// This peer's judgements as log entries: edges only, at the epoch they belong to, never two proposals at once for one node.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Command } from '../cluster/commands.ts';
import { peerId } from '../base/ids.ts';
import {
  A,
  B,
  C,
  type Log,
  P1,
  P2,
  at,
  creating,
  fencing,
  newLog,
  promoting,
  registration,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { following } from '../cluster/testing/following.ts';
import { PAUSE_FEATURE_LEVEL } from '../cluster/features.ts';
import { createObserver, healthTargets, missingCommand, type Verdict } from './observer.ts';
import type { ProposalOutcome } from './replica.ts';

const UP: Verdict = { kind: 'up' };
const DOWN: Verdict = { kind: 'down', evidence: 'no-answer' };
const OPEN: Verdict = { kind: 'open' };

describe('what is missing in the log', () => {
  const missing = (log: Log, verdict: Verdict, node = A): Command['kind'] | undefined =>
    missingCommand(log.state, P1, node, verdict)?.kind;
  const heldDown = () => {
    const log = running();
    log.must(at(log).down(P1));
    return log;
  };

  test('only edges: a node that is down and held for down, or up and not, needs nothing', () => {
    expect(missing(running(), DOWN)).toBe('subjective-down');
    expect(missing(heldDown(), DOWN)).toBeUndefined();
    expect(missing(heldDown(), UP)).toBe('subjective-up');
    expect(missing(running(), UP)).toBeUndefined();
  });

  test('an observer that is undecided or abstains neither says anything nor takes anything back', () => {
    expect(missing(running(), OPEN)).toBeUndefined();
    expect(missing(heldDown(), OPEN)).toBeUndefined();
  });

  test("another peer's word is not this one's", () => {
    const log = running();
    log.must(at(log).down(P2));
    expect(missing(log, DOWN)).toBe('subjective-down');
    expect(missing(log, UP)).toBeUndefined();
  });

  test('carries evidence, node and the present epoch', () => {
    const log = running();
    expect(missingCommand(log.state, P1, B, DOWN)).toEqual({
      kind: 'subjective-down',
      peer: P1,
      node: B,
      epoch: log.epoch,
      evidence: 'no-answer',
    });
  });

  test('a primary that is still down is judged again at the next epoch, where that can matter', () => {
    const resumed = fencing();
    expect(missing(resumed, DOWN)).toBeUndefined();
    resumed.must(at(resumed).up(P2), at(resumed).resume());
    expect(missing(resumed, DOWN)).toBe('subjective-down');
    const log = promoting();
    expect(missing(log, DOWN)).toBeUndefined();
    expect(missing(log, DOWN, B)).toBe('subjective-down');
  });

  test('nothing of a standby that its administrator may stop, but of a paused primary', () => {
    const log = newLog({ ...running().state, featureLevel: PAUSE_FEATURE_LEVEL });
    for (const node of [A, B])
      log.must({ kind: 'pause', group: log.group.id, node, isMaintenance: false, untilMs: undefined });
    expect(missing(log, DOWN, B)).toBeUndefined();
    expect(missing(log, DOWN, A)).toBe('subjective-down');
    log.must({ kind: 'end-pause', group: log.group.id, node: B });
    expect(missing(log, DOWN, B)).toBe('subjective-down');
  });

  test('nothing from a peer that is no voter, nor about what the log does not know', () => {
    expect(missingCommand(running().state, peerId('learner'), A, DOWN)).toBeUndefined();
    expect(missingCommand(newLog().state, P1, A, DOWN)).toBeUndefined();
    const log = newLog();
    log.must(registration(A));
    expect(missing(log, DOWN)).toBeUndefined();
  });

  test('whatever is proposed is taken by apply', () => {
    for (const log of [running(), heldDown(), fencing(), promoting()]) {
      for (const verdict of [UP, DOWN]) {
        for (const node of [A, B, C]) {
          const command = missingCommand(log.state, P1, node, verdict);
          if (command !== undefined) log.must(command);
          expect(missingCommand(log.state, P1, node, verdict)).toBeUndefined();
        }
      }
    }
  });
});

describe('the observer', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function observe(log: Log) {
    const proposed: { readonly command: Command; readonly settle: (outcome: ProposalOutcome) => void }[] = [];
    const observer = createObserver({
      self: P1,
      state: () => log.state,
      propose: (command) => new Promise((settle) => void proposed.push({ command, settle })),
    });
    return { observer, proposed };
  }

  test('proposes once, however often it is asked, until that has an outcome', async () => {
    const log = running();
    const { observer, proposed } = observe(log);
    observer.judged(A, DOWN);
    observer.judged(A, DOWN);
    observer.reconcile();
    expect(proposed).toHaveLength(1);
    log.must(at(log).down(P1));
    proposed[0]?.settle({ kind: 'applied', index: log.state.appliedIndex });
    await vi.advanceTimersByTimeAsync(1000);
    expect(proposed).toHaveLength(1);
  });

  test('says the opposite as soon as the first word is in', async () => {
    const log = running();
    const { observer, proposed } = observe(log);
    observer.judged(A, DOWN);
    observer.judged(A, UP);
    expect(proposed).toHaveLength(1);
    log.must(at(log).down(P1));
    proposed[0]?.settle({ kind: 'applied', index: log.state.appliedIndex });
    await vi.advanceTimersByTimeAsync(0);
    expect(proposed.map(({ command }) => command.kind)).toEqual(['subjective-down', 'subjective-up']);
  });

  test.each<ProposalOutcome>([{ kind: 'unknown' }, { kind: 'refused', reason: 'another epoch' }])(
    'tries again after a while when it came to nothing: %j',
    async (outcome) => {
      const { observer, proposed } = observe(running());
      observer.judged(A, DOWN);
      proposed[0]?.settle(outcome);
      await vi.advanceTimersByTimeAsync(199);
      expect(proposed).toHaveLength(1);
      await vi.advanceTimersByTimeAsync(1);
      expect(proposed).toHaveLength(2);
    },
  );

  test('one node does not wait for another', () => {
    const { observer, proposed } = observe(running());
    observer.judged(A, DOWN);
    observer.judged(B, DOWN);
    expect(proposed.map(({ command }) => 'node' in command && command.node)).toEqual([A, B]);
  });
});

describe('what the health checks are to watch', () => {
  const expected = (log: Log) =>
    Object.fromEntries(healthTargets(log.state).map((target) => [target.node, target.expect]));

  test('nothing before the group is created, and no node without a data directory', () => {
    expect(healthTargets(newLog().state)).toEqual([]);
    expect(expected(creating())).toEqual({});
  });

  test('the primary of the epoch as such, also while it is fenced or being promoted; the others as standbys', () => {
    expect(expected(runningAlone())).toEqual({ a: 'primary', b: 'standby', c: 'standby' });
    expect(expected(fencing())).toEqual({ a: 'primary', b: 'standby', c: 'standby' });
    expect(expected(promoting())).toEqual({ a: 'standby', b: 'primary', c: 'standby' });
  });

  test('of a group that follows another site, or did until now, standbys alone', () => {
    const log = following();
    expect(expected(log)).toEqual({ a: 'standby', b: 'standby', c: 'standby' });
    log.must({ kind: 'promote-site', group: log.group.id, epoch: log.epoch });
    expect(expected(log)).toEqual({ a: 'standby', b: 'standby', c: 'standby' });
  });

  test('with address, epoch and the peer on their host', () => {
    const log = running();
    expect(healthTargets(log.state)[1]).toEqual({
      node: B,
      host: 'b',
      port: 5432,
      epoch: log.epoch,
      expect: 'standby',
      hostPeer: P2,
    });
  });
});

test('a judgement is a look at its own node, not at all of them', () => {
  const log = running();
  let lookCount = 0;
  const observer = createObserver({
    self: P1,
    state: () => {
      lookCount += 1;
      return log.state;
    },
    propose: () => Promise.resolve({ kind: 'unknown' }),
  });
  for (const node of [A, B, C]) observer.judged(node, UP);
  expect(lookCount).toBe(3);
  observer.reconcile();
  expect(lookCount).toBe(6);
});
