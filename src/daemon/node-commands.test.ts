// `sentinelctl node`: refused with a reason, or carried out by the agent while the log keeps failovers and commits away from the node, and
// undone whatever becomes of it.
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { NodeRequest } from '../actions/node-requests.ts';
import { nodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import { PAUSE_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  MB,
  type Log,
  P1,
  P2,
  at,
  fencing,
  newLog,
  running,
} from '../cluster/testing/example.ts';
import { pauseOf } from '../cluster/state.ts';
import { ALL_WELL, type SeenNodes, WALL_MS, viewOf } from '../failover/testing/view.ts';
import type { SteerRequest } from '../transport/types.ts';
import { steerNode } from './node-commands.ts';
import type { ProposalOutcome } from './replica.ts';

type Request = Extract<SteerRequest, { kind: 'node' }>;
const REFUSED = (reason: RegExp) => ({ kind: 'refused', reason: expect.stringMatching(reason) as unknown });
const DONE = (detail: RegExp) => ({ kind: 'done', detail: expect.stringMatching(detail) as unknown });
const upgraded = (log: Log = running()): Log => newLog({ ...log.state, featureLevel: PAUSE_FEATURE_LEVEL });

/** Of peer `self`; the agent says what `work` does. */
function world(
  log: Log,
  options: {
    self?: typeof P1;
    seen?: SeenNodes;
    work?: (request: NodeRequest) => string;
    onPropose?: (command: Command) => void;
    /** What is seen of b once it has been restarted; streams again. */
    restarted?: SeenNodes['b'];
    signal?: AbortSignal;
  } = {},
) {
  const proposed: string[] = [];
  const asked: string[] = [];
  let seen = options.seen ?? ALL_WELL;
  const propose = (command: Command): Promise<ProposalOutcome> => {
    proposed.push(command.kind);
    options.onPropose?.(command);
    const reason = log.commit(command);
    if (reason !== undefined) return Promise.resolve({ kind: 'refused', reason });
    // The primary carries out that a node which is aside leaves the rule.
    if (command.kind === 'pause' && command.node !== undefined) {
      log.must(at(log).change(ALONE));
      log.must(at(log).commitRule());
    }
    return Promise.resolve({ kind: 'applied', index: log.state.appliedIndex });
  };
  const ask = (request: Partial<Request> & Pick<Request, 'action' | 'node'>) =>
    steerNode(
      {
        state: () => log.state,
        view: () => viewOf(log, 0, seen),
        propose,
        signal: options.signal ?? new AbortController().signal,
        self: options.self ?? P2,
        agent: () => ({
          ask(given) {
            asked.push(given.kind === 'restart' ? `restart as ${given.as}` : given.kind);
            try {
              const detail = options.work?.(given) ?? 'it is done';
              if (given.kind === 'restart' && given.as === 'standby')
                seen = { ...seen, b: options.restarted ?? { condition: 'stopped', streamingFrom: A } };
              return Promise.resolve(detail);
            } catch (error) {
              return Promise.reject(error as Error);
            }
          },
          retry: () => void asked.push('retry'),
        }),
      },
      { kind: 'node', inPlace: false, dryRun: false, ...request },
    );
  return { proposed, asked, ask };
}

test('another peer says where to ask, and what there is none of is said', async () => {
  const log = upgraded();
  const { ask, asked, proposed } = world(log, { self: P1 });
  const elsewhere = { kind: 'elsewhere', peer: P2, address: log.state.membership.addresses.get(P2) };
  expect(elsewhere.address).toBeDefined();
  expect(await ask({ action: 'restart', node: B })).toEqual(elsewhere);
  expect(await ask({ action: 'restart', node: nodeId('nobody') })).toEqual(
    REFUSED(/no node nobody; there are a, b, c/),
  );
  expect([asked, proposed]).toEqual([[], []]);
});

describe('restart of a standby', () => {
  test('it is out of the rule while its agent stops it, and comes back', async () => {
    const log = upgraded();
    let during: unknown;
    const { ask, asked, proposed } = world(log, {
      work() {
        during = [pauseOf(log.group, B), log.group.rule];
        return 'its PostgreSQL was stopped';
      },
    });
    expect(await ask({ action: 'restart', node: B })).toEqual(DONE(/b was restarted and streams again/));
    expect(during).toEqual([{ node: B, isMaintenance: false, untilMs: WALL_MS + 300_000 }, ALONE]);
    expect(asked).toEqual(['restart as standby']);
    expect(proposed).toEqual(['pause', 'end-pause']);
    expect(log.group.pausedNodes).toEqual([]);
  });

  test('one that comes back and does not stream is no success, and the reason is given', async () => {
    const log = upgraded();
    const message = 'password authentication failed for user "rep"';
    const { ask, proposed } = world(log, { restarted: { condition: 'standby', message } });
    // Each look at the clock is ten seconds later.
    let nowMs = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (nowMs += 10_000));
    onTestFinished(() => clock.mockRestore());
    expect(await ask({ action: 'restart', node: B })).toEqual(
      REFUSED(
        /^b: it is done, and it comes back by itself, but does not stream after 30 s \(password auth.*\)/,
      ),
    );
    expect(proposed).toEqual(['pause', 'end-pause']);
    expect(log.group.pausedNodes).toEqual([]);
  });

  test('it comes back also where its agent could not, and may be asked again', async () => {
    const log = upgraded();
    const { ask, proposed } = world(log, {
      work() {
        throw new Error('its part is another by now');
      },
    });
    expect(await ask({ action: 'restart', node: B })).toEqual(REFUSED(/^b: its part is another by now/));
    expect(proposed).toEqual(['pause', 'end-pause']);
    expect(log.group.pausedNodes).toEqual([]);
  });

  test('one that an earlier attempt left aside is restarted; one that is left to a person is not', async () => {
    const log = upgraded();
    const pause = { kind: 'pause', group: GROUP, node: B } as const;
    log.must({ ...pause, isMaintenance: false, untilMs: WALL_MS + 200_000 });
    expect(await world(log).ask({ action: 'restart', node: B })).toEqual(DONE(/restarted/));
    for (const [isMaintenance, untilMs] of [
      [true, WALL_MS + 200_000],
      [false, WALL_MS + 400_000],
      [false, undefined],
    ] as const) {
      log.must({ ...pause, isMaintenance, untilMs });
      const { ask, proposed } = world(log);
      expect(await ask({ action: 'restart', node: B })).toEqual(REFUSED(/its PostgreSQL is left to you/));
      expect(proposed).toEqual([]);
    }
  });

  test('refused while its group fails over, and by older peers; a dry run changes nothing', async () => {
    const failing = newLog({ ...fencing().state, featureLevel: PAUSE_FEATURE_LEVEL });
    expect(await world(failing).ask({ action: 'restart', node: B })).toEqual(
      REFUSED(/group main is fencing/),
    );
    expect(
      await world(newLog({ ...running().state, featureLevel: 2 })).ask({ action: 'restart', node: B }),
    ).toEqual(REFUSED(/upgrade all of them/));
    const { ask, asked, proposed } = world(upgraded());
    expect(await ask({ action: 'restart', node: B, dryRun: true })).toEqual(
      DONE(/nothing was changed.*is restarted/),
    );
    expect([asked, proposed]).toEqual([[], []]);
  });
});

