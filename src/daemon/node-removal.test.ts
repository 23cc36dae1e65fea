// `sentinelctl node unregister`, `drop` and `register`: what is refused and why, each step in the log, and that it can be run again wherever it
// was broken off.
import { afterEach, describe, expect, test, vi } from 'vitest';
import { nodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import { REMOVAL_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  A,
  B,
  C,
  GROUP,
  MB,
  MC,
  type Log,
  P1,
  at,
  fencing,
  newLog,
  recovered,
  registration,
  running,
} from '../cluster/testing/example.ts';
import { removedText } from '../failover/duties.ts';
import { ALL_WELL, type SeenNodes, viewOf } from '../failover/testing/view.ts';
import type { SteerRequest } from '../transport/types.ts';
import { steerNode } from './node-commands.ts';
import type { ProposalOutcome } from './replica.ts';

type Request = Extract<SteerRequest, { kind: 'node' }>;
const REFUSED = (reason: RegExp) => ({ kind: 'refused', reason: expect.stringMatching(reason) as unknown });
const DONE = (detail: RegExp) => ({ kind: 'done', detail: expect.stringMatching(detail) as unknown });
const upgraded = (log: Log = running()): Log => newLog({ ...log.state, featureLevel: REMOVAL_FEATURE_LEVEL });

/** Asked of another peer than the node's. The primary carries out that who is aside leaves the rule; its agent does what `agent` says. */
function world(
  log: Log,
  options: {
    seen?: SeenNodes;
    onPropose?: (command: Command) => void;
    register?: boolean;
    /** Its agent does not come to what it has to do. */
    isBusy?: true;
  } = {},
) {
  const proposed: string[] = [];
  let seen = options.seen ?? ALL_WELL;
  const propose = (command: Command): Promise<ProposalOutcome> => {
    proposed.push(command.kind);
    options.onPropose?.(command);
    const reason = log.commit(command);
    if (reason !== undefined) return Promise.resolve({ kind: 'refused', reason });
    if (command.kind === 'pause') {
      log.must(at(log).change({ members: [command.node === B ? MC : MB], acks: 1 }));
      log.must(at(log).commitRule());
    }
    const removed = log.state.removed.get(B);
    if (command.kind === 'remove-node' && removed !== undefined && options.isBusy !== true)
      seen = {
        ...seen,
        b: {
          condition: command.leaving === 'destroy' ? 'absent' : 'stopped',
          message: `said before; ${removedText(removed)}`,
        },
      };
    if (command.kind === 'readmit-node' && options.register !== false) log.must(registration(B, MB));
    return Promise.resolve({ kind: 'applied', index: log.state.appliedIndex });
  };
  const ask = (request: Partial<Request> & Pick<Request, 'action'>) =>
    steerNode(
      {
        state: () => log.state,
        view: () => viewOf(log, 0, seen),
        propose,
        signal: new AbortController().signal,
        self: P1,
        agent: () => undefined,
      },
      { kind: 'node', node: B, inPlace: false, dryRun: false, ...request },
    );
  return { proposed, ask };
}

test('is refused while a peer might not understand it', async () => {
  const { ask, proposed } = world(newLog({ ...running().state, featureLevel: REMOVAL_FEATURE_LEVEL - 1 }));
  for (const action of ['unregister', 'drop', 'register'] as const)
    expect(await ask({ action })).toEqual(REFUSED(/upgrade all of them/));
  expect(proposed).toEqual([]);
});

describe('a standby', () => {
  test.each<[Partial<Request> & Pick<Request, 'action'>, RegExp]>([
    [{ action: 'unregister' }, /b is removed from group main; its PostgreSQL, if it runs, is cut off/],
    [
      { action: 'drop' },
      /b is removed from group main; its PostgreSQL is stopped\. sentinelctl node register/,
    ],
    [{ action: 'drop', destroy: true }, /is stopped and its data directory removed\./],
  ])('%j: leaves the rule first, then the log', async (request, detail) => {
    const log = upgraded();
    const { ask, proposed } = world(log);
    expect(await ask(request)).toEqual(DONE(detail));
    expect(proposed).toEqual(['pause', 'remove-node']);
    expect([...log.state.nodes.keys()]).toEqual([A, C]);
    expect(log.group).toMatchObject({ rule: { members: [MC] }, pausedNodes: [] });
  });

  test('with --dry-run nothing is changed, and what it means is said', async () => {
    const log = upgraded();
    const { ask, proposed } = world(log);
    expect(await ask({ action: 'drop', destroy: true, dryRun: true })).toEqual(
      DONE(
        /nothing was changed; then: b leaves the sync rule, leaves group main and the log.*data directory removed, with its tablespaces$/,
      ),
    );
    log.must(at(log).change({ members: [MB], acks: 1 }));
    log.must(at(log).commitRule(), { kind: 'remove-node', group: GROUP, node: C, leaving: 'stop' });
    expect(await ask({ action: 'unregister', dryRun: true })).toEqual(
      DONE(
        /commits are on a alone and nobody can take over; 0 standbys are left without b, of the 1 that group main wants/,
      ),
    );
    expect(proposed).toEqual([]);
  });

  test('that is fenced is taken out as it is', async () => {
    const log = upgraded();
    log.must({ kind: 'fence-node', node: B }, at(log).change({ members: [MC], acks: 1 }));
    log.must(at(log).commitRule());
    const { ask, proposed } = world(log);
    expect(await ask({ action: 'drop' })).toEqual(DONE(/is removed from group main/));
    expect(proposed).toEqual(['remove-node']);
    expect(log.group.fenced).toEqual([]);
  });
});

describe('what its agent reports from before it knows', () => {
  afterEach(() => vi.useRealTimers());

  test.each<[SeenNodes[string], boolean, RegExp]>([
    [{ condition: 'stopped' }, false, /is stopped is not known yet: its agent says: stopped\./],
    [
      { condition: 'absent', message: 'must be cloned' },
      true,
      /its data directory removed is not known yet: its agent says: must be cloned\. sentinelctl node register/,
    ],
    [
      { condition: 'absent', ageMs: 5000 },
      true,
      /its data directory removed is not known yet: its agent \(peer p2\) does not report/,
    ],
  ])('is not taken for what it has done: %j', async (b, destroy, detail) => {
    vi.useFakeTimers();
    const { ask } = world(upgraded(), { seen: { ...ALL_WELL, b }, isBusy: true });
    const asked = ask({ action: 'drop', ...(destroy ? { destroy } : {}) });
    await vi.advanceTimersByTimeAsync(120_000);
    expect(await asked).toEqual(DONE(detail));
  });
});

describe('after a recovery of the log', () => {
  test('a node that was removed before is doubted, and removed once more only on a further word', async () => {
    const log = upgraded();
    log.must(at(log).change({ members: [MC], acks: 1 }));
    log.must(at(log).commitRule(), { kind: 'remove-node', group: GROUP, node: B, leaving: 'stop' });
    const { ask, proposed } = world(recovered(log));
    const doubt = REFUSED(/recovered since b was removed.*node register b.*--accept-data-loss/);
    for (const dryRun of [true, false]) expect(await ask({ action: 'drop', dryRun })).toEqual(doubt);
    const accepted = { action: 'drop', acceptsLoss: true } as const;
    expect(await ask({ ...accepted, dryRun: true })).toEqual(DONE(/b alone holds are lost for good$/));
    expect(proposed).toEqual([]);
    expect(await ask(accepted)).toEqual(DONE(/b is removed from group main; its PostgreSQL is stopped/));
    expect(log.state.removed.get(B)).toMatchObject({ leaving: 'stop', isDoubtful: false });
  });

  test('a node that will never report is given up on a further word', async () => {
    const log = recovered(upgraded());
    const { ask, proposed } = world(log);
    expect(await ask({ action: 'drop' })).toEqual(REFUSED(/waits for b to report.*--accept-data-loss/));
    const accepted = { action: 'drop', acceptsLoss: true } as const;
    expect(await ask({ ...accepted, dryRun: true })).toEqual(DONE(/b alone holds are lost for good/));
    expect(proposed).toEqual([]);
    expect(await ask(accepted)).toEqual(DONE(/b is removed from group main/));
    expect(proposed).toEqual(['remove-node']);
  });
});

describe('run again', () => {
  test('after it was broken off once the node was aside', async () => {
    const log = upgraded();
    const broken = world(log, {
      onPropose(command) {
        if (command.kind === 'remove-node') throw new Error('killed');
      },
    });
    await expect(broken.ask({ action: 'drop' })).rejects.toThrow('killed');
    expect(log.state.nodes.has(B)).toBe(true);
    const { ask, proposed } = world(log);
    expect(await ask({ action: 'drop' })).toEqual(DONE(/is removed/));
    expect(proposed).toEqual(['remove-node']);
  });

  test('once it is removed: what its agent has done is said, and more can be asked for', async () => {
    const log = upgraded();
    const { ask, proposed } = world(log);
    await ask({ action: 'unregister' });
    proposed.length = 0;
    expect(await ask({ action: 'unregister' })).toEqual(DONE(/is removed from group main/));
    expect(proposed).toEqual([]);
    expect(await ask({ action: 'drop', destroy: true, dryRun: true })).toEqual(
      DONE(/b, which was removed from group main, is stopped and its data directory removed/),
    );
    expect(await ask({ action: 'drop', destroy: true })).toEqual(DONE(/and its data directory removed/));
    expect(await ask({ action: 'drop' })).toEqual(DONE(/and its data directory removed/));
    expect(proposed).toEqual(['remove-node', 'remove-node']);
    expect(log.state.removed.get(B)).toMatchObject({ leaving: 'destroy' });
  });
});

test('nothing is changed where it cannot be', async () => {
  const log = upgraded();
  const { ask, proposed } = world(log);
  expect(await ask({ action: 'drop', node: A })).toEqual(
    REFUSED(/a is not removed: a is the primary of group main: fail over first/),
  );
  expect(await ask({ action: 'drop', node: nodeId('z') })).toEqual(
    REFUSED(/there is no node z; there are a, b, c/),
  );
  expect(proposed).toEqual([]);
  const failing = world(upgraded(fencing()));
  expect(await failing.ask({ action: 'unregister' })).toEqual(REFUSED(/group main is fencing; wait/));
  const strict = upgraded();
  const settings = { durability: 'strict', acks: 2 } as const;
  strict.must(at(strict).change({ members: [MB, MC], acks: 2 }));
  strict.must(at(strict).commitRule(), { kind: 'change-settings', group: GROUP, settings });
  const needed = world(strict);
  for (const dryRun of [true, false])
    expect(await needed.ask({ action: 'drop', dryRun })).toEqual(
      REFUSED(/b is not removed: .*group main is strict, and 2 of its 2 standbys have to hold every commit/),
    );
  expect([failing.proposed, needed.proposed]).toEqual([[], []]);
});

describe('register', () => {
  test('lets in again what was removed, and only that', async () => {
    const log = upgraded();
    const { ask, proposed } = world(log);
    expect(await ask({ action: 'register' })).toEqual(DONE(/b is registered in group main$/));
    expect(await ask({ action: 'register', node: nodeId('z') })).toEqual(
      REFUSED(/there is no node z.*none of that name was removed/),
    );
    await ask({ action: 'drop' });
    proposed.length = 0;
    expect(await ask({ action: 'register', dryRun: true })).toEqual(
      DONE(/nothing was changed; then: b may join/),
    );
    expect(proposed).toEqual([]);
    expect(await ask({ action: 'register' })).toEqual(
      DONE(/b is registered in group main again, and joins it/),
    );
    expect(proposed).toEqual(['readmit-node']);
    expect(await ask({ action: 'register' })).toEqual(DONE(/b is registered/));
  });
});
