import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { delay, systemClock, until } from '../base/clock.ts';
import { logIndex, peerId, term, type PeerId } from '../base/ids.ts';
import { membershipCodec } from '../cluster/codec.ts';
import type { Entry, Membership, PersistedSnapshot, RaftMessage } from '../raft/types.ts';
import { DEFAULT_RAFT_SETTINGS } from '../raft/types.ts';
import type { LogStore } from '../storage/log-store.ts';
import { startConsensus, type Consensus } from './consensus.ts';

const [A, B] = [peerId('a'), peerId('b')];
const alone: Membership = {
  voters: [A],
  learners: [],
  addresses: new Map([[A, 'a:1']]),
  incarnation: 1,
};

let committed: Entry[];
let memberships: Membership[];
let snapshots: PersistedSnapshot[];
let sent: { to: PeerId; message: RaftMessage }[];
let writeCount: number;
let failures: unknown[];
let running: Consensus[];

beforeEach(() => {
  [committed, memberships, snapshots, sent, failures, running] = [[], [], [], [], [], []];
  writeCount = 0;
});
afterEach(async () => {
  for (const consensus of running) await consensus.close();
  if (failures.length > 0) throw failures[0] as Error;
});

/** A disk that forgets nothing and is never late. */
const memoryStore = (): LogStore => ({
  hardState: { term: term(0), votedFor: undefined },
  base: { index: logIndex(0), term: term(0) },
  entries: [],
  snapshot: undefined,
  storeId: '0123456789abcdef',
  write: ({ snapshot }) => {
    writeCount += 1;
    if (snapshot !== undefined) snapshots.push(snapshot);
    return Promise.resolve();
  },
  close: () => Promise.resolve(),
});

function start(options: { membership?: Membership; entryCountMax?: number } = {}): Consensus {
  const store = memoryStore();
  const consensus = startConsensus({
    self: A,
    beginning: { ...store, membership: options.membership ?? alone },
    membershipCodec,
    settings: {
      ...DEFAULT_RAFT_SETTINGS,
      electionMs: 20,
      electionSpreadMs: 10,
      heartbeatMs: 10,
      keptEntries: 2,
    },
    store,
    clock: systemClock,
    random: Math.random,
    snapshotLimits: { entryCountMax: options.entryCountMax ?? 1000, bytesMax: 1 << 20 },
    send: (to, message) => void sent.push({ to, message }),
    onCommit: (entries) => void committed.push(...entries),
    onRestore: () => undefined,
    takeState: () => ({ index: committed.at(-1)?.index ?? logIndex(0), data: new Uint8Array([7]) }),
    onMembership: (membership) => void memberships.push(membership),
    onRole: () => undefined,
    onProposalRefused: () => undefined,
    onFatal: (error) => void failures.push(error),
  });
  running.push(consensus);
  return consensus;
}

const leads = (consensus: Consensus): Promise<true> =>
  until(
    { what: 'a leader', timeoutMs: 5000, everyMs: 2 },
    () => consensus.status().role === 'leader' || undefined,
  );

async function leader(options: Parameters<typeof start>[0] = {}): Promise<Consensus> {
  const consensus = start(options);
  await leads(consensus);
  return consensus;
}

async function commit(consensus: Consensus, count: number): Promise<void> {
  const wanted = committed.length + count;
  for (let at = 0; at < count; at++) consensus.propose(`p-${wanted}-${at}`, new Uint8Array([at]));
  await until(
    { what: 'commits', timeoutMs: 5000, everyMs: 2 },
    () => committed.length >= wanted || undefined,
  );
}

test('a single voter elects itself, ticked by its deadlines, and commits', async () => {
  const consensus = await leader();
  await commit(consensus, 3);
  expect(committed.map(({ kind }) => kind)).toEqual(['noop', 'command', 'command', 'command']);
  expect(memberships).toEqual([alone]);
});

