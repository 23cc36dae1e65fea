// What must hold of memberships and snapshots, checked from outside the core. Never used outside tests.
import type { LogIndex } from '../../base/ids.ts';
import type { Raft } from '../state.ts';
import type { Entry, Membership, RaftEffect, Snapshot } from '../types.ts';
import { JSON_CODEC } from './codec.ts';
import { appliedFrom } from './state-machine.ts';

export interface MembershipInvariants {
  onRestart(raft: Raft, initial: Membership): void;
  afterStep(raft: Raft, effects: readonly RaftEffect[], committedCount: number): void;
  /** The next entry was committed by somebody for the first time, and the state after it has this digest. */
  onFirstCommit(entry: Entry, digest: number): void;
  onRestore(snapshot: Snapshot): void;
  /** The newest one that is committed. */
  committed(): Membership;
}

export function createMembershipInvariants(
  initial: Membership,
  fail: (property: string, detail: string) => never,
): MembershipInvariants {
  const configs: { readonly index: number; readonly membership: Membership }[] = [
    { index: 0, membership: initial },
  ];
  /** Of the state after each committed entry. */
  const digests: number[] = [0];

  const committedAt = (index: LogIndex): Membership =>
    configs.findLast((config) => config.index <= index)?.membership ?? initial;

  const checkSnapshot = (snapshot: Snapshot): void => {
    const state = appliedFrom(snapshot);
    if (state.index !== snapshot.index || state.digest !== digests[snapshot.index])
      fail('StateMachineSafety', `the snapshot at ${snapshot.index} holds another state`);
    if (textOf(snapshot.membership) !== textOf(committedAt(snapshot.index)))
      fail('SnapshotHoldsMembership', `at ${snapshot.index}: ${textOf(snapshot.membership)}`);
  };

  /** Looks at the whole log, which the core never does. */
  const checkInForce = (raft: Raft, started: Membership | undefined): void => {
    const newest = raft.log.entries.findLast((entry) => entry.kind === 'config');
    const expected =
      newest === undefined
        ? (raft.snapshot?.membership ?? started ?? raft.initialMembership)
        : JSON_CODEC.decode(newest.data);
    if (textOf(raft.membership) !== textOf(expected))
      fail(
        'ConfigFromDurableLog',
        `${raft.self} has ${textOf(raft.membership)}, its log ${textOf(expected)}`,
      );
    if (raft.membershipIndex !== (newest?.index ?? 0))
      fail('ConfigFromDurableLog', `${raft.self} says entry ${raft.membershipIndex}, not ${newest?.index}`);
  };

  return {
    onRestart: (raft, started) => checkInForce(raft, started),
    afterStep: (raft, effects, committedCount) => {
      const isNews = effects.some(({ kind }) => kind === 'membership' || kind === 'restore');
      const snapshot = effects.findLast(
        (effect) => effect.kind === 'persist' && effect.snapshot !== undefined,
      );
      if (isNews || snapshot !== undefined) checkInForce(raft, undefined);
      if (raft.snapshot !== undefined && snapshot !== undefined) checkSnapshot(raft.snapshot);
      const pending = raft.configs.filter(({ index }) => index > committedCount);
      if (pending.length > 1)
        fail('AtMostOneUncommittedConfig', `${raft.self}: ${pending.map(({ index }) => index).join(', ')}`);
      checkAdjacent(raft, fail);
    },
    onFirstCommit: (entry, digest) => {
      digests.push(digest);
      if (entry.kind === 'config')
        configs.push({ index: entry.index, membership: JSON_CODEC.decode(entry.data) });
    },
    onRestore: checkSnapshot,
    committed: () => configs.at(-1)?.membership ?? initial,
  };
}

/** Two memberships that follow each other differ by at most one voter. */
function checkAdjacent(raft: Raft, fail: (property: string, detail: string) => never): void {
  for (const [position, { membership, index }] of raft.configs.entries()) {
    const before = raft.configs[position - 1]?.membership;
    if (before === undefined) continue;
    const gone = before.voters.filter((voter) => !membership.voters.includes(voter));
    const come = membership.voters.filter((voter) => !before.voters.includes(voter));
    if (gone.length + come.length > 1) fail('OneServerAtATime', `${raft.self}: entry ${index}`);
  }
}

function textOf(membership: Membership): string {
  return new TextDecoder().decode(JSON_CODEC.encode(membership));
}
