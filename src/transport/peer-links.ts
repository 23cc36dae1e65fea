// All that goes from this peer to one other: a control link, an append link, and a channel for snapshots, each with a
// connection of its own, so that a large append or snapshot never stands before a heartbeat. Outboxes are bounded.
// Must never block and never send old news first after an interruption.
import type { Metadata } from '@grpc/grpc-js';
import type { AgentReport } from '../cluster/report.ts';
import type { LogIndex, NodeId } from '../base/ids.ts';
import { PeerService } from '../gen/pg_sentinel/v1/raft_pb.ts';
import type { MembershipCodec, RaftMessage } from '../raft/types.ts';
import { encodeFrame, REPORTS_MAX } from './frame-codec.ts';
import { BASE_CHANNEL_OPTIONS, FRAME_OVERHEAD_BYTES, MESSAGE_BYTES_MAX, targetOf } from './grpc-adapter.ts';
import { type Hello, helloMetadata, readRefuser, type Refuser } from './handshake.ts';
import { CONTROL_BYTES_MAX } from './inbound.ts';
import { Link, type LinkTimes } from './link.ts';
import { createOutbox, type OutboxLimits } from './outbox.ts';
import { CHANNEL_OF, type LinkMessage, sizeBoundBytes } from './raft-codec.ts';
import { reportBytes } from './report-codec.ts';
import { createSnapshotSender } from './snapshot-sender.ts';
import type { PeerAddress } from './types.ts';

/** The part of a pino logger that is used here. */
export interface TransportLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface PeerLinks {
  readonly address: PeerAddress;
  send(message: RaftMessage): void;
  /** A newer report on a node replaces one not yet sent. */
  sendReport(report: AgentReport): void;
  tick(nowMs: number, stalled: boolean): void;
  /** With 0 nothing more is sent. */
  close(drainMs: number): Promise<void>;
}

const CONTROL_TIMES: LinkTimes = {
  openMs: 600,
  retryMinMs: 100,
  retryMaxMs: 500,
  refusedRetryMs: 1000,
  pingMs: 750,
  silenceMs: 1500,
};
/** A receiver answers whole frames only, and 1 MiB takes a while on a slow line; the control link notices partitions. */
const APPEND_TIMES: LinkTimes = { ...CONTROL_TIMES, pingMs: 2500, silenceMs: 10_000 };

const CONTROL_LIMITS: OutboxLimits = { countMax: 64, bytesMax: 64 << 10, batchBytesMax: 16 << 10 };
const APPEND_LIMITS: OutboxLimits = { countMax: 4096, bytesMax: 16 << 20, batchBytesMax: 64 << 10 };
/** A larger report is not sent: it is for people, and must not hold up heartbeats. */
const REPORT_BYTES_MAX = 64 << 10;
const REPORTS_BYTES_MAX = CONTROL_BYTES_MAX - CONTROL_LIMITS.batchBytesMax - FRAME_OVERHEAD_BYTES;

/** What waited longer than this when a link opens is dropped: Raft has sent it again by then, or has moved on. */
const STALE_MS = 1000;

/** Different warnings that are remembered as said. */
const SAID_COUNT_MAX = 100;
/** A snapshot that fails again and again is warned of this often. */
const SNAPSHOT_WARNING_EVERY_MS = 10_000;

/** The answers are empty. The links look after silence themselves, so that HTTP/2 need not. */
const CONTROL_CHANNEL = { ...BASE_CHANNEL_OPTIONS, 'grpc.max_receive_message_length': 64 << 10 };
const APPEND_CHANNEL = { ...CONTROL_CHANNEL, 'grpc-node.flow_control_window': 1 << 20 };

