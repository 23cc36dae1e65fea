// The transport of one peer: the gRPC server that other peers and sentinelctl call, the links to the other peers, and the
// one timer that drives them. Must never wait in `send` and never keep a link on the strength of an old sign of life.
import { randomUUID } from 'node:crypto';
import { logVerbosity, Server, setLogVerbosity } from '@grpc/grpc-js';
import { withDeadline } from '../base/clock.ts';
import type { PeerId } from '../base/ids.ts';
import { AdminService } from '../gen/pg_sentinel/v1/admin_pb.ts';
import { PeerService } from '../gen/pg_sentinel/v1/raft_pb.ts';
import { createAdminService } from './admin-service.ts';
import { MESSAGE_BYTES_MAX, serverCredentials, serviceDefinition, targetOf } from './grpc-adapter.ts';
import { WIRE_VERSION, WIRE_VERSION_MIN } from './handshake.ts';
import { createInbound } from './inbound.ts';
import { createPeerLinks, type TransportLog } from './peer-links.ts';
import type { AdminHandlers, PeerAddress, Transport, TransportHandlers } from './types.ts';

export interface TransportOptions {
  readonly clusterId: string;
  readonly self: PeerId;
  readonly listen: { readonly host: string; readonly port: number };
  /** The other peers. */
  readonly peers: readonly PeerAddress[];
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

/** Listens and begins to connect; throws an Error that names address and remedy where it cannot listen. */
export async function startTransport(options: TransportOptions): Promise<StartedTransport> {
  const { clusterId, self, peers, handlers, log } = options;
  const nowMs = (): number => performance.now();
  const identity = { clusterId, self, peers: new Set(peers.map((peer) => peer.peer)) };
  const inbound = createInbound({ identity, handlers, nowMs });
  const admin = createAdminService(options.admin);

  const server = createServer();
  server.addService(serviceDefinition(PeerService), inbound.implementation);
  server.addService(serviceDefinition(AdminService), admin.implementation);
  const port = await listen(server, options.listen);

  const run = randomUUID();
  const links = new Map(
    peers.map((peer) => {
      const hello = {
        cluster: clusterId,
        from: self,
        to: peer.peer,
        run,
        wireVersion: WIRE_VERSION,
        wireVersionMin: WIRE_VERSION_MIN,
      };
      return [peer.peer, createPeerLinks({ peer, hello, log, nowMs })];
    }),
  );

  let tickedAtMs = nowMs();
  const timer = setInterval(() => {
    const now = nowMs();
    const stalled = now - tickedAtMs > STALL_MS;
    tickedAtMs = now;
    for (const link of links.values()) link.tick(now, stalled);
  }, TICK_MS);

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    clearInterval(timer);
    admin.close();
    await Promise.all([...links.values()].map((link) => link.close(DRAIN_MS)));
    inbound.close();
    await shutDown(server);
  };

  return {
    port,
    send: (to, message) => links.get(to)?.send(message),
    broadcastReport(report) {
      for (const link of links.values()) link.sendReport(report);
    },
    isReachable: (peer, withinMs) => nowMs() - (inbound.heardAtMs(peer) ?? -Infinity) <= withinMs,
    close: () => (closing ??= close()),
  };
}

function createServer(): Server {
  // grpc-js prints to stderr by itself; what matters is in the errors and statuses that we report.
  if (process.env['GRPC_VERBOSITY'] === undefined) setLogVerbosity(logVerbosity.NONE);
  return new Server({
    'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.enable_channelz': 0,
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
