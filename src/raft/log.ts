// The log in memory: contiguous entries after a base, terms never decreasing (Raft §5.3; compaction: thesis §5.1).
// Must never change an entry in place, and never report a term for an index it does not hold.
// All arithmetic between an index and a position in the array is here and nowhere else.
import { assert } from '../base/assert.ts';
import { logIndex, term } from '../base/ids.ts';
import type { LogIndex, Term } from '../base/ids.ts';
import type { Entry } from './types.ts';

/** Index and term of the last entry that is compacted away; 0 and 0 where none is. */
export interface LogBase {
  readonly index: LogIndex;
  readonly term: Term;
}

export interface Log {
  /** What the entries follow. */
  base: LogBase;
  readonly entries: Entry[];
}

export const INDEX_ZERO: LogIndex = logIndex(0);
const BASE_ZERO: LogBase = { index: INDEX_ZERO, term: term(0) };

/** Bytes that every entry costs on top of its data, for the limits on batches. */
const ENTRY_OVERHEAD_BYTES = 32;

export function createLog(entries: readonly Entry[], base: LogBase = BASE_ZERO): Log {
  const log: Log = { base, entries: [] };
  for (const entry of entries) appendEntry(log, entry);
  return log;
}

/** Index of the last entry; that of the base where there is no entry after it. */
export function lastIndex(log: Log): LogIndex {
  return (log.base.index + log.entries.length) as LogIndex;
}

/** Term of the last entry; that of the base where there is no entry after it. */
export function lastTerm(log: Log): Term {
  return log.entries.at(-1)?.term ?? log.base.term;
}

/** Term of the entry at `index`, also at the base; `undefined` where the log holds none, any more or yet. */
export function termAt(log: Log, index: LogIndex): Term | undefined {
  return index === log.base.index ? log.base.term : log.entries[positionOf(log, index)]?.term;
}

/** Whether the log holds an entry of `expected` term at `index`: the consistency check of AppendEntries (§5.3). */
export function matchesAt(log: Log, index: LogIndex, expected: Term): boolean {
  return termAt(log, index) === expected;
}

/** Whether a log that ends in (`index`, `lastLogTerm`) is at least as up to date as ours (§5.4.1). */
export function isUpToDate(log: Log, index: LogIndex, lastLogTerm: Term): boolean {
  const ownTerm = lastTerm(log);
  return lastLogTerm > ownTerm || (lastLogTerm === ownTerm && index >= lastIndex(log));
}

export function appendEntry(log: Log, entry: Entry): void {
  assert(entry.index === lastIndex(log) + 1, () => `entry ${entry.index} does not follow ${lastIndex(log)}`);
  assert(
    entry.term >= lastTerm(log),
    () => `entry ${entry.index} has term ${entry.term}, its predecessor ${lastTerm(log)}`,
  );
  log.entries.push(entry);
}

/** Removes the entry at `index` and all after it. */
export function truncateFrom(log: Log, index: LogIndex): void {
  assert(
    index > log.base.index && index <= lastIndex(log),
    () => `cannot truncate from ${index}: the log holds ${describeRange(log)}`,
  );
  log.entries.length = positionOf(log, index);
}

/** Removes the entries up to `index`, which becomes the base. */
export function compactTo(log: Log, index: LogIndex): void {
  const baseTerm = termAt(log, index);
  assert(baseTerm !== undefined, () => `cannot compact to ${index}: the log holds ${describeRange(log)}`);
  log.entries.splice(0, index - log.base.index);
  log.base = { index, term: baseTerm };
}

/** Removes every entry; the log goes on after `base`. */
export function restartAt(log: Log, base: LogBase): void {
  log.entries.length = 0;
  log.base = base;
}

/** Entries from `from` to `to`, both included. */
export function entriesBetween(log: Log, from: LogIndex, to: LogIndex): readonly Entry[] {
  assert(
    from > log.base.index && to <= lastIndex(log),
    () => `entries ${from}..${to} are not in a log that holds ${describeRange(log)}`,
  );
  return log.entries.slice(positionOf(log, from), positionOf(log, to) + 1);
}

export function entryBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES;
}

/** Entries from `from` on: at least one if there is one, then as many as both limits allow. */
export function entriesFrom(
  log: Log,
  from: LogIndex,
  limits: { readonly count: number; readonly bytes: number },
): readonly Entry[] {
  assert(from > log.base.index, () => `entry ${from} is compacted away: the log holds ${describeRange(log)}`);
  const start = positionOf(log, from);
  let end = start;
  let bytes = 0;
  while (end < log.entries.length && end - start < limits.count) {
    const entry = log.entries[end];
    assert(entry !== undefined, () => `hole in the log at position ${end}`);
    bytes += entryBytes(entry);
    if (bytes > limits.bytes && end > start) break;
    end += 1;
  }
  return log.entries.slice(start, end);
}

/**
 * The last index at or below `index` whose term is at most `limit`: where two logs may still agree. Used by the follower to
 * give a hint and by the leader to follow it, so that a refusal skips a whole term (§5.3, accelerated backtracking).
 * Where it lies below the base, only that is said: the terms there are not known any more.
 */
export function lastIndexOfTermAtMost(log: Log, index: LogIndex, limit: Term): LogIndex {
  if (index < log.base.index) return index;
  if (log.base.term > limit) return logIndex(log.base.index - 1);
  let low: number = log.base.index;
  let high = Math.min(index, lastIndex(log));
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    const found = termAt(log, middle as LogIndex);
    assert(found !== undefined, () => `hole in the log at ${middle}`);
    if (found <= limit) low = middle;
    else high = middle - 1;
  }
  return logIndex(low);
}

function positionOf(log: Log, index: LogIndex): number {
  return index - log.base.index - 1;
}

function describeRange(log: Log): string {
  return `${log.base.index + 1}..${lastIndex(log)}`;
}
