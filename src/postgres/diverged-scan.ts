// Finds the transactions that a stopped node committed, or prepared, beyond the point where the group's history left its own. A
// transaction that committed beyond it may have written rows before it: those are looked for as well. Only reads.
import { formatLsn, lsn, type Lsn } from '../base/lsn.ts';
import type { Timeline } from '../base/ids.ts';
import { type ControlData, readControlData } from './control-data.ts';
import {
  readWalEvent,
  type RelationFile,
  type RowChange,
  type RowPlace,
  type WalEvent,
} from './diverged-wal.ts';
import { readHistory } from './timelines.ts';
import { firstRecordFrom, openPages, recordStart, scanRecords, type Pages } from './wal-records.ts';

export interface DivergedTransaction {
  readonly xid: number;
  readonly end: 'committed' | 'prepared';
  /** Of the commit record, or of the record that prepared it. */
  readonly endLsn: Lsn;
  readonly endedAtMs: number;
  /** The name that the client gave a prepared transaction. */
  readonly name: string | undefined;
  /** In the order in which they were made. */
  readonly changes: readonly RowChange[];
}

export interface DivergedScan {
  readonly transactions: readonly DivergedTransaction[];
  readonly timeline: Timeline;
  /** End of the last valid record that was read. */
  readonly end: Lsn;
  /** Why something may be missing; empty when nothing is. */
  readonly gaps: readonly string[];
  /** One of the gaps: WAL that this node wrote is not here beyond `end`. Then nobody can tell that there were no more writes. */
  readonly hole: string | undefined;
  /** Whether the version at that place was replaced by one that another record wrote later than `since`. */
  isOverwritten(relation: RelationFile, place: RowPlace, since: Lsn): boolean;
}

export interface ScanLimits {
  /** WAL read beyond the point of divergence. */
  readonly walBytesMax: number;
  /** WAL read before it, for transactions that began there. */
  readonly lookBackBytesMax: number;
  readonly changesMax: number;
}

/** Throws when the directory's control file or its history cannot be read, and the signal's reason when it aborts. */
export async function scanDiverged(options: {
  readonly dataDirectory: string;
  /** Where the group's history left this node's: a record begins or ends there. */
  readonly from: Lsn;
  /** What begins there is not read; undefined: to the end. */
  readonly to?: Lsn | undefined;
  readonly version: number;
  readonly limits: ScanLimits;
  readonly signal: AbortSignal;
}): Promise<DivergedScan> {
  const { dataDirectory, from, limits } = options;
  const control = await readControlData(dataDirectory);
  const timeline = Math.max(control.checkpointTimeline, control.minRecoveryTimeline ?? 0) as Timeline;
  const history = await readHistory(dataDirectory, timeline);
  if (history === undefined)
    throw new Error(`the history file of timeline ${timeline} is missing in ${dataDirectory}`);
  const pages = openPages({ ...control, dataDirectory, newest: timeline, history });
  try {
    const beyond = createCollection(limits.changesMax);
    const segmentBytes = BigInt(control.walSegmentBytes);
    const read = { ...options, pages, segmentBytes };
    const limit = lsn(from + BigInt(limits.walBytesMax));
    const to = options.to !== undefined && options.to < limit ? options.to : limit;
    const { end, isReached } = await collect(read, { from, to, take: (event, at) => beyond.take(event, at) });
    const gaps = beyond.isFull ? [`more than ${limits.changesMax} row changes: the rest was left out`] : [];
    if (end >= limit)
      gaps.push(`WAL beyond ${formatLsn(end)} was not read (limit ${limits.walBytesMax} bytes)`);
    const isCut = !isReached && isWrittenBeyond(control, end);
    const hole = isCut
      ? `there is no valid WAL at ${formatLsn(end)} in ${dataDirectory}/pg_wal, though it went on beyond that`
      : undefined;
    if (hole !== undefined) gaps.push(hole);
    const wanted = new Set([...beyond.ends, ...beyond.pending.values()].flatMap((each) => each.xids));
    const { before, gap } = await lookBack(read, wanted);
    if (before.isFull)
      gaps.push(
        `more than ${limits.changesMax} row changes before ${formatLsn(from)}: the rest was left out`,
      );
    if (gap !== undefined) gaps.push(gap);
    return {
      transactions: assemble(beyond, before),
      timeline,
      end,
      gaps,
      hole,
      isOverwritten: (relation, place, since) =>
        (beyond.writers.get(placeKey(relation, place)) ?? 0n) > since,
    };
  } finally {
    await pages.close();
  }
}

/**
 * Whether the control file knows of WAL beyond the end of a record: a checkpoint there, or what a standby has replayed. A rewind sets the latter
 * to where its source would insert next, which is behind a page header though there may be no record yet.
 */
function isWrittenBeyond(control: ControlData, end: Lsn): boolean {
  const next = recordStart(end, control);
  return control.checkpoint >= next || control.minRecoveryEnd > next;
}

interface Reading {
  readonly pages: Pages;
  readonly segmentBytes: bigint;
  readonly version: number;
  readonly signal: AbortSignal;
  readonly limits: ScanLimits;
  readonly from: Lsn;
}

/** `isReached`: the WAL goes as far as `to` without a hole. */
async function collect(
  reading: Reading,
  options: { readonly from: Lsn; readonly to: Lsn; readonly take: (event: WalEvent, at: Lsn) => void },
): Promise<{ readonly end: Lsn; readonly isReached: boolean }> {
  let isStopped = false;
  const end = await scanRecords({
    ...reading,
    from: options.from,
    onRecord(record, at) {
      if (at >= options.to) {
        isStopped = true;
        return 'stop';
      }
      const event = readWalEvent(record, at, reading.version);
      if (event !== undefined) options.take(event, at);
      return undefined;
    },
  });
  return { end, isReached: isStopped || end >= options.to };
}

