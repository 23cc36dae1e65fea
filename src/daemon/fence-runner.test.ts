// The fence command is run once at a time, by a leader that is sure to be one, as long as it is needed; what it says goes into the log.
import { setImmediate } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import type { FenceResult, runFenceCommand } from '../actions/fence-command.ts';
import { until } from '../base/clock.ts';
import type { Command } from '../cluster/commands.ts';
import { SETTINGS_FEATURE_LEVEL } from '../cluster/features.ts';
import { A, B, type Log, P2, P3, at, newLog, runningAlone } from '../cluster/testing/example.ts';
import { ALL_WELL, type SeenNodes, viewOf } from '../failover/testing/view.ts';
import { type FenceRunner, startFenceRunner } from './fence-runner.ts';

const FENCE = { command: ['/bin/off'], timeoutMs: 1000 };
const DONE: FenceResult = { kind: 'done', output: '' };
const FAILED = { kind: 'failed', reason: 'exit code 1', output: '' } as const;

let runner: FenceRunner | undefined;
afterEach(() => runner?.close());

const waiting = (): Log => {
  const log = newLog({ ...runningAlone().state, featureLevel: SETTINGS_FEATURE_LEVEL });
  log.must(at(log).down(P2), at(log).down(P3), at(log).begin({ kind: 'forced', to: undefined }));
  log.must(at(log).cut(B, 100));
  return log;
};

interface World {
  readonly log: Log;
  seen: SeenNodes;
  /** Undefined: nobody answers, ever. */
  isConfirmed: boolean | undefined;
  nowMs: number;
  running: number;
  readonly begun: AbortSignal[];
  readonly said: string[];
  /** Ends the run that is under way. */
  finish: (result: FenceResult) => void;
}

function world({ fence }: { fence: typeof FENCE | undefined } = { fence: FENCE }): World {
  const log = waiting();
  const all: World = {
    ...{ log, seen: { ...ALL_WELL, a: undefined }, isConfirmed: true, nowMs: 0, running: 0 },
    ...{ begun: [], said: [], finish: () => undefined },
  };
  const run: typeof runFenceCommand = ({ signal }) => {
    all.begun.push(signal);
    all.running += 1;
    expect(all.running, 'at once').toBe(1);
    return new Promise((resolve) => {
      all.finish = (result) => {
        all.running -= 1;
        resolve(result);
      };
      signal.addEventListener('abort', () => all.finish({ ...FAILED, reason: 'SIGKILL' }));
    });
  };
  runner = startFenceRunner({
    ...{ self: P2, cluster: 'shop', fence, run },
    clock: { monotonicMs: () => all.nowMs },
    state: () => log.state,
    view: () => viewOf(log, all.nowMs, all.seen),
    closeMs: 50,
    confirm: () =>
      all.isConfirmed === undefined ? new Promise(() => undefined) : Promise.resolve(all.isConfirmed),
    propose: (command: Command) => {
      const refused = log.commit(command);
      return Promise.resolve(
        refused === undefined
          ? ({ kind: 'applied', index: log.state.appliedIndex } as const)
          : ({ kind: 'refused', reason: refused } as const),
      );
    },
    log: (_, message) => all.said.push(message),
  });
  runner.setLeading(true);
  return all;
}
const eventually = (what: string, condition: () => boolean): Promise<boolean> =>
  until({ what, timeoutMs: 10_000, everyMs: 5 }, condition);
/** Whatever several looks lead to has happened then. */
async function looks(): Promise<void> {
  for (let count = 0; count < 5; count += 1) {
    runner?.consider();
    await setImmediate();
  }
}

test('its success goes into the log, and it is not run again', async () => {
  const all = world();
  await looks();
  expect(all.begun, 'at once').toEqual([]);
  all.nowMs = 1000;
  await eventually('a run', () => all.begun.length === 1);
  await looks();
  all.finish(DONE);
  await eventually('the entry', () => 'off' in all.log.group.phase && all.log.group.phase.off.includes(A));
  all.nowMs = 1_000_000;
  await looks();
  expect(all.begun).toHaveLength(1);
});

test('its failure goes into the log, and it is tried again later', async () => {
  const all = world();
  all.nowMs = 1000;
  await eventually('a run', () => all.begun.length === 1);
  all.finish(FAILED);
  await eventually('the entry', () => 'fenceFailed' in all.log.group.phase);
  expect(all.log.group.phase).toMatchObject({ fenceFailed: 'exit code 1', off: [] });
  all.nowMs = 5999;
  await looks();
  expect(all.begun).toHaveLength(1);
  all.nowMs = 6000;
  await eventually('another run', () => all.begun.length === 2);
});

describe('it is called off', () => {
  test.each<[string, (all: World) => void]>([
    ['when the agent answers', (all) => (all.seen = ALL_WELL)],
    ['when the peers find the node up', (all) => all.log.must(at(all.log).up(P3))],
    ['when this peer leads no more', () => runner?.setLeading(false)],
    ['when the node has reported', (all) => all.log.must(at(all.log).cut(A, 100))],
  ])('%s, and that is no failure', async (_, change) => {
    const all = world();
    all.nowMs = 1000;
    await eventually('a run', () => all.begun.length === 1);
    change(all);
    await eventually('its end', () => all.begun[0]?.aborted === true);
    await looks();
    expect(all.log.group.phase).not.toHaveProperty('fenceFailed');
    expect(all.log.group.phase).toMatchObject({ off: [] });
  });
});

describe('it is not run', () => {
  test.each<[string, () => World]>([
    ['without one in the configuration', () => world({ fence: undefined })],
    ['by a leader that no quorum confirms', () => Object.assign(world(), { isConfirmed: false })],
    ['while the agent answers', () => Object.assign(world(), { seen: ALL_WELL })],
  ])('%s', async (_, begin) => {
    const all = begin();
    for (all.nowMs = 1000; all.nowMs < 5000; all.nowMs += 1000) await looks();
    expect(all.begun).toEqual([]);
  });
});

test('it is closed also while it waits for an answer that never comes', async () => {
  const all = Object.assign(world(), { isConfirmed: undefined });
  await looks();
  all.nowMs = 1000;
  await looks();
  await runner?.close();
  expect(all.begun).toEqual([]);
});
