// A restart that the log has begun is carried out by the node's own peer: once, and never of a server that runs anew already.
import { afterEach, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import type { Command } from '../cluster/commands.ts';
import { SCHEDULED_RESTART_FEATURE_LEVEL } from '../cluster/features.ts';
import { A, B, GROUP, type Log, newLog, running } from '../cluster/testing/example.ts';
import { RESTART_VALID_MS } from '../failover/decide-restarts.ts';
import type { SteerOutcome } from '../transport/types.ts';
import { type RestartRunner, startRestartRunner } from './restart-runner.ts';

const AT_MS = 5000;
const base = { kind: 'schedule-restart', group: GROUP, node: B } as const;

let runner: RestartRunner | undefined;
afterEach(() => runner?.close());

const DONE: SteerOutcome = { kind: 'done', detail: 'it runs anew' };
const REFUSED: SteerOutcome = { kind: 'refused', reason: 'the disk is full' };

function world(node = B) {
  const log: Log = newLog({ ...running().state, featureLevel: SCHEDULED_RESTART_FEATURE_LEVEL });
  log.must({ ...base, at: { atMs: AT_MS, inPlace: false } });
  const all = {
    log,
    isConfirmed: true,
    startedAtS: 8 as number | undefined,
    /** Where a restart gets so far. */
    startedAnewAtS: undefined as number | undefined,
    wallMs: AT_MS,
    outcome: DONE,
    restarts: 0,
    confirmed: 0,
    unanswered: 0,
    proposed: [] as Command[],
    begin: () =>
      log.must({ ...base, onlyAtMs: AT_MS, at: { atMs: AT_MS, inPlace: false, serverStartedAtS: 8 } }),
    consider: () => runner?.consider(),
    outcomeSaid: () =>
      until({ what: 'what became of it', timeoutMs: 10_000, everyMs: 5 }, () =>
        log.group.restarts.length === 0 ? all.proposed.at(-1) : undefined,
      ),
  };
  runner = startRestartRunner({
    node,
    clock: { wallMs: () => all.wallMs },
    state: () => log.state,
    confirm: () => {
      all.confirmed += 1;
      return Promise.resolve(all.isConfirmed);
    },
    serverStartedAtS: () => all.startedAtS,
    restart: () => {
      all.restarts += 1;
      all.startedAtS = all.startedAnewAtS ?? all.startedAtS;
      return Promise.resolve(all.outcome);
    },
    propose: (command) => {
      all.proposed.push(command);
      if (all.unanswered > 0) {
        all.unanswered -= 1;
        return Promise.resolve({ kind: 'unknown' });
      }
      log.must(command);
      return Promise.resolve({ kind: 'applied', index: log.state.appliedIndex });
    },
    log: () => undefined,
    retryMs: 5,
  });
  return all;
}

test('only once it has begun, and only by the peer of its node', async () => {
  const other = world(A);
  other.begin();
  other.consider();
  await runner?.close();
  expect(other.confirmed).toBe(0);
  const own = world();
  own.consider();
  expect(own.confirmed).toBe(0);
  own.begin();
  own.consider();
  own.consider();
  expect(await own.outcomeSaid()).toMatchObject({
    onlyAtMs: AT_MS,
    at: undefined,
    outcome: 'done: it runs anew',
  });
  expect(own.restarts).toBe(1);
});

test('a server that was started since is left alone', async () => {
  const all = world();
  all.begin();
  all.startedAtS = 9;
  all.consider();
  expect(await all.outcomeSaid()).toMatchObject({ outcome: 'done, it runs anew' });
  expect(all.restarts).toBe(0);
});

test('a server that was started anew and is not well then is told as failed, and not restarted once more', async () => {
  const all = world();
  all.begin();
  all.startedAnewAtS = 9;
  all.outcome = REFUSED;
  all.consider();
  expect(await all.outcomeSaid()).toMatchObject({ outcome: 'failed: the disk is full' });
  expect(all.restarts).toBe(1);
});

test('nothing is restarted before a leader has confirmed that it is still wanted', async () => {
  const all = world();
  all.begin();
  all.isConfirmed = false;
  all.consider();
  await until({ what: 'it to ask again', timeoutMs: 10_000, everyMs: 5 }, () => all.confirmed > 3);
  expect(all.restarts).toBe(0);
  all.log.must({ ...base, onlyAtMs: AT_MS, at: undefined, outcome: 'given up' });
  all.isConfirmed = true;
  const asked = all.confirmed;
  await until({ what: 'it to look', timeoutMs: 10_000, everyMs: 5 }, () => all.confirmed > asked);
  await runner?.close();
  expect(all).toMatchObject({ restarts: 0, proposed: [] });
});

test('one that cannot be carried out is tried again, and told in the end', async () => {
  const all = world();
  all.begin();
  all.outcome = REFUSED;
  all.consider();
  await until({ what: 'it to be tried again', timeoutMs: 10_000, everyMs: 5 }, () => all.restarts > 2);
  expect(all.proposed).toEqual([]);
  all.wallMs = AT_MS + RESTART_VALID_MS + 1;
  expect(await all.outcomeSaid()).toMatchObject({ outcome: 'failed: the disk is full' });
});

test('one whose peer comes back long after is not carried out at another time', async () => {
  const all = world();
  all.begin();
  all.wallMs = AT_MS + RESTART_VALID_MS + 1;
  all.consider();
  expect(await all.outcomeSaid()).toMatchObject({ outcome: 'not carried out in time, its peer was away' });
  expect(all.restarts).toBe(0);
});

test('a server that was stopped half-way is started by its agent, and not restarted once more', async () => {
  const all = world();
  all.begin();
  all.startedAtS = undefined;
  all.consider();
  await until({ what: 'it to look again', timeoutMs: 10_000, everyMs: 5 }, () => all.confirmed > 3);
  all.startedAtS = 9;
  expect(await all.outcomeSaid()).toMatchObject({ outcome: 'done, it runs anew' });
  expect(all.restarts).toBe(0);
});

test('what became of it is said again while nobody answers', async () => {
  const all = world();
  all.begin();
  all.unanswered = 3;
  all.consider();
  await all.outcomeSaid();
  expect(all.proposed).toHaveLength(4);
  expect(all.restarts).toBe(1);
});
