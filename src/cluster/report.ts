// Live figures of a node as its own agent sees them. They travel beside the log (an idle cluster writes nothing to it),
// are kept in memory, and are never the ground for a promise: decisions that need one re-read committed entries.
import type { Epoch, GroupId, MemberId, NodeId, PeerId, Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';

/** What the agent finds its PostgreSQL to be. */
export type NodeCondition =
  | 'absent' // no data directory yet
  | 'stopped'
  | 'starting'
  | 'standby'
  | 'primary'
  | 'stopping'
  | 'cloning'
  | 'rewinding'
  | 'failed'; // the agent could not do its duty; see `message`

/** One walsender on the primary (pg_stat_replication). */
export interface WalSender {
  readonly applicationName: string;
  readonly state: string;
  readonly syncState: string;
  readonly flushLsn: Lsn | undefined;
}

export interface DiskRoom {
  /** What those without privileges may still fill. */
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** The WAL that replication slots keep on one node. */
export interface KeptBySlots {
  readonly keptBytes: number;
  /** The slot that keeps most of it. */
  readonly most: string | undefined;
  // Left out by an older version:
  /** So much more can be written until a slot is lost; left out where there is no limit. */
  readonly safeBytes?: number | undefined;
  /** Slots whose WAL may be removed at any moment; left out where there is none. */
  readonly unreserved?: readonly string[] | undefined;
  /** Slots whose WAL has been removed; left out where there is none. */
  readonly lost?: readonly string[] | undefined;
  /** Of a standby: logical slots that nobody reads from and no setting names, as a former primary has them; left out where there is none. */
  readonly leftLogical?: readonly string[] | undefined;
}

/** What an administrator keeps an eye on, read every few seconds only. What could not be read is left out. */
export interface Upkeep {
  readonly dataDisk: DiskRoom | undefined;
  /** The one that `pg_wal` is on; often the same. */
  readonly walDisk: DiskRoom | undefined;
  readonly slots: KeptBySlots | undefined;
  readonly archiver:
    | {
        /** False where PostgreSQL archives nothing here: it is not to, or it is a standby. */
        readonly isOn: boolean;
        /** The last file could not be archived. */
        readonly isFailing: boolean;
      }
    | undefined;
  /** Files of WAL that wait to be archived; counted up to a limit. */
  readonly readyCount: number | undefined;
  /** Settings that take effect only after a restart. */
  readonly pendingRestart: readonly string[] | undefined;
}

/** Parameters of PostgreSQL, as they stand on one node. */
export interface ParameterReport {
  /** Names of those that it takes at its next start only, sorted. */
  readonly pendingRestart: readonly string[];
  /** Names of those that its own configuration file has otherwise than the log, sorted. */
  readonly overridden: readonly string[];
  /** Of those that must not be lower on a standby: what it runs with. */
  readonly limits: ReadonlyMap<string, number>;
  /** Why the log's rules for pg_hba.conf are not in force here; left out where they are. */
  readonly hbaProblem?: string;
}

/** A server that runs here and that pg-sentinel has not started, while there is no group; lists are for people. */
export interface FoundServer {
  readonly role: 'primary' | 'standby';
  readonly version: string;
  readonly timeline: Timeline;
  /** Of a standby: where it streams from, as its settings say. */
  readonly upstream: { readonly host: string; readonly port: number } | undefined;
  readonly freeSlots: number;
  /** Settings that stay as they are. */
  readonly kept: readonly string[];
  /** Settings that get another value. */
  readonly replaced: readonly string[];
  /** Lines of its pg_hba.conf that are taken over. */
  readonly hba: readonly string[];
  readonly notices: readonly string[];
  /** What stands against adopting it. */
  readonly problems: readonly string[];
}

/** A node whose PostgreSQL does not let in the probes of the host that says so, with its answer. */
export interface RefusedProbe {
  readonly node: NodeId;
  readonly why: string;
}

/** A logical slot of the log, as it stands on one node. */
export interface LogicalSlotReport {
  readonly name: string;
  /** It is there, and fit to go on from. */
  readonly isReady: boolean;
  /** Why it is not, or what else is to know; undefined: nothing. */
  readonly note: string | undefined;
  /** Of a primary: PostgreSQL was asked, and has no logical slot of that name, whatever it decodes. Absent: it may have one. */
  readonly isAbsent?: true;
}

export interface AgentReport {
  readonly node: NodeId;
  readonly peer: PeerId;
  /** Counts up within one run of the agent; a lower one is older. `startedAtMs` tells runs apart. */
  readonly sequence: number;
  readonly startedAtMs: number;
  readonly member: MemberId | undefined;
  readonly condition: NodeCondition;
  /** Highest epoch in the agent's fence file. */
  readonly fenceEpoch: Epoch;
  readonly timeline: Timeline | undefined;
  /** Primary: written WAL. Standby: the greater of received and replayed. */
  readonly position: Lsn | undefined;
  readonly replayLsn: Lsn | undefined;
  /** Standby: the walreceiver is streaming, and from which host and port. */
  readonly streamingFrom: { readonly host: string; readonly port: number } | undefined;
  readonly walSenders: readonly WalSender[];
  /** PostgreSQL's `server_version`, such as `15.18`. */
  readonly serverVersion: string | undefined;
  /** What the agent is doing or why it cannot, for people. */
  readonly message: string | undefined;
  // Left out by an older version:
  /** Of a running primary: a guard watches over it. */
  readonly isGuarded?: boolean | undefined;
  readonly upkeep?: Upkeep | undefined;
  /** Left out where nothing is known, and by an older version. */
  readonly parameters?: ParameterReport | undefined;
  readonly found?: FoundServer | undefined;
  /** Left out where there are none, and by an older version. */
  readonly logicalSlots?: readonly LogicalSlotReport[] | undefined;
  /** Its configuration has a command that restores the first data directory of a group. */
  readonly restores?: boolean | undefined;
  /** When the PostgreSQL that runs was started, in seconds since 1970 by the clock of its host. */
  readonly serverStartedAtS?: number | undefined;
  /** Of a standby: how far the server that it streams from had written when it last said so. */
  readonly sourceEnd?: Lsn | undefined;
  /** The group that is to follow another site by the configuration of this node, which registers only once every peer understands that. */
  readonly follows?: GroupId | undefined;
  /** Why what it holds is not known to be from the other site that its group follows, or has followed; see site-history.ts. */
  readonly strange?: string | undefined;
  /** Left out where there is none. */
  readonly refusedProbes?: readonly RefusedProbe[];
}
