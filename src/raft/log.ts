// The log in memory: contiguous entries from index 1, terms never decreasing (Raft §5.3).
// Must never change an entry in place, and never report a term for an index it does not hold.
// All arithmetic between an index and a position in the array is here and nowhere else.
import { assert } from '../base/assert.ts';
import { logIndex, term } from '../base/ids.ts';
import type { LogIndex, Term } from '../base/ids.ts';
import type { Entry } from './types.ts';

export interface Log {
  readonly entries: Entry[];
}

export const INDEX_ZERO: LogIndex = logIndex(0);
const TERM_ZERO: Term = term(0);

/** Bytes that every entry costs on top of its data, for the limits on batches. */
const ENTRY_OVERHEAD_BYTES = 32;

export function createLog(entries: readonly Entry[]): Log {
  const log: Log = { entries: [] };
  for (const entry of entries) appendEntry(log, entry);
  return log;
}

/** Index of the last entry, 0 for an empty log. */
export function lastIndex(log: Log): LogIndex {
  return log.entries.at(-1)?.index ?? INDEX_ZERO;
}

/** Term of the last entry, 0 for an empty log. */
export function lastTerm(log: Log): Term {
  return log.entries.at(-1)?.term ?? TERM_ZERO;
}

/** Term of the entry at `index`; 0 for index 0 ("before the log"); `undefined` where there is no entry. */
export function termAt(log: Log, index: LogIndex): Term | undefined {
  return index === 0 ? TERM_ZERO : log.entries[index - 1]?.term;
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
    index >= 1 && index <= lastIndex(log),
    () => `cannot truncate from ${index}: the log ends at ${lastIndex(log)}`,
  );
  log.entries.length = index - 1;
}

/** Entries from `from` to `to`, both included. */
export function entriesBetween(log: Log, from: LogIndex, to: LogIndex): readonly Entry[] {
  assert(
    from >= 1 && to <= lastIndex(log),
    () => `entries ${from}..${to} are not in a log that ends at ${lastIndex(log)}`,
  );
  return log.entries.slice(from - 1, to);
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
  let end = from - 1;
  let bytes = 0;
  while (end < log.entries.length && end - (from - 1) < limits.count) {
    const entry = log.entries[end];
    assert(entry !== undefined, () => `hole in the log at ${end + 1}`);
    bytes += entryBytes(entry);
    if (bytes > limits.bytes && end > from - 1) break;
    end += 1;
  }
  return log.entries.slice(from - 1, end);
}

/**
 * The last index at or below `index` whose term is at most `limit`: where two logs may still agree. Used by the follower to
 * give a hint and by the leader to follow it, so that a refusal skips a whole term (§5.3, accelerated backtracking).
 */
export function lastIndexOfTermAtMost(log: Log, index: LogIndex, limit: Term): LogIndex {
  let low = 0;
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
