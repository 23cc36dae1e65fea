// Who is calling: what the sender of a link says about itself in the metadata of the call, and whether the receiver takes
// it. Must never accept a peer of another cluster or incarnation, a stranger, a replaced disk, or somebody who meant
// another peer. Pure but for reading and writing metadata.
import { Metadata } from '@grpc/grpc-js';
import { isName, type PeerId } from '../base/ids.ts';
import { type Acquaintance, receive } from '../cluster/acquaintance.ts';
import { METADATA_BYTES_MAX, metadataBytes, parseTarget } from './grpc-adapter.ts';

/** Raised when the messages change in a way that a peer of an older version would misread. */
export const WIRE_VERSION = 2;
/** The oldest version this one still talks to. */
export const WIRE_VERSION_MIN = 2;

export interface Hello {
  readonly cluster: string;
  readonly from: string;
  readonly to: string;
  /** Differs for every start of the process: two processes under one name are told apart by it. */
  readonly run: string;
  /** Where the sender is reached, `host:port`: a receiver that was told nothing yet answers there. */
  readonly address: string;
  /** Id of the sender's Raft store. */
  readonly store: string;
  /** Of the sender's membership; 0: it was told of none yet. */
  readonly incarnation: number;
  /** Log index of the sender's membership; 0: its initial one. */
  readonly membershipIndex: number;
  /** The same of the latest membership in the sender's log, committed or not. */
  readonly logMembershipIndex: number;
  /** The peers that its cluster began with, in the order of their names; empty: it does not know them. */
  readonly founders: readonly string[];
  /** Highest feature level of the sender's version. */
  readonly features: number;
  readonly wireVersion: number;
  readonly wireVersionMin: number;
}

/** What the receiver is and whom it knows. */
export interface Identity {
  readonly clusterId: string;
  readonly self: PeerId;
  readonly incarnation: number;
  readonly membershipIndex: number;
  readonly logMembershipIndex: number;
  /** As in {@link Hello}. */
  readonly founders: readonly PeerId[];
  /** Up to where the log is known to be committed, now. */
  readonly commitIndex: () => number;
  readonly members: ReadonlySet<PeerId>;
  /** The stores that the log has registered for a peer: more than one only while it is not known which of them is committed. */
  readonly storeIds: ReadonlyMap<PeerId, ReadonlySet<string>>;
}

export type Verdict =
  | { readonly kind: 'accepted'; readonly from: PeerId }
  | Refusal
  /** Of this cluster, but a later incarnation than ours: also refused, and the daemon must know. */
  | (Omit<Refusal, 'kind'> & {
      readonly kind: 'ahead';
      readonly from: PeerId;
      readonly incarnation: number;
    });

export interface Refusal {
  readonly kind: 'refused';
  /** The same for the same peer and reason, so that it is reported once. */
  readonly key: string;
  readonly reason: string;
  /** It began with other peers than we did: it was founded by mistake. */
  readonly isFoundedElsewhere?: true;
}

/** Who refused: in the trailers of a refusal, so that the refused one learns of a later incarnation. */
export interface Refuser {
  readonly cluster: string;
  readonly from: string;
  readonly incarnation: number;
}

const ID_LENGTH_MAX = 64;

export function helloMetadata(hello: Hello): Metadata {
  const metadata = new Metadata();
  metadata.set('pgs-cluster', hello.cluster);
  metadata.set('pgs-from', hello.from);
  metadata.set('pgs-to', hello.to);
  metadata.set('pgs-run', hello.run);
  metadata.set('pgs-address', hello.address);
  metadata.set('pgs-store', hello.store);
  metadata.set('pgs-incarnation', String(hello.incarnation));
  metadata.set('pgs-membership', String(hello.membershipIndex));
  metadata.set('pgs-log-membership', String(hello.logMembershipIndex));
  metadata.set('pgs-founders', hello.founders.join(','));
  metadata.set('pgs-features', String(hello.features));
  metadata.set('pgs-wire', String(hello.wireVersion));
  metadata.set('pgs-wire-min', String(hello.wireVersionMin));
  return metadata;
}

