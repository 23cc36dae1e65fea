// PostgreSQL as the failover protocol sees it: WAL that branches by timeline, standbys that stream over connections which may be
// half open, and a primary whose postmaster, checkpointer and walsenders each take a new `synchronous_standby_names` by
// themselves, late. After src/failover/testing/postgres-model.ts, with connections and processes of their own.
import type { MemberId, NodeId, PeerId } from '../../../src/base/ids.ts';
import { groupId } from '../../../src/base/ids.ts';
import {
  ALONE,
  NOBODY,
  type StandbyNames,
  type WalRecord,
  timelineOf,
} from '../../../src/failover/testing/wal.ts';

export const GROUP = groupId('main');
/** What a walsender is called through which WAL is fetched (src/actions/fetch-wal.ts). */
export const FETCH_NAME = 'fetch_00000000' as MemberId;
export const SYSTEM_IDENTIFIER = '7000000000000000001';

/** One walsender process, as pg_stat_replication shows it: also long after the other end has gone. */
export interface WalSender {
  readonly id: number;
  readonly member: MemberId;
  flush: number;
  /** The setting as this process has read it. */
  names: StandbyNames;
  /** Event count at its start. */
  readonly startedAt: number;
}

/** The walreceiver process of a standby; `sender` is 0 while it is connecting. */
export interface Receiver {
  readonly id: number;
  readonly upstream: NodeId;
  /** It fetches WAL before a promotion, under a name that no rule counts. */
  readonly isFetch: boolean;
  sender: number;
  /** The upstream's run that it is connected to. */
  upstreamStart: number;
  silentSinceUs: number;
}

export interface Fence {
  readonly incarnation: number;
  readonly epoch: number;
}

export interface Postgres {
  readonly name: NodeId;
  readonly peer: PeerId;
  readonly place: number;
  // On disk.
  wal: WalRecord[];
  member: MemberId | undefined;
  /** False without a data directory, and while a rewind or a clone is unfinished. */
  isFit: boolean;
  endedAs: 'standby' | 'primary' | 'clean';
  fileNames: StandbyNames;
  /** What `primary_conninfo` and the password file lead to. */
  upstream: NodeId | undefined;
  /** `primary_conninfo` names it as one that fetches. */
  isFetching: boolean;
  /** What `upstream` was before it was taken away: only a broken agent looks at it. */
  formerUpstream: NodeId | undefined;
  /** The agent's fence file. */
  fence: Fence;
  // In PostgreSQL's memory.
  isUp: boolean;
  frozenUntilUs: number;
  isFrozen: boolean;
  role: 'standby' | 'primary';
  /** Who has started the present run, or the last one: the owner of a server that is not ours, with settings of his own. */
  startedBy: 'agent' | 'owner';
  /** Clients are let in (pg_hba.conf). */
  isAdmitting: boolean;
  startCount: number;
  replayed: number;
  postmasterNames: StandbyNames;
  checkpointerNames: StandbyNames;
  senders: WalSender[];
  /** Positions of commits that wait for their acknowledgement. */
  waiting: number[];
  receiver: Receiver | undefined;
  isFlowing: boolean;
}

export function createPostgres(name: NodeId, peer: PeerId, place: number): Postgres {
  return {
    name,
    peer,
    place,
    wal: [],
    member: undefined,
    isFit: false,
    endedAs: 'standby',
    fileNames: NOBODY,
    upstream: undefined,
    isFetching: false,
    formerUpstream: undefined,
    fence: { incarnation: 0, epoch: 0 },
    isUp: false,
    frozenUntilUs: 0,
    isFrozen: false,
    role: 'standby',
    startedBy: 'agent',
    isAdmitting: false,
    startCount: 0,
    replayed: 0,
    postmasterNames: NOBODY,
    checkpointerNames: NOBODY,
    senders: [],
    waiting: [],
    receiver: undefined,
    isFlowing: false,
  };
}

export const isPrimary = (node: Postgres): boolean => node.isUp && node.role === 'primary';

/** It runs with settings that are not ours. */
export const isForeign = (node: Postgres): boolean => node.isUp && node.startedBy === 'owner';

/** What is configured but not in force yet comes into force with the start. */
export function start(node: Postgres, role: 'standby' | 'primary', replayed: number): void {
  node.isUp = true;
  node.isFrozen = false;
  node.startedBy = 'agent';
  node.role = role;
  node.endedAs = role;
  node.startCount += 1;
  node.replayed = role === 'primary' ? node.wal.length : replayed;
  node.postmasterNames = node.fileNames;
  node.checkpointerNames = node.fileNames;
  node.isAdmitting = false;
  forgetProcesses(node);
}

/** Started by its owner, with settings of his own: it waits for no standby, and clients are let in. */
export function startByHand(node: Postgres, role: 'standby' | 'primary'): void {
  node.fileNames = ALONE;
  start(node, role, 0);
  node.startedBy = 'owner';
  node.isAdmitting = role === 'primary';
}

