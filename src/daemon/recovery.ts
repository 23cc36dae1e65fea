// `sentinelctl peer recover`: after a majority of the voters is gone for good, one of the rest goes on alone, on the word of a
// person, who names what is lost. Must be refused while a majority could still answer, and when the person is mistaken.
import type { LogIndex, PeerId } from '../base/ids.ts';
import { majority } from '../cluster/quorum.ts';
import type { PeerChangeOutcome } from '../transport/types.ts';
import type { Consensus } from './consensus.ts';

const QUORUM_TIMEOUT_MS = 1500;
const RECOVER_TIMEOUT_MS = 10_000;

export async function recoverAlone(
  options: {
    readonly self: PeerId;
    readonly consensus: Pick<Consensus, 'recover' | 'readIndex' | 'status'>;
    readonly isReachable: (peer: PeerId) => boolean;
  },
  lost: readonly PeerId[],
): Promise<PeerChangeOutcome> {
  const { self, consensus } = options;
  const { membership, lastIndex } = consensus.status();
  const obstacle = obstacleToRecover({ ...options, lost, membership, lastIndex });
  if (obstacle !== undefined) return { kind: 'refused', reason: obstacle };
  if ((await consensus.readIndex(QUORUM_TIMEOUT_MS)) !== undefined) {
    return {
      kind: 'refused',
      reason:
        'a majority of the voters still answers: nothing has to be recovered; see sentinelctl peer remove',
    };
  }
  const outcome = await consensus.recover(RECOVER_TIMEOUT_MS);
  if (outcome.kind !== 'done')
    return {
      kind: 'refused',
      reason: `not written to the disk within ${RECOVER_TIMEOUT_MS / 1000} s; see sentinelctl peer list before trying again`,
    };
  return {
    kind: 'done',
    detail: `${self} is the only voter, incarnation ${outcome.membership.incarnation}; each group is held until all of its nodes have reported`,
  };
}

/** Why not, as far as this peer can see; undefined where nothing speaks against it. */
export function obstacleToRecover(options: {
  readonly self: PeerId;
  readonly membership: { readonly voters: readonly PeerId[]; readonly incarnation: number };
  readonly lastIndex: LogIndex;
  readonly lost: readonly PeerId[];
  readonly isReachable: (peer: PeerId) => boolean;
}): string | undefined {
  const { self, membership, lost } = options;
  const { voters } = membership;
  if (membership.incarnation === 0)
    return `${self} has not been told of any membership yet: it holds nothing to recover from`;
  // A new store holds nothing but the membership of the configuration (beginning.ts).
  if (options.lastIndex <= 1)
    return `${self} holds nothing to recover from: its log is empty, as after its disk was replaced`;
  if (!voters.includes(self)) return `${self} is not a voter; ask one of ${voters.join(', ')}`;
  const others = voters.filter((voter) => voter !== self);
  const strangers = lost.filter((peer) => !others.includes(peer));
  if (strangers.length > 0)
    return `${strangers.join(', ')} ${strangers.length === 1 ? 'is' : 'are'} not among the other voters: ${others.join(', ') || 'none'}`;
  const alive = lost.filter(options.isReachable);
  if (alive.length > 0)
    return `${alive.join(', ')} can be reached from ${self}: not lost; name only what is gone for good`;
  const unreachable = others.filter((voter) => !options.isReachable(voter));
  if (voters.length - unreachable.length >= majority(voters.length))
    return `${voters.length - unreachable.length} of ${voters.length} voters can be reached: they can elect a leader, so nothing has to be recovered`;
  const unnamed = unreachable.filter((voter) => !lost.includes(voter));
  if (unnamed.length > 0)
    return `${unnamed.join(', ')} cannot be reached either: name ${unnamed.length === 1 ? 'it' : 'them'} too if gone for good, or bring ${unnamed.length === 1 ? 'it' : 'them'} back`;
  return undefined;
}
