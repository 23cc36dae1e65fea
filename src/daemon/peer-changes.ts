// `sentinelctl peer`: membership changes, hand-over and recovery as a person asks for them. Checks first and says why not; the
// core decides. Only a leader changes the membership: any other peer says who leads. Repeating a request is harmless.
import { delay } from '../base/clock.ts';
import type { PeerId } from '../base/ids.ts';
import { majority } from '../cluster/quorum.ts';
import { type ClusterState, primaryWord } from '../cluster/state.ts';
import type { ChangeRefusal, Membership, MembershipChange } from '../raft/types.ts';
import type { PeerChangeOutcome, PeerHandlers, Transport } from '../transport/types.ts';
import { parseEndpoint } from './config-address.ts';
import type { Consensus } from './consensus.ts';
import { peerList } from './peer-list.ts';
import { recoverAlone } from './recovery.ts';

export interface PeerChangeOptions {
  readonly cluster: string;
  readonly self: PeerId;
  readonly consensus: Pick<Consensus, 'changeMembership' | 'transfer' | 'recover' | 'readIndex' | 'status'>;
  readonly state: () => ClusterState;
  readonly isReachable: (peer: PeerId) => boolean;
  readonly foundingConflict: Transport['foundingConflict'];
}

const CHANGE_TIMEOUT_MS = 5000;
const TRANSFER_TIMEOUT_MS = 3000;
/** A core that is busy with an earlier change, or new in its term, is asked again. */
const RETRY_MS = 50;
const BUSY_TIMEOUT_MS = 10_000;
const CATCH_UP_POLL_MS = 100;
/** A peer that is refused calls again within about two seconds. */
const CALL_AGAIN_MS = 5000;
const VOTER_COUNT_MAX = 9;

