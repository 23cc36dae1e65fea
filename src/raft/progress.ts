// What the leader knows of one follower, and how much it may send it. Invariant: 0 <= match < next.
// `probe` sends one message at a time until the logs are known to agree; `replicate` sends ahead of the answers
// (pipelining), bounded by messages and by bytes; `snapshot` waits for the answer to one snapshot.
// Must never move `match` back: what was durable there stays so (§5.3).
import { assert } from '../base/assert.ts';
import { logIndex } from '../base/ids.ts';
import type { LogIndex } from '../base/ids.ts';
import type { RaftSettings } from './types.ts';

/**
 * An append sent and not yet answered for. One that is repeated keeps its place and is known by all its rounds, `firstRound`
 * to `lastRound`: otherwise no answer would ever count on a connection slower than the repetition.
 */
export interface InflightAppend {
  readonly firstRound: number;
  lastRound: number;
  readonly prevIndex: LogIndex;
  lastIndex: LogIndex;
  bytes: number;
}

/** The snapshot sent and not yet answered for. */
export interface SnapshotUnderway {
  readonly index: LogIndex;
  readonly sentAtMs: number;
  /** The network says that all of it is there, so that the answer cannot be long in coming. */
  arrived: boolean;
}

export interface Progress {
  mode: 'probe' | 'replicate' | 'snapshot';
  /** Answers to earlier rounds are not for us: they come from a former membership of a peer of the same name. */
  readonly firstRound: number;
  /** Last index known to be durable and equal to ours there. */
  match: LogIndex;
  /** Index of the next entry to send. */
  next: LogIndex;
  inflight: InflightAppend[];
  inflightBytes: number;
  /** Present exactly while `mode` is `snapshot`. */
  snapshot: SnapshotUnderway | undefined;
  /** No snapshot before this moment: one that fails at once must not be repeated at once. */
  snapshotDueMs: number;
  /** When it was last sent an append. */
  appendedAtMs: number;
  /** When it last answered us in this term. */
  activeAtMs: number;
  /** Highest heartbeat round it answered; only ever grows. */
  answeredRound: number;
  /** Highest commit index told to it. */
  commitTold: LogIndex;
}

export function createProgress(options: {
  readonly next: LogIndex;
  readonly nowMs: number;
  readonly firstRound?: number;
}): Progress {
  const { next, nowMs } = options;
  return {
    mode: 'probe',
    firstRound: options.firstRound ?? 0,
    match: logIndex(0),
    next,
    inflight: [],
    inflightBytes: 0,
    snapshot: undefined,
    snapshotDueMs: nowMs,
    appendedAtMs: nowMs,
    activeAtMs: nowMs,
    answeredRound: 0,
    commitTold: logIndex(0),
  };
}

/** Whether entries may be sent now (flow control). Polls, which carry none, take nobody's place; each follows an append. */
export function mayAppend(progress: Progress, settings: RaftSettings): boolean {
  if (progress.mode === 'snapshot') return false;
  if (progress.mode === 'probe') return progress.inflight.length === 0;
  if (progress.inflightBytes >= settings.maxInflightBytes) {
    // mark: inflight-bytes-full
    return false;
  }
  if (progress.inflight.length < settings.maxInflightAppends) return true;
  const appends = progress.inflight.filter((sent) => sent.lastIndex > sent.prevIndex).length;
  return appends < settings.maxInflightAppends;
}

/** Notes an append that was sent. In `replicate`, `next` moves ahead of the answer. */
export function recordAppend(
  progress: Progress,
  sent: {
    readonly round: number;
    readonly prevIndex: LogIndex;
    readonly lastIndex: LogIndex;
    readonly bytes: number;
    readonly nowMs: number;
  },
): void {
  progress.appendedAtMs = sent.nowMs;
  const newest = progress.inflight.at(-1);
  if (newest !== undefined && isRepetition(progress, newest, sent)) {
    newest.lastRound = sent.round;
    newest.lastIndex = sent.lastIndex;
    progress.inflightBytes += sent.bytes - newest.bytes;
    newest.bytes = sent.bytes;
    return;
  }
  const { round, prevIndex, lastIndex, bytes } = sent;
  progress.inflight.push({ firstRound: round, lastRound: round, prevIndex, lastIndex, bytes });
  progress.inflightBytes += bytes;
  if (progress.mode === 'replicate') setNext(progress, logIndex(lastIndex + 1));
}

