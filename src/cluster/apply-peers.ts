// Commands about the peers themselves: sessions, by which each proposal counts once, and the level of features in use.
import { type LogIndex, NAME_RULE, isName } from '../base/ids.ts';
import { type Applied, type CommandOf, refuse, withPeer } from './applied.ts';
import type { Envelope } from './commands.ts';
import { CANDIDATES_FEATURE_LEVEL, featureLevelRefusal } from './features.ts';
import { type ClusterState, DONE_COUNT_MAX, type PeerState } from './state.ts';

/** The first run of a peer's process registers its store, each later one replaces the session before. Repeating it is harmless. */
export function applyOpenSession(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'open-session'>,
): Applied {
  const { peer, store, session, features, seenIndex } = command;
  const { voters, learners } = state.membership;
  if (!voters.includes(peer) && !learners.includes(peer)) return refuse(`${peer} is not a member`);
  const known = state.peers.get(peer);
  if (known !== undefined && known.store !== store) {
    // mark: store-replaced
    return refuse(storeRefusal(peer));
  }
  if (known?.session === session) {
    // mark: session-opened-again
    return state;
  }
  if (seenIndex < (known?.openedAt ?? state.membershipIndex)) {
    // mark: session-opened-late
    return refuse(`asked for before the present session of ${peer} was known there`);
  }
  if (features < state.featureLevel)
    return refuse(
      `${peer} understands feature level ${features}, level ${state.featureLevel} is in use: upgrade it`,
    );
  const site = known?.site === undefined ? {} : { site: known.site };
  const host = known?.host === undefined ? {} : { host: known.host };
  const fresh = { peer, store, session, openedAt: index, floor: 1, done: [], features };
  return withPeer(state, { ...fresh, ...site, ...host });
}

/** Where the peer is. Repeating it is harmless. */
export function applyDescribePeer(state: ClusterState, { peer, site }: CommandOf<'describe-peer'>): Applied {
  if (state.featureLevel < CANDIDATES_FEATURE_LEVEL)
    return refuse('not every peer understands sites yet: upgrade all of them first');
  if (site !== undefined && !isName(site))
    return refuse(`"${site}" is not the name of a site: expected ${NAME_RULE}`);
  const known = state.peers.get(peer);
  if (known === undefined) return refuse(`${peer} is not a member that has opened a session`);
  const { site: _, ...rest } = known;
  return withPeer(state, site === undefined ? rest : { ...rest, site });
}

export function storeRefusal(peer: string): string {
  return `peer ${peer} comes with another Raft store: its disk was replaced, and with it what it had voted for; remove it and add it again`;
}

export function applySetFeatureLevel(state: ClusterState, command: CommandOf<'set-feature-level'>): Applied {
  const refusal = featureLevelRefusal(state, command.level);
  return refusal === undefined ? { ...state, featureLevel: command.level } : refuse(refusal);
}

/** Whether a proposal counts, as its session remembers it. */
export type Admission =
  /** The first time it comes: the state in which it is remembered. */
  | { readonly kind: 'first'; readonly state: ClusterState }
  /** It came before, or its proposer has given it up. */
  | { readonly kind: 'repeated'; readonly state: ClusterState }
  | { readonly kind: 'refused'; readonly state: ClusterState; readonly reason: string };

/** What a proposer is told whose session is not the present one of any member; it opens another. */
export const SESSION_EXPIRED = 'session-expired';

export function admit(state: ClusterState, envelope: Envelope): Admission {
  // Of the first format, and what opens a session, which is recognised by its content.
  if (envelope.session === '' || envelope.command.kind === 'open-session') return { kind: 'first', state };
  const peer = peerOfSession(state, envelope.session);
  if (peer === undefined) {
    // mark: session-expired
    return { kind: 'refused', state, reason: SESSION_EXPIRED };
  }
  const settled = withFloor(peer, envelope.answeredBelow);
  const { sequence } = envelope;
  if (sequence < settled.floor || settled.done.includes(sequence)) {
    // mark: proposal-repeated
    return { kind: 'repeated', state: settled === peer ? state : withPeer(state, settled) };
  }
  if (sequence === settled.floor) {
    return { kind: 'first', state: withPeer(state, withFloor(settled, sequence + 1)) };
  }
  if (settled.done.length >= DONE_COUNT_MAX) {
    return {
      kind: 'refused',
      state: settled === peer ? state : withPeer(state, settled),
      reason: `more than ${DONE_COUNT_MAX} proposals of session ${envelope.session} came before proposal ${settled.floor}`,
    };
  }
  // mark: proposal-out-of-order
  const done = [...settled.done, sequence].sort((a, b) => a - b);
  return { kind: 'first', state: withPeer(state, { ...settled, done }) };
}

/** At least `floor`, and above every proposal that follows it without a gap. */
function withFloor(peer: PeerState, floor: number): PeerState {
  if (floor <= peer.floor) return peer;
  let next = floor;
  const done = peer.done.filter((sequence) => sequence >= floor);
  while (done[0] === next) {
    done.shift();
    next += 1;
  }
  return { ...peer, floor: next, done };
}

function peerOfSession(state: ClusterState, session: string): PeerState | undefined {
  for (const peer of state.peers.values()) if (peer.session === session) return peer;
  return undefined;
}
