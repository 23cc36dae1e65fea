// One process's proposals over a log that loses, repeats and delays: each counts at most once, and exactly once where it is answered.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logIndex } from '../base/ids.ts';
import { apply, emptyState } from './apply.ts';
import { decodeEnvelope } from './codec.ts';
import { listEvents } from './event-list.ts';
import { OUTSTANDING_COUNT_MAX, type Proposer, createProposer, hasCome } from './proposer.ts';
import {
  type Log,
  MEMBERSHIP,
  P1,
  P2,
  P3,
  membershipOf,
  newLog,
  opening,
  registration,
  A,
} from './testing/example.ts';

function begin(
  options: { readonly storeId?: string; readonly features?: number; readonly name?: string } = {},
) {
  let runs = 0;
  return createProposer({
    self: P1,
    storeId: options.storeId ?? 'p1-store',
    features: options.features ?? 1,
    newSession: () => `${options.name ?? 'p1'}-run${(runs += 1)}`,
  });
}

const commit = (log: Log, data: Uint8Array): string | undefined => {
  const { command, ...from } = decodeEnvelope(data);
  return log.commit(command, from);
};

/** Submits what opens the session, once, and takes note of what came of it. */
const open = (proposer: Proposer, log: Log): string => {
  const submission = proposer.opening(log.state, 0);
  if (submission !== undefined) commit(log, submission.data);
  return proposer.follow(log.state);
};

describe('a session', () => {
  test('is opened once, before anything is proposed', () => {
    const log = newLog();
    const proposer = begin();
    expect(proposer.propose(registration(A), 0)).toBeUndefined();
    expect(proposer.opening(log.state, 0)).toMatchObject({ proposalId: 'p1-run1-0-0' });
    expect(open(proposer, log)).toBe('opened');
    expect(proposer.opening(log.state, 0)).toBeUndefined();
    expect(proposer.follow(log.state)).toBe('unchanged');
    expect(proposer.propose(registration(A), 0)).toMatchObject({ proposalId: 'p1-run1-1', sequence: 1 });
  });

  test('replaces that of the run before, of which a process that has just started does not know', () => {
    const log = newLog();
    const early = begin({ name: 'again' }).opening(log.state, 0);
    log.must(opening(log));
    const proposer = begin({ name: 'again' });
    expect(commit(log, early?.data ?? new Uint8Array())).toMatch(/before the present session/);
    expect(proposer.follow(log.state)).toBe('unchanged');
    expect(open(proposer, log)).toBe('opened');
  });

  test('is asked for with the same bytes as long as these can succeed', () => {
    const log = newLog();
    const proposer = begin();
    const first = proposer.opening(log.state, 0);
    log.must(registration(A));
    expect(proposer.opening(log.state, 5)).toBe(first);
    log.must(opening(log, P1, { session: 'thief' }));
    expect(proposer.opening(log.state, 5)).not.toEqual(first);
  });

  test('that was replaced is followed by another, under another name', () => {
    const log = newLog();
    const proposer = begin();
    open(proposer, log);
    proposer.propose(registration(A), 0);
    log.must(opening(log, P1, { session: 'thief' }));
    expect(proposer.follow(log.state)).toBe('expired');
    expect([proposer.isOpen, proposer.session]).toEqual([false, 'p1-run2']);
    expect(open(proposer, log)).toBe('opened');
    expect(proposer.propose(registration(A), 0)).toMatchObject({ proposalId: 'p1-run2-1' });
  });

  test('ends when the peer leaves, and another begins when it comes back', () => {
    const log = newLog();
    const proposer = begin();
    open(proposer, log);
    log.change(membershipOf([P2, P3]));
    expect(proposer.follow(log.state)).toBe('expired');
    expect(proposer.opening(log.state, 0)).toBeUndefined();
    expect(proposer.obstacle(log.state)).toMatch(/p1 is not a member/);
    log.change(membershipOf([P1, P2, P3]));
    expect(open(proposer, log)).toBe('opened');
  });

  test('is not asked for with another disk or too old a version', () => {
    const log = newLog();
    for (const peer of [P1, P2, P3]) log.must(opening(log, peer, { features: 2 }));
    const wiped = begin({ storeId: 'new' });
    expect(wiped.opening(log.state, 0)).toBeUndefined();
    expect(wiped.obstacle(log.state)).toMatch(/its disk was replaced/);
    const old = begin();
    expect(old.obstacle(log.state)).toBeUndefined();
    log.must({ kind: 'set-feature-level', level: 2 });
    expect(old.obstacle(log.state)).toMatch(/understands feature level 1, level 2 is in use: upgrade it/);
    expect(old.opening(log.state, 0)).toBeUndefined();
  });
});

