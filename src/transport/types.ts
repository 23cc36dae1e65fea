// What the daemon sees of the network: messages out without waiting, messages in by callback. No gRPC type leaves this folder.
import type { NodeId, PeerId } from '../base/ids.ts';
import type { AgentReport } from '../cluster/report.ts';
import type { RaftMessage } from '../raft/types.ts';

export interface PeerAddress {
  readonly peer: PeerId;
  readonly host: string;
  readonly port: number;
}

export interface Transport {
  /** Never waits; what does not fit into the bounded queue of that peer is dropped (Raft sends again). */
  send(to: PeerId, message: RaftMessage): void;
  /** Sends the latest report to every other peer; a newer one replaces one not yet sent. */
  broadcastReport(report: AgentReport): void;
  /** Whether a peer has been heard from within the last `withinMs`. */
  isReachable(peer: PeerId, withinMs: number): boolean;
  close(): Promise<void>;
}

export interface TransportHandlers {
  onMessage(from: PeerId, message: RaftMessage): void;
  onReport(from: PeerId, report: AgentReport): void;
  /** Refused connection of a peer that belongs elsewhere; said once for each peer and reason. */
  onRefused(detail: string): void;
}

/** Answers of the admin service; every peer serves it. Times are wall-clock milliseconds, for people. */
export interface AdminHandlers {
  status(): StatusView;
  /** Calls `listener` at once and after every change (at most every 50 ms) until the signal aborts. */
  watch(listener: (status: StatusView) => void, signal: AbortSignal): void;
  /** `sentinelctl failover`: a planned switchover where the primary is well. Forwarded to the leader by the log itself. */
  failover(
    request: { readonly group: string | undefined; readonly to: NodeId | undefined },
    signal: AbortSignal,
  ): Promise<FailoverOutcome>;
  /** The latest `limit` events, oldest first. */
  events(request: { readonly group: string | undefined; readonly limit: number }): readonly EventView[];
}

export type FailoverOutcome =
  | {
      readonly kind: 'done';
      readonly group: string;
      readonly from: string;
      readonly to: string;
      readonly epoch: number;
      readonly tookMs: number;
    }
  | { readonly kind: 'refused'; readonly reason: string };

export interface EventView {
  readonly index: number;
  readonly atMs: number;
  readonly group: string | undefined;
  readonly kind: string;
  readonly text: string;
  readonly refused: string | undefined;
}

export interface StatusView {
  readonly cluster: string;
  readonly answeredBy: string;
  readonly atMs: number;
  readonly leader: string | undefined;
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly peers: readonly PeerView[];
  readonly groups: readonly GroupView[];
  /** Things a person should look at, one sentence each. */
  readonly warnings: readonly string[];
}

export interface PeerView {
  readonly peer: string;
  readonly address: string;
  readonly role: 'leader' | 'follower' | 'candidate' | 'unknown';
  readonly reachable: boolean;
  readonly matchIndex: number | undefined;
}

export interface GroupView {
  readonly group: string;
  /** creating, running, fencing, promoting. */
  readonly phase: string;
  readonly epoch: number;
  readonly primary: string | undefined;
  readonly durability: string;
  /** For people: `1 of pg2, pg3`, or `alone`. */
  readonly rule: string;
  readonly ruleChange: string | undefined;
  readonly nodes: readonly NodeView[];
}

export interface NodeView {
  readonly node: string;
  readonly address: string;
  readonly peer: string;
  /** primary, standby, or `-` for a node that is neither at present. */
  readonly role: 'primary' | 'standby' | 'none';
  /** running, streaming, cut, promoting, stopped, starting, cloning, rewinding, failed, unknown (no report). */
  readonly state: string;
  readonly timeline: number | undefined;
  readonly lsn: string | undefined;
  /** Behind the primary, in bytes; undefined where unknown. */
  readonly lagBytes: number | undefined;
  /** sync, quorum, async, or undefined on a primary. */
  readonly sync: string | undefined;
  readonly member: string | undefined;
  /** Peers that hold it for down, with their evidence: `b: refused`. */
  readonly heldDownBy: readonly string[];
  readonly message: string | undefined;
}
