// What the steps of every duty are given: the local instance, the log, and how to say what is being done.
import type { MemberId, Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
import type { Command, SyncRule } from '../cluster/commands.ts';
import type { FenceToken } from '../cluster/fence.ts';
import type { NodeCondition } from '../cluster/report.ts';
import type { GroupState, NodeState } from '../cluster/state.ts';
import type { Duty } from '../failover/duties.ts';
import type { RecoveryProgress } from '../postgres/recovery-progress.ts';
import type { QueryOptions } from '../postgres/session.ts';
import type { SynchronousStandbys } from '../postgres/settings.ts';
import type { DataDirectory } from './data-directory.ts';
import type { FenceFile } from './fence-file.ts';
import type { Guarding } from './guarding.ts';
import type { Instance } from './instance.ts';

/** All true in every build for users; the benchmark's controls switch one off to show what it protects from. */
export interface Protections {
  /** `synchronous_standby_names` enforces the sync rule. */
  readonly rule: boolean;
  /** Standbys cut their WAL streams before they report. */
  readonly cut: boolean;
  /** A primary is guarded, and stopped when its lease runs out. */
  readonly guard: boolean;
}

export const ALL_PROTECTIONS: Protections = { rule: true, cut: true, guard: true };

export interface AgentTiming {
  /** After a clean shutdown by an administrator: how long PostgreSQL may stay away before it counts as gone. */
  readonly restartGraceMs: number;
  /** After a crash, where a standby can take over: how long the failover may take to begin before PostgreSQL is started in place. */
  readonly crashHoldMs: number;
  /** How long a fenced former primary stays stopped before it is started, cut off, to report where its WAL ends. */
  readonly formerPrimaryDelayMs: number;
  readonly startTimeoutMs: number;
  readonly cutTimeoutMs: number;
  /** A restored data directory finds no more WAL for so long, although it looks for it: the archive has no more. */
  readonly archiveEndMs: number;
  readonly promoteTimeoutMs: number;
  /** A clone that receives nothing for so long is given up and begun again. */
  readonly cloneStallMs: number;
  readonly rewindTimeoutMs: number;
  readonly queryTimeoutMs: number;
  /** How long a standby that is set up to follow may take until it streams, before another way is tried. */
  readonly streamTimeoutMs: number;
  /** How long a standby that is to be promoted may take to fetch WAL from another one; less than its leader waits. */
  readonly fetchTimeoutMs: number;
}

export const DEFAULT_AGENT_TIMING: AgentTiming = {
  restartGraceMs: 10_000,
  crashHoldMs: 5000,
  formerPrimaryDelayMs: 1500,
  startTimeoutMs: 300_000,
  cutTimeoutMs: 3000,
  archiveEndMs: 5000,
  promoteTimeoutMs: 20_000,
  cloneStallMs: 300_000,
  rewindTimeoutMs: 3_600_000,
  queryTimeoutMs: 3000,
  streamTimeoutMs: 15_000,
  fetchTimeoutMs: 5000,
};

/** How PostgreSQL last ended without our doing. */
export interface UnexpectedEnd {
  readonly atMs: number;
  /** An administrator's clean shutdown, not a crash. */
  readonly isClean: boolean;
}

/** How often, and since when, PostgreSQL has ended during recovery without coming further than the first time. */
export interface RecoveryEnds {
  readonly count: number;
  readonly sinceMs: number;
  readonly segment: string;
}

/** A cut that still holds: nobody but this agent could end it, and this PostgreSQL has run ever since. */
export interface StandingCut {
  readonly token: FenceToken;
  readonly postmasterPid: number;
  readonly standing: Standing;
}

export interface AgentContext {
  readonly notes: {
    /** The last cut of this agent, so that a promotion right after it need not repeat it. */
    cut: StandingCut | undefined;
    /** How often in a row it did not stream from that upstream, although it should have, and why that did not let it in. */
    failedFollows:
      { readonly from: string; readonly count: number; readonly refusal: string | undefined } | undefined;
    /** What this PostgreSQL was last set up to follow and did follow, and since when it does no more. */
    followed:
      | { readonly from: string; readonly postmasterPid: number; readonly lostMs: number | undefined }
      | undefined;
    /** The walreceiver that streamed when it was last looked at, and since when it does. */
    streaming: { readonly stream: string; readonly sinceMs: number } | undefined;
    /** A rewound node that takes no connections yet: what it was set up to follow, how far it came, and how many passes ago that was. */
    completing?:
      | {
          readonly from: string;
          readonly progress: RecoveryProgress | undefined;
          readonly stillCount: number;
          readonly ends: RecoveryEnds | undefined;
        }
      | undefined;
    /** Of a group that follows another site: what this PostgreSQL was set up to stream from, since when, and when that was last asked. */
    site?: {
      readonly from: string;
      readonly postmasterPid: number;
      readonly sinceMs: number;
      readonly askedMs: number;
      /** How far it had replayed then. */
      readonly replayLsn?: Lsn | undefined;
    };
    /** The server there that libpq is to try first, for another one takes writes too. */
    siteServer?: { readonly host: string; readonly port: number };
    /** The walreceiver and timeline whose history was compared with its upstream's, or is to be, and when that was last tried. */
    siteSeen?: { readonly key: string; readonly isDone: boolean; readonly askedMs: number };
    /** It was cut off from that, for what it holds is not from there: why, and when that was last asked. */
    siteStray?: { readonly from: string; readonly text: string; readonly askedMs: number };
    /** PostgreSQL was started as primary without the log's word: clients are kept out until it has proved itself. */
    isUnproven: boolean;
    /** Why not every other member has its slot here, when that was last looked at. */
    slotProblem?: string | undefined;
    /** The last clone, where it failed: when the next one from that node may begin. */
    failedClone?:
      | { readonly from: string; readonly pauseMs: number; readonly untilMs: number; readonly error: string }
      | undefined;
    /** The restore of a data directory, where it failed: when it is tried again. */
    failedRestore?:
      | {
          readonly pauseMs: number;
          readonly untilMs: number;
          readonly error: string;
          /** PostgreSQL could not be started on what was restored. */
          readonly isUnstartable: boolean;
          /** A person wants it from the backup anew. */
          readonly isToBeAnew?: true;
        }
      | undefined;
    /** PostgreSQL was started to recover a restored data directory, and not stopped since. */
    isRecovering?: boolean;
    /** Recovery of a restored data directory looks for WAL and finds none: where, since when, and how often that was seen. */
    archiveEnd?: { readonly position: Lsn; readonly sinceMs: number; readonly count: number } | undefined;
    /** Where the group's database is could not be written down: when that is tried again. */
    unknownDatabase?: { readonly untilMs: number; readonly error: string } | undefined;
    /** There was no room for a rewind: when it is tried again. */
    noRoom?: { readonly untilMs: number; readonly error: string } | undefined;
    /** Incarnation and epoch at which WAL that it had not archived as primary was put aside, or was tried to be. */
    leftovers?: { readonly at: string; readonly isDone: boolean; readonly failedCount: number };
  };
  readonly instance: Instance;
  readonly guarding: Guarding;
  readonly fence: FenceFile;
  readonly timing: AgentTiming;
  readonly protections: Protections;
  /** The present duty; it may have moved on within the same kind and epoch. */
  duty(): Duty;
  registration(): NodeState | undefined;
  group(): GroupState | undefined;
  /** Of the log: below that of a command it is not proposed, nor what leads to it begun. */
  featureLevel(): number;
  /** Proposes and waits; true where it was applied, false where it was refused or nobody answered (both are said in the log). */
  propose(command: Command): Promise<boolean>;
  /** Whether the log, read through the leader after this call, still gives this node the duty of that kind, incarnation and epoch. */
  confirms(kind: Duty['kind'], token: FenceToken): Promise<boolean>;
  /** Says what is being done, for `status`; undefined: nothing special. */
  activity(condition: NodeCondition | undefined, message: string | undefined): void;
  /** There is something new in the directory of WAL that is not in the archive yet. */
  archiveLeftovers(): void;
  /** Logs a warning and shows it for a while in `status` too, wherever nothing else is being done. */
  announce(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** What {@link announce} has said is the case no longer, and not to be shown as if it were. Cheap where it was not said. */
  withdraw(message: string): void;
  unexpectedEnd(): UnexpectedEnd | undefined;
  /** Since when this process has seen PostgreSQL stopped, which it has never seen running: nobody knows who has stopped it. Undefined: it has. */
  foundStoppedAtMs(): number | undefined;
  clearUnexpectedEnd(): void;
  /** What the data directory is fit for; see {@link Inspection.recent}. */
  dataDirectory(): Promise<DataDirectory>;
  /** Reads the member id from the data directory again and registers the node anew. */
  registerAgain(): Promise<boolean>;
  /** The member id of the data directory as found on disk. */
  localMember(): MemberId | undefined;
  /** Before a promotion: logical slots that must not be gone on from (docs/logical-slots.md). It waits for a moment at most. */
  dropUnfitSlots(duty: Extract<Duty, { readonly kind: 'promote' }>, signal: AbortSignal): Promise<void>;
  /** Runs `work` once for each start of PostgreSQL and `key`; again only if it failed, or after so long. */
  once(key: string, work: () => Promise<void>, againAfterMs?: number): Promise<void>;
  /** Whether {@link once} has done it for the PostgreSQL that runs now. */
  wasDone(key: string): boolean;
  log(level: 'info' | 'warn' | 'error', message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export function query(context: AgentContext, signal: AbortSignal): QueryOptions {
  return { timeoutMs: context.timing.queryTimeoutMs, signal };
}

/** How a primary enforces a rule. */
export function standbysFor(context: AgentContext, rule: SyncRule): SynchronousStandbys {
  if (!context.protections.rule || rule.acks === 0) return { kind: 'alone' };
  // Of a strict group after a promotion: nothing is acknowledged until enough have joined.
  if (rule.members.length < rule.acks) {
    const duty = context.duty();
    return { kind: 'nobody', readersWaitFor: 'slots' in duty ? duty.slots : [] };
  }
  return { kind: 'any', acks: rule.acks, members: rule.members };
}

/** What every node that is not primary waits for: nobody, so that it can acknowledge nothing. */
export function placeholder(context: AgentContext): SynchronousStandbys {
  return context.protections.rule ? { kind: 'nobody' } : { kind: 'alone' };
}

/** Where a node stands in the WAL. */
export interface Standing {
  readonly timeline: Timeline;
  readonly position: Lsn;
}