test('a dry run says that the last standby is gone meanwhile', async () => {
  const log = upgraded();
  log.must(at(log).change({ members: [MB], acks: 1 }));
  log.must(at(log).commitRule());
  const { ask } = world(log);
  const loss = DONE(/nothing was changed.*commits are on a alone and nobody can take over/);
  expect(await ask({ action: 'restart', node: B, dryRun: true })).toEqual(loss);
  expect(await ask({ action: 'reinit', node: B, dryRun: true })).toEqual(loss);
});

describe('restart of a primary', () => {
  test('refused with what to do instead', async () => {
    const { ask, asked, proposed } = world(upgraded(), { self: P1 });
    expect(await ask({ action: 'restart', node: A })).toEqual(REFUSED(/switch over first.*--in-place/));
    expect([asked, proposed]).toEqual([[], []]);
  });

  test('in place: its group is paused meanwhile, with an end', async () => {
    const log = upgraded();
    let during: unknown;
    const { ask, asked, proposed } = world(log, {
      self: P1,
      work() {
        during = log.group.paused;
        return 'its PostgreSQL was restarted';
      },
    });
    expect(await ask({ action: 'restart', node: A, inPlace: true })).toEqual(
      DONE(/a was restarted in place/),
    );
    expect(during).toEqual({ untilMs: WALL_MS + 300_000 });
    expect([asked, proposed]).toEqual([['restart as primary'], ['pause', 'end-pause']]);
    expect(log.group.paused).toBeUndefined();
  });

  test('in place: the pause ends only once no peer holds it for down', async () => {
    const log = upgraded();
    let heldCount = -1;
    const { ask, proposed } = world(log, {
      self: P1,
      onPropose(command) {
        if (command.kind === 'end-pause') heldCount = log.state.nodes.get(A)?.subjectiveDown.length ?? -1;
      },
      work() {
        log.must(at(log).down(P1), at(log).down(P2));
        setTimeout(() => log.must(at(log).up(P1)), 20);
        setTimeout(() => log.must(at(log).up(P2)), 1500);
        return 'its PostgreSQL was restarted';
      },
    });
    expect(await ask({ action: 'restart', node: A, inPlace: true })).toEqual(DONE(/restarted in place/));
    expect([heldCount, proposed]).toEqual([0, ['pause', 'end-pause']]);
  });

  test('in place: the pause ends also where whoever asked is gone', async () => {
    const log = upgraded();
    const gone = new AbortController();
    const { ask, proposed } = world(log, {
      self: P1,
      signal: gone.signal,
      work() {
        gone.abort();
        return 'its PostgreSQL was restarted';
      },
    });
    await ask({ action: 'restart', node: A, inPlace: true });
    expect(proposed).toEqual(['pause', 'end-pause']);
    expect(log.group.paused).toBeUndefined();
  });

  test("in place: a person's pause stays as it was", async () => {
    const log = upgraded();
    log.must({ kind: 'pause', group: GROUP, node: undefined, isMaintenance: false, untilMs: undefined });
    const { ask, proposed } = world(log, { self: P1 });
    expect(await ask({ action: 'restart', node: A, inPlace: true })).toEqual(DONE(/a: it is done/));
    expect(proposed).toEqual([]);
    expect(log.group.paused).toEqual({ untilMs: undefined });
  });
});