/** The follower's log is durable and equal to ours up to `matchIndex`. True for ever in this term, however late it arrives. */
export function recordMatch(progress: Progress, matchIndex: LogIndex): void {
  if (matchIndex < progress.match) {
    // mark: stale-match-ignored
    return;
  }
  progress.match = matchIndex;
  if (progress.snapshot !== undefined && matchIndex < progress.snapshot.index) {
    // mark: match-below-snapshot
    setNext(progress, logIndex(Math.max(progress.next, matchIndex + 1)));
    return;
  }
  if (progress.mode !== 'replicate') {
    progress.mode = 'replicate';
    clearUnderway(progress);
    setNext(progress, logIndex(matchIndex + 1));
    return;
  }
  let answered = 0;
  while ((progress.inflight[answered]?.lastIndex ?? Number.POSITIVE_INFINITY) <= matchIndex) {
    progress.inflightBytes -= progress.inflight[answered]?.bytes ?? 0;
    answered += 1;
  }
  progress.inflight.splice(0, answered);
  setNext(progress, logIndex(Math.max(progress.next, matchIndex + 1)));
}

/**
 * The `prevIndex` that the refusal of `round` is about, or `undefined` where the refusal is stale: for a message that we
 * no longer wait for, or about an index that has been shown to match since.
 */
export function refusedPrevIndex(progress: Progress, round: number): LogIndex | undefined {
  const refused = progress.inflight.find((sent) => sent.firstRound <= round && round <= sent.lastRound);
  return refused === undefined || refused.prevIndex <= progress.match ? undefined : refused.prevIndex;
}

/** Goes back to probing from `candidate` (clamped to what is known to match and to what was refused). */
export function backtrack(progress: Progress, refusedIndex: LogIndex, candidate: LogIndex): void {
  assert(refusedIndex > progress.match, () => `refused ${refusedIndex} although ${progress.match} matches`);
  progress.mode = 'probe';
  clearUnderway(progress);
  setNext(progress, logIndex(Math.max(Math.min(refusedIndex, candidate), progress.match + 1)));
}

/** A snapshot was sent in place of all up to `index`: nothing else goes until it is answered for, lost or late. */
export function recordSnapshot(progress: Progress, index: LogIndex, nowMs: number): void {
  progress.mode = 'snapshot';
  clearUnderway(progress);
  progress.snapshot = { index, sentAtMs: nowMs, arrived: false };
  progress.appendedAtMs = nowMs;
}

/** Probes again: after the snapshot where it arrived, else from where we were. Another one may go from `dueMs` on. */
export function endSnapshot(progress: Progress, dueMs: number): void {
  const { snapshot } = progress;
  progress.mode = 'probe';
  clearUnderway(progress);
  progress.snapshotDueMs = dueMs;
  if (snapshot?.arrived === true) setNext(progress, logIndex(Math.max(snapshot.index, progress.match) + 1));
}

/** While probing, whatever follows the same entry asks the same question. */
function isRepetition(
  progress: Progress,
  newest: InflightAppend,
  sent: { readonly prevIndex: LogIndex; readonly lastIndex: LogIndex },
): boolean {
  return (
    newest.prevIndex === sent.prevIndex && (progress.mode === 'probe' || newest.lastIndex === sent.lastIndex)
  );
}

function clearUnderway(progress: Progress): void {
  progress.inflight = [];
  progress.inflightBytes = 0;
  progress.snapshot = undefined;
}

function setNext(progress: Progress, next: LogIndex): void {
  assert(progress.match < next, () => `0 <= match < next broken: match ${progress.match}, next ${next}`);
  progress.next = next;
}
