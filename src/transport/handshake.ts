// Who is calling: what the sender of a link says about itself in the metadata of the call, and whether the receiver takes
// it. Must never accept a peer of another cluster, a stranger, or somebody who meant another peer.
import { Metadata } from '@grpc/grpc-js';
import { isName, type PeerId } from '../base/ids.ts';

/** Raised when the messages change in a way that a peer of an older version would misread. */
export const WIRE_VERSION = 1;
/** The oldest version this one still talks to. */
export const WIRE_VERSION_MIN = 1;

export interface Hello {
  readonly cluster: string;
  readonly from: string;
  readonly to: string;
  /** Differs for every start of the process: two processes under one name are told apart by it. */
  readonly run: string;
  readonly wireVersion: number;
  readonly wireVersionMin: number;
}

/** What the receiver is and whom it knows. */
export interface Identity {
  readonly clusterId: string;
  readonly self: PeerId;
  readonly peers: ReadonlySet<PeerId>;
}

export type Verdict =
  | { readonly kind: 'accepted'; readonly from: PeerId; readonly run: string }
  /** `key` is the same for the same peer and reason, so that it is reported once. */
  | { readonly kind: 'refused'; readonly key: string; readonly reason: string };

export function helloMetadata(hello: Hello): Metadata {
  const metadata = new Metadata();
  metadata.set('pgs-cluster', hello.cluster);
  metadata.set('pgs-from', hello.from);
  metadata.set('pgs-to', hello.to);
  metadata.set('pgs-run', hello.run);
  metadata.set('pgs-wire', String(hello.wireVersion));
  metadata.set('pgs-wire-min', String(hello.wireVersionMin));
  return metadata;
}

/** Missing or unreadable parts become empty strings and NaN, which {@link judgeHello} refuses. */
export function readHello(metadata: Metadata): Hello {
  const get = (key: string): string => String(metadata.get(key)[0] ?? '');
  return {
    cluster: get('pgs-cluster'),
    from: get('pgs-from'),
    to: get('pgs-to'),
    run: get('pgs-run'),
    wireVersion: Number.parseInt(get('pgs-wire'), 10),
    wireVersionMin: Number.parseInt(get('pgs-wire-min'), 10),
  };
}

/** Whether `hello`, coming from the network address `origin`, is a peer of ours that means us. */
export function judgeHello(hello: Hello, identity: Identity, origin: string): Verdict {
  const who = `peer ${quote(hello.from)} at ${origin}`;
  const refused = (kind: string, reason: string): Verdict => ({
    kind: 'refused',
    key: `${kind} ${quote(hello.from)}`,
    reason: `${who}: ${reason}`,
  });
  if (hello.cluster !== identity.clusterId) {
    const theirs = quote(hello.cluster);
    return refused(
      'cluster',
      `it belongs to cluster ${theirs}, this is cluster "${identity.clusterId}"; correct its list of peers`,
    );
  }
  if (hello.from === identity.self) {
    return refused(
      'self',
      `that is the name of this peer itself; give each peer a name and address of its own`,
    );
  }
  if (!isName(hello.from) || !identity.peers.has(hello.from as PeerId)) {
    const known = [...identity.peers].join(', ');
    return refused(
      'stranger',
      `"${identity.self}" does not know it, only ${known}; add it to the peers here`,
    );
  }
  if (hello.to !== identity.self) {
    return refused(
      'to',
      `it meant to reach ${quote(hello.to)}, but this is "${identity.self}"; correct the address of ${quote(hello.to)} there`,
    );
  }
  if (!(hello.wireVersion >= WIRE_VERSION_MIN && hello.wireVersionMin <= WIRE_VERSION)) {
    return refused(
      'wire',
      `it speaks wire versions ${hello.wireVersionMin} to ${hello.wireVersion}, "${identity.self}" speaks ` +
        `${WIRE_VERSION_MIN} to ${WIRE_VERSION}; upgrade the older one`,
    );
  }
  return { kind: 'accepted', from: hello.from as PeerId, run: hello.run };
}

/** What strangers call themselves, made fit for a log line. */
function quote(text: string): string {
  return JSON.stringify(text.slice(0, 40));
}
