// The transport of one peer: the gRPC server that other peers and sentinelctl call, the links to the other peers, and the
// one timer that drives them. Must never wait in `send` and never keep a link on the strength of an old sign of life.
import { randomUUID } from 'node:crypto';
import { logVerbosity, Server, setLogVerbosity } from '@grpc/grpc-js';
import { withDeadline } from '../base/clock.ts';
import type { PeerId } from '../base/ids.ts';
import type { MembershipCodec } from '../raft/types.ts';
import { AdminService } from '../gen/pg_sentinel/v1/admin_pb.ts';
import { PeerService } from '../gen/pg_sentinel/v1/raft_pb.ts';
import { createAdmission } from './admission.ts';
import { createAdminService } from './admin-service.ts';
import {
  MESSAGE_BYTES_MAX,
  parseTarget,
  rawServiceDefinition,
  serverCredentials,
  serviceDefinition,
  targetOf,
} from './grpc-adapter.ts';
import { type Hello, type Identity, WIRE_VERSION, WIRE_VERSION_MIN } from './handshake.ts';
import { createInbound } from './inbound.ts';
import { createLinkSet } from './link-set.ts';
import { createPeerLinks, type TransportLog } from './peer-links.ts';
import { createSnapshotReceiver } from './snapshot-receiver.ts';
import type { AdminHandlers, PeerAddress, Transport, TransportHandlers, TransportIdentity } from './types.ts';

export interface TransportOptions {
  readonly clusterId: string;
  readonly self: PeerId;
  readonly listen: { readonly host: string; readonly port: number };
  /** Where the other peers reach this one now, `host:port`; undefined: as `listen`. Peers that know less than this one answer there. */
  readonly advertised?: (() => string | undefined) | undefined;
  /** The random id of this peer's Raft store: a wiped disk under an old name is told apart by it. */
  readonly storeId: string;
  /** Highest feature level that this version has. */
  readonly features: number;
  /** The identity to begin with; see {@link Transport.setIdentity}. */
  readonly identity: TransportIdentity;
  /** Where this peer connects to another one, whoever told of it; left out: at the address that was told. */
  readonly route?: ((peer: PeerAddress) => PeerAddress) | undefined;
  /** Up to where this peer knows the log to be committed; asked for whenever somebody calls. */
  readonly commitIndex: () => number;
  /** The other peers to begin with; see {@link Transport.setPeers}. */
  readonly peers: readonly PeerAddress[];
  readonly membershipCodec: MembershipCodec;
  readonly handlers: TransportHandlers;
  readonly admin: AdminHandlers;
  readonly log: TransportLog;
}

/** The transport, and the port it listens on (which differs from the one asked for where that is 0). */
export type StartedTransport = Transport & { readonly port: number };

/** Drives reconnects and pings. */
const TICK_MS = 100;
/** A tick that comes this late means that this process did not run: then silence of others proves nothing. */
const STALL_MS = 700;
/** What is queued gets this long to leave when the transport closes. */
const DRAIN_MS = 200;
const SHUTDOWN_MS = 500;
/** Calls under way on one connection; `sentinelctl` and the links need a handful, 64 watchers one each. */
const STREAMS_MAX = 100;