/**
 * Missing or unreadable parts become empty strings and NaN, which {@link judgeHello} refuses. Undefined where there is more
 * metadata than {@link METADATA_BYTES_MAX}.
 */
export function readHello(metadata: Metadata): Hello | undefined {
  if (metadataBytes(metadata) > METADATA_BYTES_MAX) return undefined;
  // Left out by the versions before it.
  const hasLog = metadata.get('pgs-log-membership').length > 0;
  return {
    cluster: text(metadata, 'pgs-cluster'),
    from: text(metadata, 'pgs-from'),
    to: text(metadata, 'pgs-to'),
    run: text(metadata, 'pgs-run'),
    address: text(metadata, 'pgs-address'),
    store: text(metadata, 'pgs-store'),
    incarnation: number(metadata, 'pgs-incarnation'),
    membershipIndex: number(metadata, 'pgs-membership'),
    logMembershipIndex: number(metadata, hasLog ? 'pgs-log-membership' : 'pgs-membership'),
    founders: text(metadata, 'pgs-founders').split(',').filter(Boolean),
    features: number(metadata, 'pgs-features'),
    wireVersion: number(metadata, 'pgs-wire'),
    wireVersionMin: number(metadata, 'pgs-wire-min'),
  };
}

export function refuserMetadata(identity: Identity): Metadata {
  const metadata = new Metadata();
  metadata.set('pgs-cluster', identity.clusterId);
  metadata.set('pgs-from', identity.self);
  metadata.set('pgs-incarnation', String(identity.incarnation));
  return metadata;
}

export function readRefuser(metadata: Metadata): Refuser {
  return {
    cluster: text(metadata, 'pgs-cluster'),
    from: text(metadata, 'pgs-from'),
    incarnation: number(metadata, 'pgs-incarnation'),
  };
}

/** Whether `hello`, coming from the network address `origin`, is a peer of ours that means us. */
export function judgeHello(hello: Hello | undefined, identity: Identity, origin: string): Verdict {
  const { self } = identity;
  if (hello === undefined) {
    const reason = `a caller at ${origin}: more than ${METADATA_BYTES_MAX} bytes of metadata; is it a sentineld?`;
    return { kind: 'refused', key: `metadata ${origin}`, reason };
  }
  const name = quote(hello.from);
  const refused = (kind: string, reason: string): Refusal => ({
    kind: 'refused',
    key: `${kind} ${name}`,
    reason: `peer ${name} at ${origin}: ${reason}`,
  });
  if (hello.cluster !== identity.clusterId) {
    const theirs = quote(hello.cluster);
    return refused(
      'cluster',
      `it belongs to cluster ${theirs}, this is cluster "${identity.clusterId}"; correct its list of peers`,
    );
  }
  if (hello.from === self) {
    return refused(
      'self',
      `that is the name of this peer itself; give each peer a name and address of its own`,
    );
  }
  if (hello.to !== self) {
    return refused(
      'to',
      `it meant to reach ${quote(hello.to)}, but this is "${self}"; correct the address of ${quote(hello.to)} there`,
    );
  }
  if (!(hello.wireVersion >= WIRE_VERSION_MIN && hello.wireVersionMin <= WIRE_VERSION)) {
    return refused(
      'wire',
      `it speaks wire versions ${hello.wireVersionMin} to ${hello.wireVersion}, "${self}" speaks ` +
        `${WIRE_VERSION_MIN} to ${WIRE_VERSION}; upgrade the older one`,
    );
  }
  if (!isWellFormed(hello)) {
    return refused('form', `what it says about itself cannot be read; is it a sentineld of this version?`);
  }
  const conflict = foundingConflict(hello, identity);
  if (conflict !== undefined) return { ...refused('founders', conflict), isFoundedElsewhere: true };
  return judgeMember(hello, hello.from as PeerId, identity, refused);
}