export function createPeerHandlers(options: PeerChangeOptions): PeerHandlers {
  const { consensus, self } = options;
  const membership = (): Membership => consensus.status().membership;

  /** Proposes the change, again while the core is busy; undefined once it is made. */
  const change = async (
    wanted: MembershipChange,
    signal: AbortSignal,
  ): Promise<Exclude<PeerChangeOutcome, { kind: 'done' }> | undefined> => {
    const deadlineMs = performance.now() + BUSY_TIMEOUT_MS;
    for (;;) {
      if (consensus.status().role !== 'leader') return notLeader(options);
      const outcome = await consensus.changeMembership(wanted, CHANGE_TIMEOUT_MS);
      if (outcome.kind === 'done') return undefined;
      if (outcome.kind === 'unknown') {
        if (consensus.status().role !== 'leader') return notLeader(options);
        return {
          kind: 'refused',
          reason: `not committed within ${CHANGE_TIMEOUT_MS / 1000} s: no majority of the voters answers; it may still come, see sentinelctl peer list`,
        };
      }
      if (outcome.reason === 'not-leader') return notLeader(options);
      const isBusy = ['change-pending', 'not-ready', 'transferring'].includes(outcome.reason);
      if (!isBusy || signal.aborted || performance.now() > deadlineMs)
        return { kind: 'refused', reason: refusalText(outcome.reason, wanted) };
      await delay(RETRY_MS, signal);
    }
  };

  /** A voter's store must be known to all, or one with a replaced disk could vote again under its name. */
  const promoteRegistered = async (peer: PeerId, signal: AbortSignal): ReturnType<typeof change> => {
    if (consensus.status().role === 'leader' && !options.state().peers.has(peer))
      return { kind: 'refused', reason: refusalText('learner-behind', { peer }) };
    return change({ kind: 'promote', peer }, signal);
  };

  const conflictFromNowOn = (peer: PeerId): (() => string | undefined) => {
    const startedMs = performance.now();
    return () => options.foundingConflict(peer, performance.now() - startedMs);
  };

  /** One that had a conflict is given the time to call again: it may just have been put right. */
  const lastingConflict = async (peer: PeerId, signal: AbortSignal): Promise<string | undefined> => {
    const conflictNow = conflictFromNowOn(peer);
    const deadlineMs = performance.now() + CALL_AGAIN_MS;
    while (options.foundingConflict(peer, Infinity) !== undefined && performance.now() < deadlineMs) {
      const conflict = conflictNow();
      if (conflict !== undefined || signal.aborted) return conflict;
      await delay(CATCH_UP_POLL_MS, signal);
    }
    return undefined;
  };

  /** Until the learner has received what is committed, or the caller is gone. */
  const promoteWhenCaughtUp = async (peer: PeerId, signal: AbortSignal): Promise<PeerChangeOutcome> => {
    const conflictNow = conflictFromNowOn(peer);
    for (;;) {
      const outcome = await promoteRegistered(peer, signal);
      if (outcome === undefined) return done(`${peer} is a voter`);
      if (outcome.kind !== 'refused' || outcome.reason !== refusalText('learner-behind', { peer }))
        return outcome;
      if (signal.aborted) return outcome;
      const conflict = conflictNow();
      if (conflict !== undefined) return { kind: 'refused', reason: conflict };
      await delay(CATCH_UP_POLL_MS, signal);
    }
  };

  return {
    list: () => peerList(options),

    async add({ peer, address, learnerOnly }, signal) {
      if (consensus.status().role !== 'leader') return notLeader(options);
      const now = membership();
      const obstacle = obstacleToAdd(now, peer, address) ?? (await lastingConflict(peer, signal));
      if (obstacle !== undefined) return { kind: 'refused', reason: obstacle };
      if (now.voters.includes(peer)) return done(`${peer} is a voter already`);
      if (!now.learners.includes(peer)) {
        const outcome = await change({ kind: 'add-learner', peer, address }, signal);
        if (outcome !== undefined) return outcome;
      }
      if (learnerOnly) return done(`${peer} is a learner`);
      return promoteWhenCaughtUp(peer, signal);
    },

    async promote({ peer }, signal) {
      if (consensus.status().role !== 'leader') return notLeader(options);
      const now = membership();
      if (now.voters.includes(peer)) return done(`${peer} is a voter already`);
      if (!now.learners.includes(peer)) return unknownPeer(now, peer);
      return (await promoteRegistered(peer, signal)) ?? done(`${peer} is a voter`);
    },

    async remove({ peer }, signal) {
      if (consensus.status().role !== 'leader') return notLeader(options);
      const now = membership();
      if (!isMember(now, peer)) return unknownPeer(now, peer);
      const obstacle = obstacleToRemove(options, now, peer);
      if (obstacle !== undefined) return { kind: 'refused', reason: obstacle };
      if (peer === self) {
        // The next leader removes this one: a leader that is no member any more could not see it through.
        const next = mostCurrentVoter(options, now);
        if (next !== undefined && (await consensus.transfer(next, TRANSFER_TIMEOUT_MS)) !== undefined)
          return notLeader(options);
      }
      return (await change({ kind: 'remove', peer }, signal)) ?? done(`${peer} is no member any more`);
    },

    async move({ peer, address }, signal) {
      if (consensus.status().role !== 'leader') return notLeader(options);
      const now = membership();
      if (!isMember(now, peer)) return unknownPeer(now, peer);
      const obstacle = obstacleToAddress(now, peer, address);
      if (obstacle !== undefined) return { kind: 'refused', reason: obstacle };
      if (now.addresses.get(peer) === address) return done(`${peer} is at ${address} already`);
      return (await change({ kind: 'move', peer, address }, signal)) ?? done(`${peer} is at ${address}`);
    },

    async transfer({ to }) {
      const status = consensus.status();
      if (status.leader === to) return done(`${to} is the leader already`);
      if (status.role !== 'leader') return notLeader(options);
      if (!isMember(status.membership, to)) return unknownPeer(status.membership, to);
      if (!status.membership.voters.includes(to))
        return { kind: 'refused', reason: `${to} is a learner: only a voter can lead` };
      if (!options.isReachable(to))
        return { kind: 'refused', reason: `${to} cannot be reached from the leader, ${self}` };
      const leader = await consensus.transfer(to, TRANSFER_TIMEOUT_MS);
      if (leader === to) return done(`${to} is the leader`);
      return {
        kind: 'refused',
        reason:
          leader === undefined
            ? `${to} did not take over within ${TRANSFER_TIMEOUT_MS / 1000} s; ${self} leads on`
            : `${leader} took over instead of ${to}`,
      };
    },

    recover: ({ lost }) => recoverAlone(options, lost),
  };
}

const done = (detail: string): PeerChangeOutcome => ({ kind: 'done', detail });