describe('reinit', () => {
  test('is carried out while the node is aside, and only with a primary to clone from', async () => {
    const log = upgraded();
    let obstacle: string | undefined = 'not asked';
    const { ask, asked, proposed } = world(log, {
      work(request) {
        obstacle = request.kind === 'reinit' ? request.obstacle() : 'another request';
        return 'its data directory is replaced by a clone';
      },
    });
    expect(await ask({ action: 'reinit', node: B })).toEqual(
      DONE(/replaced by a clone of a, and the old one/),
    );
    expect(obstacle).toBeUndefined();
    expect([asked, proposed]).toEqual([['reinit'], ['pause', 'end-pause']]);
  });

  test.each<[string, SeenNodes]>([
    ['is silent', { ...ALL_WELL, a: undefined }],
    ['is stopped', { ...ALL_WELL, a: { condition: 'stopped' } }],
  ])('refused where the primary %s', async (_what, seen) => {
    const { ask, asked, proposed } = world(upgraded(), { seen });
    expect(await ask({ action: 'reinit', node: B })).toEqual(REFUSED(/nothing to clone from/));
    expect([asked, proposed]).toEqual([[], []]);
  });

  test('refused of a primary', async () => {
    const { ask, asked, proposed } = world(upgraded(), { self: P1 });
    expect(await ask({ action: 'reinit', node: A })).toEqual(
      REFUSED(/it is the primary of group main; switch over first/),
    );
    expect([asked, proposed]).toEqual([[], []]);
  });
});