export function createPeerLinks(options: {
  readonly peer: PeerAddress;
  /** What this peer says about itself at the moment. */
  readonly hello: () => Hello;
  readonly codec: MembershipCodec;
  readonly log: TransportLog;
  readonly nowMs: () => number;
  readonly onRefuser: (refuser: Refuser, reason: string) => void;
  readonly onSnapshotSent: (index: LogIndex, arrived: boolean) => void;
}): PeerLinks {
  const { peer, log, nowMs } = options;
  const target = targetOf(peer);
  const metadata = (): Metadata => helloMetadata(options.hello());
  const append = createOutbox<LinkMessage>(APPEND_LIMITS);
  const control = createOutbox<LinkMessage>(CONTROL_LIMITS);
  const reports = new Map<NodeId, AgentReport>();
  const said = new Set<string>();
  let lostAtMs: number | undefined;
  let failing = false;
  let snapshotWarnedAtMs = Number.NEGATIVE_INFINITY;

  const warnOnce = (message: string): void => {
    if (said.has(message)) return;
    if (said.size >= SAID_COUNT_MAX) said.clear();
    said.add(message);
    log.warn({ peer: peer.peer }, message);
  };
  const common = {
    address: { host: peer.host, port: peer.port },
    metadata,
    nowMs,
    onRefused(reason: string, trailers: Metadata) {
      warnOnce(`${peer.peer} (${target}) does not take messages from here: ${reason}`);
      options.onRefuser(readRefuser(trailers), reason);
    },
  };

  const appendLink: Link = new Link({
    ...common,
    method: PeerService.method.append,
    channelOptions: APPEND_CHANNEL,
    times: APPEND_TIMES,
    nextFrame() {
      const messages = append.takeBatch();
      return messages.length === 0 ? undefined : encodeFrame(messages);
    },
    mayConnect: () => controlLink.isOpen,
    onOpen: () => append.dropOlderThan(nowMs() - STALE_MS),
    onLost(reason, orderly) {
      log[orderly ? 'debug' : 'info']({ peer: peer.peer, reason }, `append link to ${peer.peer} lost`);
    },
    onFailed: () => undefined, // the control link says it
  });

  const controlLink: Link = new Link({
    ...common,
    method: PeerService.method.control,
    channelOptions: CONTROL_CHANNEL,
    times: CONTROL_TIMES,
    nextFrame() {
      const messages = control.takeBatch();
      if (messages.length === 0 && reports.size === 0) return undefined;
      return encodeFrame(messages, takeReports());
    },
    mayConnect: () => true,
    onOpen() {
      const now = nowMs();
      said.clear();
      failing = false;
      log.info({ peer: peer.peer }, `link to ${peer.peer} (${target}) is up`);
      control.dropOlderThan(now - STALE_MS);
      // What lost the control link has most likely broken the other connection too, which may notice much later.
      appendLink.renewUnlessHeardSince(lostAtMs ?? now);
      lostAtMs = undefined;
    },
    onLost(reason, orderly) {
      lostAtMs = nowMs();
      log[orderly ? 'info' : 'warn']({ peer: peer.peer, reason }, `link to ${peer.peer} (${target}) lost`);
    },
    onFailed(reason) {
      if (failing) return;
      failing = true;
      log.info({ peer: peer.peer, reason }, `cannot reach ${peer.peer} (${target}) yet; trying on`);
    },
  });

  const snapshots = createSnapshotSender({
    target,
    metadata,
    codec: options.codec,
    isReachable: () => controlLink.isOpen,
    onSent: options.onSnapshotSent,
    onProblem(reason) {
      const isNew = nowMs() - snapshotWarnedAtMs >= SNAPSHOT_WARNING_EVERY_MS;
      if (isNew) snapshotWarnedAtMs = nowMs();
      log[isNew ? 'warn' : 'debug'](
        { peer: peer.peer, reason },
        `a snapshot did not get to ${peer.peer} (${target})`,
      );
    },
  });

  /** As many as fit into one frame; the others stay for the next. */
  const takeReports = (): AgentReport[] => {
    const taken: AgentReport[] = [];
    let bytes = 0;
    for (const [node, report] of reports) {
      bytes += reportBytes(report);
      if (taken.length === REPORTS_MAX || (taken.length > 0 && bytes > REPORTS_BYTES_MAX)) break;
      reports.delete(node);
      taken.push(report);
    }
    return taken;
  };

  controlLink.connect();
  return {
    address: peer,
    send(message) {
      if (message.kind === 'snapshot-request') {
        snapshots.send(message);
        return;
      }
      const isControl = CHANNEL_OF[message.kind] === 'control';
      const bytes = sizeBoundBytes(message);
      const bytesMax = isControl ? CONTROL_LIMITS.bytesMax : MESSAGE_BYTES_MAX - FRAME_OVERHEAD_BYTES;
      if (bytes > bytesMax) {
        warnOnce(
          `cannot send a message of kind ${message.kind} to ${peer.peer}: it is larger than ${bytesMax} bytes`,
        );
        return;
      }
      const perishable = message.kind === 'heartbeat-request' || message.kind === 'heartbeat-reply';
      const item = { value: message, bytes, queuedAtMs: nowMs(), perishable };
      if (isControl) {
        control.push(item);
        controlLink.pump();
      } else {
        append.push(item);
        appendLink.pump();
      }
    },
    sendReport(report) {
      if (reportBytes(report) > REPORT_BYTES_MAX) {
        warnOnce(`cannot send the report on ${report.node}: it is larger than ${REPORT_BYTES_MAX} bytes`);
        return;
      }
      reports.set(report.node, report);
      controlLink.pump();
    },
    tick(now, stalled) {
      controlLink.tick(now, stalled);
      appendLink.tick(now, stalled);
    },
    async close(drainMs) {
      snapshots.close();
      await Promise.all([controlLink.close(drainMs), appendLink.close(drainMs)]);
    },
  };
}