describe('a proposal', () => {
  test('says below which all are settled', () => {
    const log = newLog();
    const proposer = begin();
    open(proposer, log);
    const answeredBelow = (): number | undefined => {
      const submission = proposer.propose(registration(A), 0);
      return submission && decodeEnvelope(submission.data).answeredBelow;
    };
    expect([answeredBelow(), answeredBelow(), answeredBelow()]).toEqual([1, 1, 1]);
    proposer.settle(2);
    expect(answeredBelow()).toBe(1);
    proposer.settle(1);
    expect(answeredBelow()).toBe(3);
    for (const sequence of [3, 4, 5]) proposer.settle(sequence);
    expect(answeredBelow()).toBe(6);
  });

  test('is not made where the oldest that is waited for is too far back', () => {
    const log = newLog();
    const proposer = begin();
    open(proposer, log);
    for (let count = 0; count < OUTSTANDING_COUNT_MAX; count += 1) proposer.propose(registration(A), 0);
    proposer.settle(500);
    expect(proposer.propose(registration(A), 0)).toBeUndefined();
    proposer.settle(1);
    expect(proposer.propose(registration(A), 0)?.sequence).toBe(OUTSTANDING_COUNT_MAX + 1);
  });

  test('whether it has come is known from the state', () => {
    const log = newLog();
    const proposer = begin();
    open(proposer, log);
    const first = proposer.propose(registration(A), 0);
    const of = (sequence: number) => hasCome(log.state, { peer: P1, session: proposer.session, sequence });
    expect(of(1)).toBe(false);
    commit(log, first?.data ?? new Uint8Array());
    expect([of(1), of(2)]).toEqual([true, false]);
    log.must(opening(log, P1, { session: 'thief' }));
    expect(of(1)).toBeUndefined();
  });
});

test('whatever is lost, repeated, delayed or given up: no proposal counts twice, none that was given up before counts, and the state stays small', () => {
  const what = fc.constantFrom(
    'propose',
    'commit',
    'repeat',
    'lose',
    'give up',
    'restart',
    'steal',
  ) as fc.Arbitrary<string>;
  const history = fc.array(fc.tuple(what, fc.nat(1000)), { maxLength: 200 });
  fc.assert(
    fc.property(history, (steps) => {
      let state = emptyState(MEMBERSHIP);
      let runs = 0;
      const start = (): Proposer =>
        createProposer({ self: P1, storeId: 's', features: 1, newSession: () => `run${(runs += 1)}` });
      let proposer = start();
      /** In the network; what was committed may be again. */
      const network: { readonly id: string; readonly sequence: number; readonly data: Uint8Array }[] = [];
      const counted: string[] = [];
      const waiting = new Set<number>();
      const take = (number: number) => network[number % Math.max(1, network.length)];
      const commitOne = (item: (typeof network)[number] | undefined): void => {
        if (item === undefined) return;
        const envelope = decodeEnvelope(item.data);
        const before = listEvents(state.events).length;
        state = apply(state, logIndex(state.appliedIndex + 1), envelope).state;
        if (listEvents(state.events).length > before && envelope.command.kind !== 'open-session')
          counted.push(item.id);
        if (envelope.session === proposer.session && item.sequence > 0) {
          proposer.settle(item.sequence);
          waiting.delete(item.sequence);
        }
        if (proposer.follow(state) === 'expired') waiting.clear();
      };
      for (const [step, number] of steps) {
        const opens = proposer.opening(state, 0);
        if (opens !== undefined && number % 2 === 0)
          network.push({ id: `${opens.proposalId} ${state.appliedIndex}`, sequence: 0, data: opens.data });
        if (step === 'propose') {
          const submission = proposer.propose(registration(A), 0);
          if (submission === undefined) continue;
          waiting.add(submission.sequence);
          network.push({ id: submission.proposalId, ...submission });
        }
        if (step === 'commit' || step === 'repeat') commitOne(take(number));
        if (step === 'commit' || step === 'lose') network.splice(number % Math.max(1, network.length), 1);
        if (step === 'give up')
          for (const sequence of [...waiting].slice(0, 1)) {
            proposer.settle(sequence);
            waiting.delete(sequence);
          }
        if (step === 'restart') {
          proposer = start();
          waiting.clear();
        }
        if (step === 'steal' && number % 5 === 0) {
          const thief = start();
          const submission = thief.opening(state, 0);
          if (submission !== undefined) commitOne({ id: 'thief', sequence: 0, data: submission.data });
        }
      }
      expect(counted).toHaveLength(new Set(counted).size);
      const peer = state.peers.get(P1);
      expect(peer?.done.every((sequence) => sequence > peer.floor) ?? true).toBe(true);
    }),
    { numRuns: 1500 },
  );
});