test('rejoin has the agent try again, unless there is nothing to join or it is not to', async () => {
  const log = upgraded();
  const lost = { ...ALL_WELL, b: { condition: 'failed' } } as const;
  const { ask, asked } = world(log, { seen: lost });
  expect(await ask({ action: 'rejoin', node: B, dryRun: true })).toEqual(DONE(/nothing was changed/));
  expect(asked).toEqual([]);
  expect(await ask({ action: 'rejoin', node: B })).toEqual(DONE(/tries again at once/));
  expect(asked).toEqual(['retry']);
  expect(await world(log).ask({ action: 'rejoin', node: B })).toEqual(DONE(/streams already/));
  expect(await world(log, { self: P1 }).ask({ action: 'rejoin', node: A })).toEqual(
    REFUSED(/a is the primary of group main/),
  );
  log.must({ kind: 'pause', group: GROUP, node: B, isMaintenance: true, untilMs: undefined });
  expect(await ask({ action: 'rejoin', node: B })).toEqual(
    REFUSED(/in maintenance: sentinelctl maintenance off b has it rejoin/),
  );
});

test('follow goes by what the primary serves, at whatever address the standby reaches it', async () => {
  const log = upgraded();
  const via = { condition: 'standby', streamingFrom: nodeId('proxy') } as const;
  const ask = (seen: SeenNodes) => world(log, { seen }).ask({ action: 'follow', node: B, dryRun: true });
  expect(await ask({ ...ALL_WELL, b: via })).toEqual(DONE(/^b follows a, the primary of group main$/));
  const unserved = { ...ALL_WELL, a: { condition: 'primary', streamsTo: [C] }, b: via } as const;
  expect(await ask(unserved)).toEqual(DONE(/nothing was changed/));
});

describe('follow', () => {
  /** Each look at the clock is ten seconds later. */
  const hurry = (): void => {
    let nowMs = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (nowMs += 10_000));
    onTestFinished(() => clock.mockRestore());
  };
  const lost = (message?: string): SeenNodes => ({
    ...ALL_WELL,
    a: { condition: 'primary', streamsTo: [C] },
    b: { condition: 'standby', ...(message === undefined ? {} : { message }) },
  });

  test('one that does not stream within the time is no success, and the reason is given', async () => {
    hurry();
    const message = 'connecting to a, which said before: password authentication failed for user "rep"';
    const { ask, asked } = world(upgraded(), { seen: lost(message) });
    expect(await ask({ action: 'follow', node: B })).toEqual(
      REFUSED(/^b: its agent has tried again .*it does not stream after 30 s \(.*password auth.*"rep"\)/),
    );
    expect(asked).toEqual(['retry']);
    expect(await world(upgraded(), { seen: lost() }).ask({ action: 'follow', node: B })).toEqual(
      REFUSED(/does not stream after 30 s \(its PostgreSQL runs as a standby\)/),
    );
  });

  test('one that streams is done, also from its upstream', async () => {
    hurry();
    expect(await world(upgraded()).ask({ action: 'follow', node: B })).toEqual(
      DONE(/^b follows a, the primary of group main$/),
    );
    const cascading = upgraded();
    const cascade = { node: B, upstream: C, lostCount: 0 };
    const group = { ...cascading.group, cascades: [cascade] };
    const log = newLog({ ...cascading.state, groups: new Map([[GROUP, group]]) });
    const seen: SeenNodes = {
      a: { condition: 'primary', streamsTo: [C] },
      b: { condition: 'standby', streamingFrom: C },
      c: { condition: 'standby', streamingFrom: A, streamsTo: [B] },
    };
    expect(await world(log, { seen }).ask({ action: 'follow', node: B })).toEqual(
      DONE(/^b follows c, its upstream$/),
    );
  });
});