/** Listens and begins to connect; throws an Error that names address and remedy where it cannot listen. */
export async function startTransport(options: TransportOptions): Promise<StartedTransport> {
  const { clusterId, self, handlers, log } = options;
  const nowMs = (): number => performance.now();
  const inner = { clusterId, self, commitIndex: options.commitIndex };
  let identity: Identity = identityOf(inner, options.identity);
  const met = new Set<string>();
  const onHigherIncarnation = (from: PeerId, incarnation: number): void => {
    const key = `${from} ${incarnation}`;
    if (met.has(key) || met.size >= MET_COUNT_MAX) return;
    met.add(key);
    handlers.onHigherIncarnation(from, incarnation);
  };
  const admission = createAdmission({
    identity,
    handlers: { onRefused: (detail) => handlers.onRefused(detail), onHigherIncarnation },
    nowMs,
    onCallerAhead: (from, hello, isCertain) => links.answerAt(from, hello, isCertain),
  });
  const inbound = createInbound({ admission, handlers, nowMs });
  const snapshots = createSnapshotReceiver({ admission, handlers, codec: options.membershipCodec });
  const admin = createAdminService(options.admin);

  const server = createServer();
  const peerImplementation = { ...inbound.implementation, snapshot: snapshots.implementation };
  server.addService(rawServiceDefinition(PeerService), peerImplementation);
  server.addService(serviceDefinition(AdminService), admin.implementation);
  const port = await listen(server, options.listen);

  const run = randomUUID();
  const ownAddress = (): string => {
    const advertised = options.advertised?.();
    const isUsable = advertised !== undefined && parseTarget(advertised) !== undefined;
    return isUsable ? advertised : targetOf({ host: options.listen.host, port });
  };
  const helloTo = (to: PeerId): Hello => ({
    cluster: clusterId,
    from: self,
    to,
    run,
    address: ownAddress(),
    store: options.storeId,
    incarnation: identity.incarnation,
    membershipIndex: identity.membershipIndex,
    logMembershipIndex: identity.logMembershipIndex,
    founders: identity.founders,
    features: options.features,
    wireVersion: WIRE_VERSION,
    wireVersionMin: WIRE_VERSION_MIN,
  });
  const refusals = new Map<PeerId, { readonly reason: string; readonly atMs: number }>();
  const links = createLinkSet({
    self,
    drainMs: DRAIN_MS,
    route: options.route ?? ((peer) => peer),
    open: (peer) =>
      createPeerLinks({
        peer,
        hello: () => helloTo(peer.peer),
        codec: options.membershipCodec,
        log,
        nowMs,
        onRefuser(refuser, reason) {
          if (refuser.cluster !== clusterId || refuser.from !== peer.peer || identity.incarnation === 0)
            return;
          refusals.set(peer.peer, { reason, atMs: nowMs() });
          if (refuser.incarnation > identity.incarnation) onHigherIncarnation(peer.peer, refuser.incarnation);
        },
        onSnapshotSent: (index, arrived) => handlers.onSnapshotSent(peer.peer, index, arrived),
      }),
  });
  links.setPeers(options.peers);

  let tickedAtMs = nowMs();
  const timer = setInterval(() => {
    const now = nowMs();
    const stalled = now - tickedAtMs > STALL_MS;
    tickedAtMs = now;
    for (const link of links.all()) link.tick(now, stalled);
  }, TICK_MS);

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    clearInterval(timer);
    admin.close();
    snapshots.close();
    await links.close();
    admission.close();
    inbound.close();
    await shutDown(server);
  };

  return {
    port,
    send(to, message) {
      const link = links.get(to);
      if (link !== undefined) link.send(message);
      else if (message.kind === 'snapshot-request')
        queueMicrotask(() => handlers.onSnapshotSent(to, message.snapshot.index, false));
    },
    broadcastReport(report) {
      for (const link of links.all()) link.sendReport(report);
    },
    isReachable: (peer, withinMs) => nowMs() - (admission.heardAtMs(peer) ?? -Infinity) <= withinMs,
    refusals: (withinMs) =>
      [...refusals]
        .filter(([, { atMs }]) => nowMs() - atMs <= withinMs)
        .map(([peer, { reason }]) => ({ peer, reason })),
    foundingConflict: (peer, withinMs) => admission.foundingConflict(peer, withinMs),
    setPeers: (peers) => links.setPeers(peers),
    setIdentity(next) {
      const before = identity.incarnation;
      identity = identityOf(inner, next);
      admission.setIdentity(identity);
      links.caughtUp(identity.membershipIndex);
      // Every link is bound to what its hello said, and what is queued was meant for peers of the incarnation before.
      if (identity.incarnation !== before) links.reopen();
    },
    close: () => (closing ??= close()),
  };
}

/** Meetings with a later incarnation that are remembered as told. */
const MET_COUNT_MAX = 1000;

function identityOf(
  inner: Pick<Identity, 'clusterId' | 'self' | 'commitIndex'>,
  given: TransportIdentity,
): Identity {
  return {
    ...inner,
    incarnation: given.incarnation,
    membershipIndex: given.membershipIndex ?? 0,
    logMembershipIndex: given.logMembershipIndex ?? given.membershipIndex ?? 0,
    founders: given.founders ?? [],
    members: new Set(given.members),
    storeIds: given.storeIds,
  };
}

function createServer(): Server {
  // grpc-js prints to stderr by itself; what matters is in the errors and statuses that we report.
  if (process.env['GRPC_VERBOSITY'] === undefined) setLogVerbosity(logVerbosity.NONE);
  return new Server({
    'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.enable_channelz': 0,
    'grpc.max_concurrent_streams': STREAMS_MAX,
    // Sessions of callers that vanished are freed.
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc-node.flow_control_window': 1 << 20,
  });
}

/** The port that is now listened on. */
function listen(server: Server, address: { readonly host: string; readonly port: number }): Promise<number> {
  const target = targetOf(address);
  return new Promise((resolve, reject) => {
    server.bindAsync(target, serverCredentials(), (error, port) => {
      if (error === null) resolve(port);
      else reject(new Error(`cannot listen on ${target}: ${remedyFor(error, address)}`, { cause: error }));
    });
  });
}

function remedyFor(error: Error, { host, port }: { readonly host: string; readonly port: number }): string {
  if (/EADDRINUSE/.test(error.message)) {
    return `another process has that port; find it with "ss -ltnp 'sport = :${port}'" and stop it, or listen on another`;
  }
  if (/EADDRNOTAVAIL/.test(error.message)) {
    return `this host has no address ${host}; listen on one of its own or on 0.0.0.0`;
  }
  if (/EACCES/.test(error.message)) return `not permitted; take a port above 1023`;
  return error.message;
}

/** Lets calls under way end, for a moment; then ends them. */
async function shutDown(server: Server): Promise<void> {
  const graceful = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  try {
    await withDeadline('shutdown of the gRPC server', SHUTDOWN_MS, graceful);
  } catch {
    server.forceShutdown();
  }
}
