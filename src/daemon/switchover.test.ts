// `sentinelctl failover`: what it refuses and why, and how it tells the outcome.
import { describe, expect, test } from 'vitest';
import { type NodeId, nodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import { A, B, C, type Log, at, fencing, newLog, running, runningAlone } from '../cluster/testing/example.ts';
import { ALL_WELL, type SeenNodes, viewOf } from '../failover/testing/view.ts';
import type { ProposalOutcome } from './replica.ts';
import { switchOver } from './switchover.ts';

/** Asks for a switchover; `next` plays what the cluster does once it has begun. */
async function ask(
  log: Log,
  request: { readonly group?: string; readonly to?: NodeId } = {},
  options: {
    readonly seen?: SeenNodes;
    readonly next?: () => void;
    readonly outcome?: ProposalOutcome;
    readonly signal?: AbortSignal;
  } = {},
) {
  const proposed: Command[] = [];
  const outcome = await switchOver({
    request: { group: request.group, to: request.to },
    state: () => log.state,
    view: () => viewOf(log, 0, options.seen),
    propose: (command) => {
      proposed.push(command);
      if (options.outcome !== undefined) return Promise.resolve(options.outcome);
      const reason = log.commit(command);
      if (reason !== undefined) return Promise.resolve({ kind: 'refused', reason });
      const index = log.state.appliedIndex;
      options.next?.();
      return Promise.resolve({ kind: 'applied', index });
    },
    signal: options.signal ?? new AbortController().signal,
  });
  return { outcome, proposed };
}

const refused = (reason: RegExp) => ({ kind: 'refused', reason: expect.stringMatching(reason) });

describe('is refused, before anything is proposed,', () => {
  test.each<[string, () => Log, { readonly group?: string; readonly to?: NodeId }, SeenNodes, RegExp]>([
    ['without a group', newLog, {}, ALL_WELL, /name the group: none/],
    [
      'for a group that is not there',
      running,
      { group: 'other' },
      ALL_WELL,
      /there is no group other; there are: main/,
    ],
    [
      'while a failover is under way',
      fencing,
      {},
      ALL_WELL,
      /group main is fencing; wait until it is running/,
    ],
    ['to the primary itself', running, { to: A }, ALL_WELL, /a is the primary already/],
    [
      'to a node that is not there',
      running,
      { to: nodeId('z') },
      ALL_WELL,
      /there is no node z in group main/,
    ],
    ['while no standby is in the rule', runningAlone, {}, ALL_WELL, /alone/],
    ['while too few agents are reachable', running, {}, { ...ALL_WELL, c: undefined }, /1 of 2/],
    [
      'to a standby that does not stream',
      running,
      { to: B },
      { ...ALL_WELL, b: { condition: 'standby' } },
      /b is not streaming/,
    ],
    [
      'to a standby that is far behind',
      running,
      { to: B },
      { ...ALL_WELL, a: { condition: 'primary', position: 200n << 20n } },
      /b is 200 MB behind/,
    ],
    [
      'while the primary does not say where it stands',
      running,
      { to: B },
      { ...ALL_WELL, a: undefined },
      /the agent of a cannot be reached; where the primary is down, the peers fail over/,
    ],
  ])('%s', async (_, begin, request, seen, reason) => {
    const { outcome, proposed } = await ask(begin(), request, { seen });
    expect(outcome).toEqual(refused(reason));
    expect(proposed).toEqual([]);
  });
});

describe('once it is proposed', () => {
  test('tells why the log refused it', async () => {
    const { outcome } = await ask(
      running(),
      {},
      { outcome: { kind: 'refused', reason: 'the rule is being changed' } },
    );
    expect(outcome).toEqual(refused(/the rule is being changed/));
  });

  test('says that it may still begin when nobody answered', async () => {
    expect((await ask(running(), {}, { outcome: { kind: 'unknown' } })).outcome).toEqual(
      refused(/may still begin/),
    );
  });

  test('proposes it at the present epoch, with the wish', async () => {
    const log = running();
    const { proposed } = await ask(log, { to: B }, { outcome: { kind: 'unknown' } });
    expect(proposed).toEqual([
      { kind: 'begin-failover', group: 'main', epoch: log.epoch, cause: { kind: 'planned', to: B } },
    ]);
  });

  test('tells who took over, at which epoch', async () => {
    const log = running();
    const finish = () => {
      log.must(at(log).cut(A, 120, { stopped: true }), at(log).cut(B, 120), at(log).cut(C, 120));
      log.must(at(log).promote(B, 2, { members: [], acks: 0 }));
      log.must(at(log).promoted(B, 2, 120));
    };
    const { outcome } = await ask(log, { group: 'main', to: B }, { next: () => void setTimeout(finish, 20) });
    expect(outcome).toMatchObject({ kind: 'done', group: 'main', from: A, to: B, epoch: log.epoch });
  });

  test('says so when it was called off', async () => {
    const log = running();
    const { outcome } = await ask(log, {}, { next: () => log.must(at(log).resume()) });
    expect(outcome).toEqual(refused(/called off: a is still the primary/));
  });

  test('ends with the client that asked', async () => {
    const { outcome } = await ask(running(), {}, { signal: AbortSignal.timeout(30) });
    expect(outcome.kind).toBe('refused');
  });
});
