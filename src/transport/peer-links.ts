// All that goes from this peer to one other: a control link and an append link, each with a bounded outbox and a channel
// of its own, so that a large append never stands before a heartbeat. A third link, for snapshots, would be added here.
// Must never block and never send old news first after an interruption.
import { create } from '@bufbuild/protobuf';
import type { AgentReport } from '../cluster/report.ts';
import type { NodeId } from '../base/ids.ts';
import { AppendRequestSchema, ControlRequestSchema, PeerService } from '../gen/pg_sentinel/v1/raft_pb.ts';
import type { RaftMessage } from '../raft/types.ts';
import { BASE_CHANNEL_OPTIONS, FRAME_OVERHEAD_BYTES, MESSAGE_BYTES_MAX, targetOf } from './grpc-adapter.ts';
import { type Hello, helloMetadata } from './handshake.ts';
import { Link, type LinkTimes } from './link.ts';
import { createOutbox, type OutboxLimits } from './outbox.ts';
import { CHANNEL_OF, encodeRaftMessage, sizeBoundBytes } from './raft-codec.ts';
import { encodeReport } from './report-codec.ts';
import type { PeerAddress } from './types.ts';

/** The part of a pino logger that is used here. */
export interface TransportLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface PeerLinks {
  send(message: RaftMessage): void;
  /** A newer report on a node replaces one not yet sent. */
  sendReport(report: AgentReport): void;
  tick(nowMs: number, stalled: boolean): void;
  close(drainMs: number): Promise<void>;
}

const CONTROL_TIMES: LinkTimes = {
  connectMs: 700,
  retryMinMs: 100,
  retryMaxMs: 500,
  refusedRetryMs: 1000,
  pingMs: 600,
  silenceMs: 1500,
};
/** A receiver answers whole frames only, and 1 MiB takes a while on a slow line; the control link notices partitions. */
const APPEND_TIMES: LinkTimes = { ...CONTROL_TIMES, pingMs: 2000, silenceMs: 10_000 };

const CONTROL_LIMITS: OutboxLimits = { countMax: 64, bytesMax: 64 << 10, batchBytesMax: 16 << 10 };
const APPEND_LIMITS: OutboxLimits = { countMax: 4096, bytesMax: 16 << 20, batchBytesMax: 64 << 10 };

/** What waited longer than this when a link opens is dropped: Raft has sent it again by then, or has moved on. */
const STALE_MS = 1000;

const CONTROL_CHANNEL = {
  ...BASE_CHANNEL_OPTIONS,
  'grpc.keepalive_time_ms': 2000,
  'grpc.keepalive_timeout_ms': 1500,
  'grpc.keepalive_permit_without_calls': 1,
};
/** A ping waits behind what the kernel has already taken, so a busy slow line needs more time. */
const APPEND_CHANNEL = {
  ...CONTROL_CHANNEL,
  'grpc.keepalive_time_ms': 5000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc-node.flow_control_window': 1 << 20,
};

export function createPeerLinks(options: {
  readonly peer: PeerAddress;
  readonly hello: Hello;
  readonly log: TransportLog;
  readonly nowMs: () => number;
}): PeerLinks {
  const { peer, hello, log, nowMs } = options;
  const target = targetOf(peer);
  const metadata = helloMetadata(hello);
  const append = createOutbox<RaftMessage>(APPEND_LIMITS);
  const control = createOutbox<RaftMessage>(CONTROL_LIMITS);
  const reports = new Map<NodeId, AgentReport>();
  const said = new Set<string>();
  let lostAtMs: number | undefined;
  let failing = false;

  const warnOnce = (message: string): void => {
    if (said.has(message)) return;
    said.add(message);
    log.warn({ peer: peer.peer }, message);
  };
  const common = {
    address: { host: peer.host, port: peer.port },
    metadata,
    nowMs,
    onRefused: (reason: string) =>
      warnOnce(`${peer.peer} (${target}) does not take messages from here: ${reason}`),
  };

  const appendLink: Link<typeof AppendRequestSchema, typeof PeerService.method.append.output> = new Link({
    ...common,
    method: PeerService.method.append,
    channelOptions: APPEND_CHANNEL,
    times: APPEND_TIMES,
    nextFrame() {
      const messages = append.takeBatch();
      if (messages.length === 0) return undefined;
      return create(AppendRequestSchema, { messages: messages.map(encodeRaftMessage) });
    },
    emptyFrame: create(AppendRequestSchema),
    mayConnect: () => controlLink.isOpen,
    onOpen: () => append.dropOlderThan(nowMs() - STALE_MS),
    onLost: (reason) => log.info({ peer: peer.peer, reason }, `append link to ${peer.peer} lost`),
    onFailed: () => undefined, // the control link says it
  });

  const controlLink: Link<typeof ControlRequestSchema, typeof PeerService.method.control.output> = new Link({
    ...common,
    method: PeerService.method.control,
    channelOptions: CONTROL_CHANNEL,
    times: CONTROL_TIMES,
    nextFrame() {
      const messages = control.takeBatch();
      if (messages.length === 0 && reports.size === 0) return undefined;
      const frame = create(ControlRequestSchema, {
        messages: messages.map(encodeRaftMessage),
        reports: [...reports.values()].map(encodeReport),
      });
      reports.clear();
      return frame;
    },
    emptyFrame: create(ControlRequestSchema),
    mayConnect: () => true,
    onOpen() {
      const now = nowMs();
      said.clear();
      failing = false;
      log.info({ peer: peer.peer }, `link to ${peer.peer} (${target}) is up`);
      control.dropOlderThan(now - STALE_MS);
      // What lost the control link has most likely broken the other connection too, which may notice much later.
      appendLink.renewUnlessHeardSince(lostAtMs ?? now, now);
      lostAtMs = undefined;
    },
    onLost(reason) {
      lostAtMs = nowMs();
      log.warn({ peer: peer.peer, reason }, `link to ${peer.peer} (${target}) lost`);
    },
    onFailed(reason) {
      if (failing) return;
      failing = true;
      log.info({ peer: peer.peer, reason }, `cannot reach ${peer.peer} (${target}) yet; trying on`);
    },
  });

  controlLink.connect(nowMs());
  return {
    send(message) {
      const bytes = sizeBoundBytes(message);
      if (bytes > MESSAGE_BYTES_MAX - FRAME_OVERHEAD_BYTES) {
        warnOnce(
          `cannot send a message of kind ${message.kind} to ${peer.peer}: it is larger than ${MESSAGE_BYTES_MAX} bytes`,
        );
        return;
      }
      const perishable = message.kind === 'heartbeat-request' || message.kind === 'heartbeat-reply';
      const item = { value: message, bytes, queuedAtMs: nowMs(), perishable };
      if (CHANNEL_OF[message.kind] === 'append') {
        append.push(item);
        appendLink.pump();
      } else {
        control.push(item);
        controlLink.pump();
      }
    },
    sendReport(report) {
      reports.set(report.node, report);
      controlLink.pump();
    },
    tick(now, stalled) {
      controlLink.tick(now, stalled);
      appendLink.tick(now, stalled);
    },
    async close(drainMs) {
      await Promise.all([controlLink.close(drainMs), appendLink.close(drainMs)]);
    },
  };
}
