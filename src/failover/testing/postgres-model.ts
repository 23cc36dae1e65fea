// PostgreSQL as the failover protocol sees it: WAL that branches by timeline, standbys that stream, and a primary whose
// checkpointer and walsenders each take a new `synchronous_standby_names` by themselves, late. Never used outside tests.
import type { MemberId, NodeId, PeerId } from '../../base/ids.ts';
import { epoch } from '../../base/ids.ts';
import type { FenceToken } from '../../cluster/fence.ts';
import type { ClusterState } from '../../cluster/state.ts';
import { NOBODY, type StandbyNames, type WalRecord } from './wal.ts';

/** A member's connection on its upstream, as pg_stat_replication shows it: also long after the member has gone. */
export interface WalSender {
  flush: number;
  /** The setting as this process has read it. */
  names: StandbyNames;
  startedAt: number;
}

export interface AgentModel {
  isAlive: boolean;
  /** Whether it reaches the Raft group: else it neither learns nor proposes. */
  isConnected: boolean;
  /** The states of the log it reads, by index; that of an earlier incarnation where the cluster was recovered without it. */
  log: readonly ClusterState[];
  /** How far it has applied the log; begins at 0 after every restart. */
  applied: number;
  /** After a restart nothing is obeyed before the log is applied up to an index read through the leader since then. */
  catchUpTo: number | 'unread' | 'done';
  memo: AgentMemo;
}

/** What an agent forgets when it restarts. */
export interface AgentMemo {
  /** WAL is being fetched by this run of PostgreSQL, or was: then what came of it is to be said. */
  fetching?: { readonly startCount: number; readonly untilMs: number; isOver: boolean };
  stoppedAtMs?: number;
  change?: {
    readonly index: number;
    readonly start: number;
    stage: 'wait' | 'set' | 'verify' | 'flush';
    seenAt: number;
    flushed: number;
  };
  /** A lease that was asked for, and whether the leader has granted it. */
  lease?: { readonly askedAtMs: number; readonly isGranted: boolean };
}

export interface NodeModel {
  readonly name: NodeId;
  readonly peer: PeerId;
  // On disk.
  wal: WalRecord[];
  member: MemberId | undefined;
  /** False while a rewind or a clone is unfinished. */
  isFit: boolean;
  endedAs: 'standby' | 'primary' | 'clean';
  fileNames: StandbyNames;
  upstream: NodeId | undefined;
  /** It streams to fetch WAL before a promotion, under a name that no rule counts. */
  isFetching: boolean;
  /** What `upstream` was before it was taken away: only a broken agent looks at it. */
  formerUpstream: NodeId | undefined;
  fence: FenceToken;
  // In PostgreSQL's memory.
  isUp: boolean;
  role: 'standby' | 'primary';
  startCount: number;
  replayed: number;
  checkpointerNames: StandbyNames;
  senders: Map<MemberId, WalSender>;
  waiting: { readonly position: number; readonly value: number }[];
  /** Of the guard, a process of its own: until when the primary may run; undefined where it needs no lease. */
  leaseUntilMs: number | undefined;
  readonly agent: AgentModel;
}

export const NO_FENCE: FenceToken = { incarnation: 0, epoch: epoch(0) };
export const isPrimary = (node: NodeModel): boolean => node.isUp && node.role === 'primary';

export function newNode(name: NodeId, peer: PeerId, member: MemberId, wal: readonly WalRecord[]): NodeModel {
  return {
    name,
    peer,
    wal: [...wal],
    member,
    isFit: true,
    endedAs: 'standby',
    fileNames: NOBODY,
    upstream: undefined,
    isFetching: false,
    formerUpstream: undefined,
    fence: NO_FENCE,
    isUp: false,
    role: 'standby',
    startCount: 0,
    replayed: 0,
    checkpointerNames: NOBODY,
    senders: new Map(),
    waiting: [],
    leaseUntilMs: undefined,
    agent: { isAlive: true, isConnected: true, log: [], applied: 0, catchUpTo: 'done', memo: {} },
  };
}