/**
 * Two that began with different peers applied the same log to different states: what one takes for a majority the other does not. Their logs
 * look alike from the first entry on, and only this tells them apart.
 */
function foundingConflict(hello: Hello, { self, incarnation, founders }: Identity): string | undefined {
  if (hello.incarnation !== incarnation || hello.founders.length === 0 || founders.length === 0)
    return undefined;
  const [theirs, ours] = [hello.founders, founders].map((names) => names.map(quote).join(', '));
  if (theirs === ours) return undefined;
  return (
    `it was founded with the peers ${theirs}, "${self}" with ${ours}; the one that is new: stop it, delete the folder "raft" in its state ` +
    `directory, correct "peers", set "join: true" where it is added to a cluster that runs, and start it again`
  );
}

/** The part that changes with the log. */
function judgeMember(
  hello: Hello,
  from: PeerId,
  identity: Identity,
  refused: (kind: string, reason: string) => Refusal,
): Verdict {
  const { self, incarnation, members, storeIds } = identity;
  const again = `sentinelctl peer remove ${from}, then sentinelctl peer add ${from} ${hello.address}`;
  const us: Acquaintance = {
    incarnation,
    membershipIndex: identity.membershipIndex,
    commitIndex: identity.commitIndex(),
    isMember: (peer) => members.has(peer),
    storesOf: (peer) => storeIds.get(peer),
  };
  const reception = receive({ ...hello, peer: from }, us);
  switch (reception) {
    case 'welcome':
      return { kind: 'accepted', from };
    case 'ahead': {
      const reason =
        `it belongs to incarnation ${hello.incarnation} of the cluster, "${self}" to incarnation ${incarnation}: the cluster ` +
        `was recovered without "${self}"; stop it, empty its "raft" folder, and add it again: sentinelctl peer add ${self} HOST:PORT`;
      return { ...refused(reception, reason), kind: reception, from, incarnation: hello.incarnation };
    }
    case 'behind':
      return refused(
        reception,
        `it belongs to incarnation ${hello.incarnation} of the cluster, "${self}" to incarnation ${incarnation}: the cluster ` +
          `was recovered without it; stop it, empty its "raft" folder, and add it again: ${again}`,
      );
    case 'stranger': {
      const known = [...members].filter((member) => member !== self).join(', ');
      return refused(
        reception,
        `"${self}" does not know it, only ${known || 'itself'}; if it is to take part: sentinelctl peer add ${from} ${hello.address}`,
      );
    }
    case 'another-store': {
      const known = [...(storeIds.get(from) ?? [])].map(quote).join(' or ');
      return refused(
        reception,
        `its disk was replaced: its store is ${quote(hello.store)}, that of peer "${from}" is ${known}, and it must not ` +
          `vote a second time; ${again}`,
      );
    }
  }
}

function isWellFormed(hello: Hello): boolean {
  const isId = (id: string): boolean => id.length > 0 && id.length <= ID_LENGTH_MAX;
  const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
  return (
    isName(hello.from) &&
    isId(hello.run) &&
    isId(hello.store) &&
    parseTarget(hello.address) !== undefined &&
    isCount(hello.incarnation) &&
    isCount(hello.membershipIndex) &&
    isCount(hello.logMembershipIndex) &&
    hello.founders.every(isName) &&
    isCount(hello.features)
  );
}

function text(metadata: Metadata, key: string): string {
  return String(metadata.get(key)[0] ?? '');
}

function number(metadata: Metadata, key: string): number {
  const digits = text(metadata, key);
  return /^\d{1,16}$/.test(digits) ? Number(digits) : Number.NaN;
}

/** What strangers call themselves, made fit for a log line. */
function quote(words: string): string {
  return JSON.stringify(words.slice(0, 40));
}