interface Ended {
  readonly top: number;
  readonly xids: readonly number[];
  readonly lsn: Lsn;
  readonly atMs: number;
}

interface Collection {
  readonly changes: Map<number, RowChange[]>;
  readonly ends: Ended[];
  readonly pending: Map<number, Ended & { readonly name: string }>;
  /** Names of all transactions that were prepared, also of those that were committed later. */
  readonly names: Map<number, string>;
  readonly writers: Map<string, Lsn>;
  readonly isFull: boolean;
  take(event: WalEvent, at: Lsn): void;
}

function createCollection(changesMax: number): Collection {
  const changes = new Map<number, RowChange[]>();
  const ends: Ended[] = [];
  const pending = new Map<number, Ended & { readonly name: string }>();
  const names = new Map<number, string>();
  const writers = new Map<string, Lsn>();
  let count = 0;
  let isFull = false;

  const add = (change: RowChange): void => {
    if (count >= changesMax) {
      isFull = true;
      return;
    }
    count += 1;
    const present = changes.get(change.xid);
    if (present === undefined) changes.set(change.xid, [change]);
    else present.push(change);
    if (change.newPlace !== undefined) writers.set(placeKey(change.relation, change.newPlace), change.lsn);
  };

  return {
    changes,
    ends,
    pending,
    names,
    writers,
    get isFull() {
      return isFull;
    },
    take(event, at) {
      switch (event.kind) {
        case 'changes':
          for (const change of event.changes) add(change);
          return;
        case 'withdrawn': {
          const key = placeKey(event.relation, event.place);
          const kept = (changes.get(event.xid) ?? []).filter(
            ({ relation, newPlace }) => newPlace === undefined || placeKey(relation, newPlace) !== key,
          );
          changes.set(event.xid, kept);
          return;
        }
        case 'commit':
          pending.delete(event.top);
          ends.push({ top: event.top, xids: event.xids, lsn: at, atMs: event.committedAtMs });
          return;
        case 'abort':
          for (const xid of event.xids) {
            pending.delete(xid);
            changes.delete(xid);
          }
          return;
        case 'prepare':
          names.set(event.top, event.name);
          pending.set(event.top, { ...event, lsn: at, atMs: event.preparedAtMs });
          return;
        case 'running':
          return;
      }
    },
  };
}

const placeKey = (relation: RelationFile, place: RowPlace): string =>
  `${relation.tablespace}/${relation.database}/${relation.file} ${place.block} ${place.offset}`;

/**
 * Collects what the wanted transactions wrote before the point of divergence: reads from the start of its segment, and from twice as far back
 * again, until a record shows that none of them had begun. Says what is missing where that is not to be had.
 */
async function lookBack(
  reading: Reading,
  wanted: ReadonlySet<number>,
): Promise<{ readonly before: Collection; readonly gap: string | undefined }> {
  const { segmentBytes, from, limits } = reading;
  const first = from / segmentBytes;
  const count = BigInt(Math.max(1, Math.floor(limits.lookBackBytesMax / Number(segmentBytes))));
  let before = createCollection(limits.changesMax);
  if (wanted.size === 0) return { before, gap: undefined };
  for (let back = 0n; back < count && back <= first; back = back === 0n ? 1n : back * 2n) {
    const begin = await firstRecordFrom(reading.pages, lsn((first - back) * segmentBytes));
    if (begin === undefined) break;
    const pass = createCollection(limits.changesMax);
    let isWhole = false;
    const { isReached } = await collect(reading, {
      from: begin,
      to: from,
      take(event, at) {
        if (event.kind === 'running') isWhole ||= [...wanted].every((xid) => !precedes(xid, event.nextXid));
        if (event.kind !== 'changes') return pass.take(event, at);
        const changes = event.changes.filter(({ xid }) => wanted.has(xid));
        if (changes.length > 0) pass.take({ kind: 'changes', changes }, at);
      },
    });
    // A segment in between is gone: the pass before has read what comes after it.
    if (!isReached) break;
    before = pass;
    if (isWhole) return { before, gap: undefined };
  }
  const gap = `rows that its transactions wrote long before ${formatLsn(from)} may be missing: that WAL is not here any more`;
  return { before, gap };
}

/** Transaction ids go in a circle: each has 2^31 before it. */
const precedes = (xid: number, other: number): boolean => ((xid - other) | 0) < 0;

function assemble(beyond: Collection, before: Collection): DivergedTransaction[] {
  const changesOf = (xids: readonly number[]): RowChange[] =>
    xids
      .flatMap((xid) => [...(before.changes.get(xid) ?? []), ...(beyond.changes.get(xid) ?? [])])
      .toSorted((a, b) => (a.lsn < b.lsn ? -1 : a.lsn > b.lsn ? 1 : 0));
  const transaction = (end: DivergedTransaction['end'], each: Ended): DivergedTransaction => ({
    xid: each.top,
    end,
    endLsn: each.lsn,
    endedAtMs: each.atMs,
    name: beyond.names.get(each.top) ?? before.names.get(each.top),
    changes: changesOf(each.xids),
  });
  return [
    ...beyond.ends.map((each) => transaction('committed', each)),
    ...[...beyond.pending.values()].map((each) => transaction('prepared', each)),
  ];
}