/** What is configured but not in force yet comes into force with the start (PostgreSQL 15.13 and later). */
export function start(node: NodeModel, role: 'standby' | 'primary', replayed: number): void {
  node.isUp = true;
  node.role = role;
  node.endedAs = role;
  node.startCount += 1;
  node.replayed = role === 'primary' ? node.wal.length : replayed;
  node.checkpointerNames = node.fileNames;
  node.senders = new Map();
  node.waiting = [];
}

export function stop(node: NodeModel): void {
  node.isUp = false;
  node.leaseUntilMs = undefined;
  node.senders = new Map();
  node.waiting = [];
}

/** Ends every WAL stream and makes new ones impossible. */
export function cut(node: NodeModel): void {
  node.formerUpstream = node.upstream ?? node.formerUpstream;
  node.upstream = undefined;
  node.isFetching = false;
}

/** PostgreSQL compares timeline numbers, not contents: the standby's last record is on the upstream's history. */
export function canStream(standby: NodeModel, upstream: NodeModel): boolean {
  if (
    !standby.isUp ||
    standby.role !== 'standby' ||
    standby.upstream !== upstream.name ||
    standby.member === undefined
  )
    return false;
  if (!upstream.isUp || upstream === standby || standby.wal.length > upstream.wal.length) return false;
  const last = standby.wal.at(-1);
  return last === undefined || upstream.wal[standby.wal.length - 1]?.timeline === last.timeline;
}

/** Takes up to `count` records from the upstream. */
export function stream(standby: NodeModel, upstream: NodeModel, count: number): void {
  standby.wal.push(...upstream.wal.slice(standby.wal.length, standby.wal.length + count));
}

export function connect(standby: NodeModel, upstream: NodeModel, now: number): WalSender {
  const member = standby.member as MemberId;
  const sender = upstream.senders.get(member) ?? { flush: 0, names: upstream.fileNames, startedAt: now };
  upstream.senders.set(member, sender);
  return sender;
}

const counts = (names: StandbyNames, member: MemberId): boolean =>
  names.kind === 'any' && names.rule.members.includes(member);

/** `sync_priority > 0`, as the walsender itself has it. */
export const hasPriority = ([member, sender]: readonly [MemberId, WalSender]): boolean =>
  counts(sender.names, member);

/** What the walsender of `member` releases when an answer comes in (SyncRepReleaseWaiters): taken out of `waiting`. */
export function release(primary: NodeModel, member: MemberId): readonly number[] {
  const names = primary.senders.get(member)?.names;
  if (names?.kind !== 'any' || !counts(names, member)) return [];
  const flushed = [...primary.senders]
    .filter(hasPriority)
    .map(([, sender]) => sender.flush)
    .sort((a, b) => b - a);
  const reached = flushed[names.rule.acks - 1] ?? 0;
  return takeOut(primary, reached);
}

export function takeOut(primary: NodeModel, position: number): readonly number[] {
  const released = primary.waiting.filter((commit) => commit.position <= position);
  primary.waiting = primary.waiting.filter((commit) => commit.position > position);
  return released.map((commit) => commit.value);
}

/** Whether a commit made now could be acknowledged with the streams that are set up, whatever the network does meanwhile. */
export function canAcknowledge(node: NodeModel, nodes: readonly NodeModel[]): boolean {
  if (!isPrimary(node)) return false;
  if (node.checkpointerNames.kind === 'alone') return true;
  const live: [MemberId, WalSender][] = nodes
    .filter((other) => !other.isFetching && canStream(other, node))
    .map((other) => {
      const member = other.member as MemberId;
      return [member, node.senders.get(member) ?? { flush: 0, names: node.fileNames, startedAt: 0 }];
    });
  const priority = live.filter(hasPriority);
  return priority.some(
    ([, sender]) => sender.names.kind === 'any' && sender.names.rule.acks <= priority.length,
  );
}