describe('a snapshot', () => {
  test('is taken after so many entries, and the log before it goes', async () => {
    const consensus = await leader({ entryCountMax: 10 });
    await commit(consensus, 9);
    await until({ what: 'a snapshot', timeoutMs: 5000, everyMs: 2 }, () => snapshots.length > 0 || undefined);
    expect(snapshots[0]).toMatchObject({ snapshot: { index: 10, membership: alone }, replacesLog: false });
    expect(snapshots[0]?.base.index).toBe(8);
    expect(consensus.status().snapshotIndex).toBe(10);
  });

  test('is not taken, and nothing is written, while nothing happens', async () => {
    const consensus = await leader({ entryCountMax: 2 });
    await commit(consensus, 5);
    await delay(50);
    const before = [snapshots.length, writeCount];
    await delay(200);
    expect([snapshots.length, writeCount]).toEqual(before);
  });
});

describe('a change of the membership', () => {
  test('is done once it is committed, and in force from the beginning', async () => {
    const consensus = await leader();
    const outcome = await consensus.changeMembership({ kind: 'add-learner', peer: B, address: 'b:1' }, 5000);
    expect(outcome).toMatchObject({ kind: 'done', membership: { voters: ['a'], learners: ['b'] } });
    expect(memberships.at(-1)?.learners).toEqual(['b']);
    expect(committed.at(-1)?.kind).toBe('config');
    expect(consensus.status().committed.index).toBe(committed.at(-1)?.index);
    expect(consensus.status().pending).toEqual([]);
  });

  test('is refused with the reason of the core', async () => {
    const consensus = await leader();
    expect(await consensus.changeMembership({ kind: 'remove', peer: A }, 5000)).toEqual({
      kind: 'refused',
      reason: 'last-voter',
    });
    expect(await consensus.changeMembership({ kind: 'promote', peer: B }, 5000)).toEqual({
      kind: 'refused',
      reason: 'unknown-peer',
    });
  });

  test('that no majority acknowledges is of unknown outcome', async () => {
    const consensus = await leader();
    // The new voter is in force at once and never answers.
    await consensus.changeMembership({ kind: 'add-learner', peer: B, address: 'b:1' }, 5000);
    expect(await consensus.transfer(B, 30)).toBeUndefined();
    const outcome = await consensus.changeMembership({ kind: 'promote', peer: B }, 50);
    expect(outcome).toEqual({ kind: 'refused', reason: 'learner-behind' });
  });
});

test('one of several voters recovers alone, in the next incarnation', async () => {
  const three: Membership = { ...alone, voters: [A, B, peerId('c')] };
  const consensus = start({ membership: three });
  await delay(60);
  expect(consensus.status().role).not.toBe('leader');
  const outcome = await consensus.recover(5000);
  expect(outcome).toMatchObject({ kind: 'done', membership: { voters: ['a'], incarnation: 2 } });
  await leads(consensus);
  await commit(consensus, 1);
  // Peers that are added later are sent it, and so never see the earlier incarnation.
  expect(snapshots[0]?.snapshot.membership).toMatchObject({ voters: ['a'], incarnation: 2 });
});

test('a peer that leaves for good sends, writes and answers nothing any more', async () => {
  const consensus = start({ membership: { ...alone, voters: [A, B] } });
  await until(
    { what: 'a request for votes', timeoutMs: 5000, everyMs: 2 },
    () => sent.length > 0 || undefined,
  );
  consensus.leaveForGood();
  const before = [sent.length, writeCount];
  expect(await consensus.readIndex(5000)).toBeUndefined();
  expect(await consensus.recover(5000)).toEqual({ kind: 'unknown' });
  consensus.receive(B, {
    kind: 'vote-request',
    term: term(9),
    preVote: false,
    lastIndex: logIndex(9),
    lastTerm: term(9),
    transfer: false,
  });
  await delay(100);
  expect([sent.length, writeCount]).toEqual(before);
});