/** Where to ask instead. */
function notLeader(options: PeerChangeOptions): Extract<PeerChangeOutcome, { kind: 'not-leader' }> {
  const { leader, membership } = options.consensus.status();
  const address = leader === undefined ? undefined : membership.addresses.get(leader);
  if (leader === undefined || leader === options.self || address === undefined) return { kind: 'not-leader' };
  return { kind: 'not-leader', leader: { peer: leader, address } };
}

function isMember(membership: Membership, peer: PeerId): boolean {
  return membership.voters.includes(peer) || membership.learners.includes(peer);
}

function unknownPeer(membership: Membership, peer: PeerId): PeerChangeOutcome {
  const names = [...membership.voters, ...membership.learners].toSorted().join(', ');
  return { kind: 'refused', reason: `there is no peer ${peer}; there are: ${names}` };
}

function obstacleToAdd(membership: Membership, peer: PeerId, address: string): string | undefined {
  const present = membership.addresses.get(peer);
  if (isMember(membership, peer))
    return present === address
      ? undefined
      : `${peer} is a member already, at ${present}; sentinelctl peer move ${peer} ${address} changes that`;
  if (membership.voters.length >= VOTER_COUNT_MAX)
    return `there are ${membership.voters.length} voters, and more than ${VOTER_COUNT_MAX} are too slow to agree`;
  return obstacleToAddress(membership, peer, address);
}

function obstacleToAddress(membership: Membership, peer: PeerId, address: string): string | undefined {
  if (parseEndpoint(address) === undefined) return `"${address}" is not an address: expected HOST:PORT`;
  const [owner] =
    [...membership.addresses].find(([other, known]) => other !== peer && known === address) ?? [];
  return owner === undefined ? undefined : `${address} is the address of peer ${owner}`;
}

/** What is left must be able to decide: otherwise the change could be the last one. */
function obstacleToRemove(
  options: PeerChangeOptions,
  membership: Membership,
  peer: PeerId,
): string | undefined {
  const led = [...options.state().groups.values()].find(
    (group) => options.state().nodes.get(group.phase.primary)?.peer === peer,
  );
  if (led !== undefined)
    return led.phase.kind === 'following'
      ? `its node ${led.phase.primary} is ${primaryWord(led).name}, which no agent would look after; ${primaryWord(led).remedy}`
      : `its node ${led.phase.primary} is the primary of group ${led.id}, which no agent would look after; run sentinelctl failover ${led.id} first`;
  if (!membership.voters.includes(peer)) return undefined;
  const rest = membership.voters.filter((voter) => voter !== peer);
  if (rest.length === 0) return `${peer} is the last voter`;
  const lost = rest.filter((voter) => voter !== options.self && !options.isReachable(voter));
  const needed = majority(rest.length);
  if (rest.length - lost.length >= needed) return undefined;
  const names = lost.join(', ');
  return `without ${peer}, ${needed} of ${rest.join(', ')} would have to agree, but ${names} cannot be reached; remove ${names} first, or bring it back`;
}

/** The voter that lacks least, of those that answer. */
function mostCurrentVoter(options: PeerChangeOptions, membership: Membership): PeerId | undefined {
  const { matchIndex } = options.consensus.status();
  const [best] = membership.voters
    .filter((voter) => voter !== options.self && options.isReachable(voter))
    .toSorted((a, b) => (matchIndex(b) ?? 0) - (matchIndex(a) ?? 0));
  return best;
}

function refusalText(reason: ChangeRefusal, change: Pick<MembershipChange, 'peer'>): string {
  const { peer } = change;
  switch (reason) {
    case 'not-leader':
      return 'this peer is not the leader';
    case 'transferring':
      return 'leadership is being handed over; try again';
    case 'not-ready':
      return 'the leader is new and has committed nothing in its term yet; try again';
    case 'change-pending':
      return 'an earlier change is not committed yet: no majority of the voters answers';
    case 'unknown-peer':
      return `there is no peer ${peer}`;
    case 'already-member':
      return `${peer} is a member already`;
    case 'learner-behind':
      return `${peer} has not received yet what is committed`;
    case 'no-contact':
      return `${peer} does not answer, or too few of those that would be voters with it do: nothing could be committed any more`;
    case 'last-voter':
      return `${peer} is the last voter`;
  }
}
