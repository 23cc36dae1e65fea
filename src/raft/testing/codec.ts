// Memberships as JSON, for tests of the core: it takes any codec, and the real one lives elsewhere. Never used outside tests.
import { peerId } from '../../base/ids.ts';
import type { PeerId } from '../../base/ids.ts';
import type { Membership, MembershipCodec } from '../types.ts';

interface Written {
  readonly voters: string[];
  readonly learners: string[];
  readonly addresses: [string, string][];
  readonly incarnation: number;
}

export const JSON_CODEC: MembershipCodec = {
  encode: (membership) =>
    new TextEncoder().encode(JSON.stringify({ ...membership, addresses: [...membership.addresses] })),
  decode: (data) => {
    const written = JSON.parse(new TextDecoder().decode(data)) as Written;
    return {
      ...written,
      voters: written.voters.map(peerId),
      learners: written.learners.map(peerId),
      addresses: new Map(written.addresses.map(([peer, address]) => [peerId(peer), address])),
    };
  },
};

/** A membership whose peers are reached at `<name>:1`; with `incarnation` 0 and nobody in it, that of one that joins. */
export function membershipOf(
  voters: readonly PeerId[],
  learners: readonly PeerId[] = [],
  incarnation = voters.length === 0 ? 0 : 1,
): Membership {
  const addresses = new Map([...voters, ...learners].map((peer) => [peer, `${peer}:1`]));
  return { voters, learners, addresses, incarnation };
}
