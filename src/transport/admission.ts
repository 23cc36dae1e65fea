// Who is let in, and which streams are open: judges each call by its hello, and all open ones again when what this peer
// knows has changed. Must never leave two streams of one peer on one channel, nor two processes under one name.
import { type Metadata, status } from '@grpc/grpc-js';
import type { PeerId } from '../base/ids.ts';
import { isPerhapsMember } from '../cluster/acquaintance.ts';
import {
  type Hello,
  type Identity,
  judgeHello,
  readHello,
  refuserMetadata,
  type Verdict,
} from './handshake.ts';
import type { Transport, TransportHandlers } from './types.ts';

export type Channel = 'append' | 'control' | 'snapshot';

/** The part of a gRPC call that is used here. */
export interface Call {
  readonly metadata: Metadata;
  getPeer(): string;
}

/** Ends a call. */
export type Fail = (code: status, details: string, trailers?: Metadata) => void;

/** A call that was let in. */
export interface Stream {
  readonly from: PeerId;
  readonly channel: Channel;
  readonly hello: Hello;
  readonly origin: string;
  readonly fail: Fail;
}

export interface Admission {
  /** The stream, or undefined where the call was refused and has been ended. */
  admit(channel: Channel, call: Call, fail: Fail): Stream | undefined;
  /** False once the stream has ended, or a newer one of the same peer has replaced it: then nothing of it counts. */
  isOpen(stream: Stream): boolean;
  /** Something came from that peer just now. */
  heard(stream: Stream): void;
  /** When the peer was last heard from, on `nowMs`'s scale; undefined if never. */
  heardAtMs(peer: PeerId): number | undefined;
  readonly foundingConflict: Transport['foundingConflict'];
  ended(stream: Stream): void;
  /** Says something to the daemon once for each `key`. */
  reportOnce(key: string, detail: string): void;
  /** Judges all open streams again. */
  setIdentity(identity: Identity): void;
  close(): void;
}

/** Peers that a peer which was told nothing yet listens to at the same time. */
export const JOINER_PEERS_MAX = 16;
/** Two processes under one name: the second is refused while the first was heard from this lately. */
const RIVAL_MS = 1000;
/** Different refusals that are remembered as reported. */
const REPORTED_COUNT_MAX = 1000;