/** `application_name` of its walreceiver. */
export const streamName = (node: Postgres): MemberId =>
  node.startedBy === 'owner' || node.member === undefined
    ? (`walreceiver_${node.name}` as MemberId)
    : node.member;

/** Every process of the instance is gone. */
export function stop(node: Postgres): void {
  node.isUp = false;
  node.isFrozen = false;
  node.isAdmitting = false;
  forgetProcesses(node);
}

function forgetProcesses(node: Postgres): void {
  node.senders = [];
  node.waiting = [];
  node.receiver = undefined;
}

/** Makes new streams impossible and ends the walreceiver process, also one that is still connecting. */
export function cut(node: Postgres): void {
  node.formerUpstream = node.upstream ?? node.formerUpstream;
  node.upstream = undefined;
  node.isFetching = false;
  node.receiver = undefined;
}

/** PostgreSQL compares timeline numbers, not contents: the standby's last record is on the upstream's history. */
export function isOnHistory(standby: Postgres, upstream: Postgres): boolean {
  const { length } = standby.wal;
  if (length > upstream.wal.length) return false;
  return length === 0 || upstream.wal[length - 1]?.timeline === standby.wal[length - 1]?.timeline;
}

/** Whether WAL could flow between the two as they are set up, now or once a process that is connecting has connected. */
function canStream(standby: Postgres, upstream: Postgres): boolean {
  if (!standby.isUp || standby.role !== 'standby') return false;
  if (!upstream.isUp || upstream === standby) return false;
  const leadsThere = standby.upstream === upstream.name || standby.receiver?.upstream === upstream.name;
  return leadsThere && isOnHistory(standby, upstream);
}

const counts = (names: StandbyNames, member: MemberId): boolean =>
  names.kind === 'any' && names.rule.members.includes(member);

/** `sync_priority > 0`, as the walsender itself has it. */
export const hasPriority = (sender: WalSender): boolean => counts(sender.names, sender.member);

/** A new walsender; whoever held the member's replication slot before is ended, also where its other end is long gone. */
export function connectSender(upstream: Postgres, member: MemberId, id: number, now: number): WalSender {
  upstream.senders = upstream.senders.filter((other) => other.member !== member);
  const sender: WalSender = { id, member, flush: 0, names: upstream.postmasterNames, startedAt: now };
  upstream.senders.push(sender);
  return sender;
}

/** What a walsender releases when an answer comes in (SyncRepReleaseWaiters): the position up to which commits go on. */
export function releasedBy(primary: Postgres, sender: WalSender): number {
  const { names } = sender;
  if (names.kind !== 'any' || !hasPriority(sender)) return 0;
  const flushed: number[] = [];
  for (const other of primary.senders) if (hasPriority(other)) flushed.push(other.flush);
  flushed.sort((a, b) => b - a);
  return flushed[names.rule.acks - 1] ?? 0;
}

/** Takes what waits up to `position` out of the queue. */
export function takeOut(primary: Postgres, position: number): readonly number[] {
  let count = 0;
  while (count < primary.waiting.length && (primary.waiting[count] as number) <= position) count += 1;
  return count === 0 ? [] : primary.waiting.splice(0, count);
}

/** Whatever leads from `standby` to `upstream` goes by the name that nobody counts. */
const isFetchOf = ({ upstream: leadsTo, isFetching, receiver }: Postgres, upstream: Postgres): boolean =>
  (leadsTo !== upstream.name || isFetching) && (receiver?.upstream !== upstream.name || receiver.isFetch);

/** Whether a commit made now could be acknowledged with the streams that are set up, whatever the network does meanwhile. */
export function canAcknowledge(node: Postgres, nodes: readonly Postgres[]): boolean {
  if (!isPrimary(node)) return false;
  if (node.checkpointerNames.kind === 'alone') return node.isAdmitting;
  const live: WalSender[] = [];
  for (const other of nodes) {
    if (!canStream(other, node) || isFetchOf(other, node)) continue;
    const member = streamName(other);
    const known = node.senders.find(
      (sender) => sender.member === member && sender.id === other.receiver?.sender,
    );
    live.push(known ?? { id: 0, member, flush: 0, names: node.postmasterNames, startedAt: 0 });
  }
  const priority = live.filter(hasPriority);
  return priority.some((sender) => sender.names.kind === 'any' && sender.names.rule.acks <= priority.length);
}

/** Where it stands, in one line. */
export function describeNode(node: Postgres): string {
  const { name, role, isUp, wal, member, fence, upstream } = node;
  return `${name} ${isUp ? role : 'down'} at ${timelineOf(wal)}/${wal.length}, ${member ?? 'no member'}, fence ${fence.incarnation}/${fence.epoch}, from ${upstream ?? 'nobody'}`;
}
