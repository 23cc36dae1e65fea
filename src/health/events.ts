// What the health checks can see and what they conclude: plain data. Every event carries `nowMs`, monotonic milliseconds.
// Nothing in here acts.
import type { Epoch, NodeId, PeerId, Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
import type { Evidence } from '../cluster/commands.ts';

/** A node to watch and what its group's epoch expects of it. */
export interface Target {
  readonly node: NodeId;
  readonly host: string;
  readonly port: number;
  readonly epoch: Epoch;
  /** `either`: a server that is only watched. It is asked what it is, and never written to. */
  readonly expect: 'primary' | 'standby' | 'either';
  /** The peer whose agent manages the node: its word that all processes are gone counts. */
  readonly hostPeer: PeerId;
}

/** What PostgreSQL said instead of letting us in. All of it shows that a postmaster is there. */
export type ServerWord =
  | { readonly kind: 'starting-up' }
  | { readonly kind: 'shutting-down' }
  /** Backends restarting after one of them was killed. */
  | { readonly kind: 'restarting-backends' }
  | { readonly kind: 'too-many-connections' }
  /** Wrong password, no entry in pg_hba.conf, no such database or role: ours to put right. */
  | { readonly kind: 'login-refused'; readonly why: string }
  /** A session was begun and failed for a fault of the server's: disk full, out of memory, I/O error, corruption. */
  | { readonly kind: 'login-failing'; readonly why: string };

/** How the open session ended. */
export type SessionEnd =
  /** Closed or reset, without a reason given. */
  | 'closed'
  /** 57P01 "terminating connection due to administrator command": a clean shutdown, or pg_terminate_backend. */
  | 'administrator'
  /** 57P01 from quickdie: `pg_ctl stop -m immediate`, no clean shutdown. */
  | 'immediate-shutdown'
  /** 57P02: another backend crashed, PostgreSQL restarts them all. */
  | 'backend-crash'
  /** We gave it up because a probe on it was not answered: no word from the node. */
  | 'given-up';

/** What became of the write part of a probe. */
export type WriteOutcome =
  | { readonly kind: 'ok' }
  /** Not asked for: a standby, or a primary that is still in recovery. */
  | { readonly kind: 'not-tried' }
  /** Not written, for a reason that is no fault: read-only on purpose, wraparound, no privilege, no heartbeat table. */
  | { readonly kind: 'excused'; readonly why: string }
  /** Says nothing either way: lock timeout, cancelled. */
  | { readonly kind: 'inconclusive'; readonly why: string }
  /** Disk full, read-only file system, I/O error, corruption. */
  | { readonly kind: 'failed'; readonly why: string };

/** What a server that is only watched says of itself. */
export interface ServerFacts {
  readonly role: 'primary' | 'standby';
  readonly timeline: Timeline | undefined;
  /** Written by a primary, replayed by a standby. */
  readonly position: Lsn | undefined;
  /** Of a standby: what it received and has not replayed. */
  readonly lagBytes: number | undefined;
  /** Of a standby that has something to replay: the age of the last commit that it replayed. */
  readonly lagMs: number | undefined;
}

/** What the prober sees on the network. */
export type ProbeEvent = { readonly nowMs: number } & (
  | { readonly kind: 'asked'; readonly what: 'connection' | 'read' | 'write' }
  /** Logged in and ready for a query. */
  | { readonly kind: 'connected' }
  /** A new connection was answered by a forked backend, before logging in. */
  | { readonly kind: 'connection-answered' }
  | { readonly kind: 'connection-refused' }
  | { readonly kind: 'server-said'; readonly word: ServerWord }
  | { readonly kind: 'session-ended'; readonly how: SessionEnd }
  | {
      readonly kind: 'answered';
      readonly latencyMs: number;
      readonly inRecovery: boolean;
      readonly write: WriteOutcome;
      /** Of a server that is only watched. */
      readonly server?: ServerFacts;
    }
  /** No port or descriptor left, TLS verification, a name that does not resolve: says nothing about the node. */
  | { readonly kind: 'own-trouble'; readonly why: string }
);

export type HealthEvent =
  | ProbeEvent
  | ({ readonly nowMs: number } & (
      | { readonly kind: 'tick' }
      | { readonly kind: 'target'; readonly target: Target }
      /** The agent in this very peer saw every process gone, or sees some again. */
      | { readonly kind: 'local-processes'; readonly gone: boolean }
      /** The node's host peer committed `processes-gone`, or took it back. */
      | { readonly kind: 'host-says'; readonly gone: boolean }
      /** tilt.ts: `abstains` is the reason, or undefined when the observer is well again. */
      | { readonly kind: 'observer'; readonly abstains: string | undefined }
    ));

/** `down` stands until a real answer; `abstain` and `unknown` say nothing and withdraw nothing. */
export type Verdict = 'unknown' | 'up' | 'down' | 'abstain';

export interface Judgement {
  readonly verdict: Verdict;
  /** Present exactly when the verdict is `down`. */
  readonly evidence?: Evidence;
  /** Monotonic time since which this verdict with this evidence stands. */
  readonly sinceMs: number;
  /** For people: what was seen, such as "too many connections: not down". */
  readonly note: string;
}
