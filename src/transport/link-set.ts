// The links of this peer, one set for each other peer: those it was told of, and those that speak to it and know a later
// membership than it does. Must never keep a link to a peer that has left or moved, nor open more of its own accord than is
// bounded.
import type { PeerId } from '../base/ids.ts';
import { JOINER_PEERS_MAX } from './admission.ts';
import { parseTarget } from './grpc-adapter.ts';
import type { Hello } from './handshake.ts';
import type { PeerLinks } from './peer-links.ts';
import type { PeerAddress } from './types.ts';

export interface LinkSet {
  get(peer: PeerId): PeerLinks | undefined;
  all(): Iterable<PeerLinks>;
  /** From now on exactly these, and the callers that are ahead of us. */
  setPeers(peers: readonly PeerAddress[]): void;
  /**
   * Somebody speaks to us whose membership is that of a later log index than ours, perhaps the leader that has to tell us of it:
   * it is answered at the address (`host:port`) that it gives.
   */
  answerAt(
    peer: PeerId,
    caller: Pick<Hello, 'address' | 'membershipIndex' | 'logMembershipIndex'>,
    /** That it is a later one; otherwise it only may be, and where we were told that it is counts for more. */
    isCertain: boolean,
  ): void;
  /** Forgets the callers that know no more than we do by now. */
  caughtUp(membershipIndex: number): void;
  /** Opens all anew; what is queued is lost. */
  reopen(): void;
  close(): Promise<void>;
}

export function createLinkSet(options: {
  readonly self: PeerId;
  /** What is queued for a peer that goes gets this long to leave. */
  readonly drainMs: number;
  readonly open: (peer: PeerAddress) => PeerLinks;
  /** How this peer reaches another one, where not at the address that it was told. */
  readonly route: (peer: PeerAddress) => PeerAddress;
}): LinkSet {
  const { self, drainMs } = options;
  const links = new Map<PeerId, PeerLinks>();
  const closings = new Set<Promise<void>>();
  let told = new Map<PeerId, PeerAddress>();
  const callers = new Map<
    PeerId,
    { readonly at: PeerAddress; readonly membershipIndex: number; readonly isCertain: boolean }
  >();
  let closed = false;

  const closeLinks = (link: PeerLinks, withinMs: number): void => {
    const closing: Promise<void> = link.close(withinMs).finally(() => closings.delete(closing));
    closings.add(closing);
  };

  /** Closes and opens what is needed. A caller's own word about where it is counts for more than an old list. */
  const bringUpToDate = (): void => {
    const called = (certain: boolean): (readonly [PeerId, PeerAddress])[] =>
      [...callers].filter(([, { isCertain }]) => isCertain === certain).map(([peer, { at }]) => [peer, at]);
    const known = closed ? [] : [...new Map([...called(false), ...told, ...called(true)])];
    const wanted = new Map(known.map(([peer, at]) => [peer, options.route(at)] as const));
    for (const [peer, link] of links) {
      const address = wanted.get(peer);
      if (address !== undefined && isSame(address, link.address)) continue;
      links.delete(peer);
      closeLinks(link, drainMs);
    }
    for (const [peer, address] of wanted) if (!links.has(peer)) links.set(peer, options.open(address));
  };

  return {
    get: (peer) => links.get(peer),
    all: () => links.values(),
    setPeers(peers) {
      told = new Map(peers.filter(({ peer }) => peer !== self).map((peer) => [peer.peer, peer]));
      bringUpToDate();
    },
    answerAt(peer, { address, membershipIndex, logMembershipIndex }, isCertain) {
      const target = parseTarget(address);
      if (target === undefined || closed) return;
      if (!callers.has(peer) && callers.size >= JOINER_PEERS_MAX) return;
      callers.set(peer, {
        at: { peer, ...target },
        membershipIndex: Math.max(membershipIndex, logMembershipIndex),
        isCertain,
      });
      bringUpToDate();
    },
    caughtUp(membershipIndex) {
      for (const [peer, caller] of callers)
        if (caller.membershipIndex <= membershipIndex) callers.delete(peer);
      bringUpToDate();
    },
    reopen() {
      for (const link of links.values()) closeLinks(link, 0);
      links.clear();
      bringUpToDate();
    },
    async close() {
      closed = true;
      bringUpToDate();
      await Promise.all(closings);
    },
  };
}

function isSame(a: PeerAddress, b: PeerAddress): boolean {
  return a.host === b.host && a.port === b.port;
}