export function createAdmission(options: {
  readonly identity: Identity;
  readonly handlers: Pick<TransportHandlers, 'onRefused' | 'onHigherIncarnation'>;
  readonly nowMs: () => number;
  /** A peer was let in that knows a later membership than this one, or (not `isCertain`) may: it has to be answered at its own address. */
  readonly onCallerAhead: (from: PeerId, hello: Hello, isCertain: boolean) => void;
}): Admission {
  const { handlers, nowMs } = options;
  const streams = new Map<string, Stream>();
  const heard = new Map<PeerId, number>();
  const reported = new Set<string>();
  const foundedElsewhere = new Map<string, { readonly reason: string; readonly atMs: number }>();
  let identity = options.identity;
  let closed = false;

  const reportOnce = (key: string, detail: string): void => {
    if (reported.has(key) || reported.size >= REPORTED_COUNT_MAX) return;
    reported.add(key);
    handlers.onRefused(detail);
  };

  /** Ends what was refused, and says so. */
  const refuse = (fail: Fail, verdict: Exclude<Verdict, { kind: 'accepted' }>): void => {
    reportOnce(verdict.key, `refused ${verdict.reason}`);
    fail(status.FAILED_PRECONDITION, `refused ${verdict.reason}`, refuserMetadata(identity));
    if (verdict.kind === 'ahead') handlers.onHigherIncarnation(verdict.from, verdict.incarnation);
  };

  const noteFounding = (from: string, verdict: Verdict): void => {
    foundedElsewhere.delete(from);
    if (
      verdict.kind === 'refused' &&
      verdict.isFoundedElsewhere === true &&
      foundedElsewhere.size < REPORTED_COUNT_MAX
    )
      foundedElsewhere.set(from, { reason: verdict.reason, atMs: nowMs() });
  };

  /** Another living process that calls itself `from`: two votes under one name must not be. */
  const rivalOf = (from: PeerId, run: string, origin: string): Verdict | undefined => {
    if (nowMs() - (heard.get(from) ?? -Infinity) >= RIVAL_MS) return undefined;
    const rival = [...streams.values()].find((stream) => stream.from === from && stream.hello.run !== run);
    if (rival === undefined) return undefined;
    const reason = `peer "${from}" at ${origin}: another process at ${rival.origin} has that name; stop one of them`;
    return { kind: 'refused', key: `rival ${from} ${run}`, reason };
  };

  const crowdOf = (from: PeerId): Verdict | undefined => {
    if (identity.incarnation > 0) return undefined;
    const others = new Set([...streams.values()].map((stream) => stream.from));
    if (others.has(from) || others.size < JOINER_PEERS_MAX) return undefined;
    const reason = `peer "${from}": ${JOINER_PEERS_MAX} peers speak to this one already, which was not added yet`;
    return { kind: 'refused', key: `crowd ${from}`, reason };
  };

  return {
    admit(channel, call, fail) {
      const hello = readHello(call.metadata);
      const origin = hostOf(call);
      let verdict = judgeHello(hello, identity, origin);
      if (hello !== undefined) noteFounding(hello.from, verdict);
      if (verdict.kind === 'accepted' && hello !== undefined)
        verdict = rivalOf(verdict.from, hello.run, origin) ?? crowdOf(verdict.from) ?? verdict;
      if (verdict.kind !== 'accepted' || hello === undefined) {
        if (verdict.kind !== 'accepted') refuse(fail, verdict);
        return undefined;
      }
      if (closed) {
        fail(status.UNAVAILABLE, `"${identity.self}" is stopping`);
        return undefined;
      }
      const stream: Stream = { from: verdict.from, channel, hello, origin, fail };
      const replaced = streams.get(keyOf(stream));
      streams.set(keyOf(stream), stream);
      replaced?.fail(status.ABORTED, 'replaced by a newer stream');
      const isCertain = identity.incarnation === 0 || hello.membershipIndex > identity.membershipIndex;
      if (isCertain || isPerhapsAhead(hello, stream.from, identity))
        options.onCallerAhead(stream.from, hello, isCertain);
      return stream;
    },
    isOpen: (stream) => streams.get(keyOf(stream)) === stream,
    heard: (stream) => void heard.set(stream.from, nowMs()),
    heardAtMs: (peer) => heard.get(peer),
    foundingConflict(peer, withinMs) {
      const conflict = foundedElsewhere.get(peer);
      return conflict !== undefined && nowMs() - conflict.atMs <= withinMs ? conflict.reason : undefined;
    },
    ended(stream) {
      if (streams.get(keyOf(stream)) === stream) streams.delete(keyOf(stream));
    },
    reportOnce,
    setIdentity(next) {
      identity = next;
      for (const [key, stream] of [...streams]) {
        const verdict = judgeHello(stream.hello, identity, stream.origin);
        if (verdict.kind === 'accepted') continue;
        streams.delete(key);
        heard.delete(stream.from);
        refuse(stream.fail, verdict);
      }
    },
    close() {
      closed = true;
      streams.clear();
    },
  };
}

/** Nobody told us of it, or of where it is now. */
function isPerhapsAhead(hello: Hello, from: PeerId, identity: Identity): boolean {
  const us = { incarnation: identity.incarnation, commitIndex: identity.commitIndex() };
  return !identity.members.has(from) && isPerhapsMember(hello, us);
}

function keyOf(stream: Stream): string {
  return `${stream.from} ${stream.channel}`;
}

/** Without the port, which differs for each connection. */
function hostOf(call: Call): string {
  return call.getPeer().replace(/:\d+$/, '');
}
