// BASE_BACKUP over the replication protocol (PostgreSQL documentation 55.4), for packages without pg_basebackup. Turns
// what the server sends into archives and bytes; writes no file. PostgreSQL 14 sends one copy stream for each
// tablespace, 15 and later one stream of typed messages.
import type pg from 'pg';
import { parseLsn, type Lsn } from '../base/lsn.ts';
import { timeline, type Timeline } from '../base/ids.ts';

export type BackupEvent =
  /** A tar stream begins: the data directory's own, or that of a tablespace at `location`. */
  | { readonly kind: 'archive'; readonly location: string | undefined }
  | { readonly kind: 'bytes'; readonly bytes: Buffer };

export interface BackupStart {
  readonly startLsn: Lsn;
  readonly startTimeline: Timeline;
  readonly tablespaces: readonly { readonly location: string | undefined; readonly bytes: number }[];
}

export interface Backup extends BackupStart {
  readonly endLsn: Lsn;
}

const QUEUE_BYTES_MAX = 8 * 1024 * 1024;

/**
 * Runs BASE_BACKUP with all WAL it needs, from an immediate checkpoint. `onStart` and `onEvent` are called in order, one at a time; the
 * server is held back while they work. Throws what they throw, PostgreSQL's error, or that nothing came for `stallMs`; the
 * connection is then of no further use.
 */
export function runBaseBackup(options: {
  readonly client: pg.Client;
  /** Major version of the server. */
  readonly version: number;
  readonly label: string;
  /** The server sends no more than this in a second. */
  readonly maxRateKilobytes?: number | undefined;
  readonly onStart: (start: BackupStart) => Promise<void>;
  readonly onEvent: (event: BackupEvent) => Promise<void>;
  readonly stallMs: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<Backup> {
  return new Promise<Backup>((resolve, reject) => {
    const { client, version, signal } = options;
    let connection: ProtocolConnection | undefined;
    let start: BackupStart | undefined;
    let archiveCount = 0;
    const resultSets: string[][][] = [];
    let settled = false;
    let queuedBytes = 0;
    let work: Promise<void> = Promise.resolve();
    let stallTimer: NodeJS.Timeout | undefined;

    const settle = (finish: () => void): void => {
      if (settled) return;
      settled = true;
      clearTimeout(stallTimer);
      signal?.removeEventListener('abort', abort);
      client.off('end', lost);
      connection?.off('copyOutResponse', copyOut);
      finish();
    };
    const fail = (error: unknown): void =>
      settle(() => {
        connection?.stream.destroy();
        // Nothing of the caller's may run on after the failure was reported.
        work.then(() => reject(error as Error), reject);
      });
    const abort = (): void => fail(signal?.reason ?? new Error('aborted'));
    const lost = (): void => fail(new Error('the connection to the source of the base backup was lost'));
    const alive = (): void => {
      clearTimeout(stallTimer);
      if (!settled)
        stallTimer = setTimeout(
          () => fail(new Error(`the base backup has stalled: nothing came for ${options.stallMs} ms`)),
          options.stallMs,
        );
    };
    /** Queues work; stops reading from the socket while much is queued. */
    const enqueue = (bytes: number, task: () => Promise<void>): void => {
      queuedBytes += bytes;
      if (queuedBytes > QUEUE_BYTES_MAX) connection?.stream.pause();
      work = work.then(async () => {
        if (!settled) await task().catch(fail);
        queuedBytes -= bytes;
        if (queuedBytes <= QUEUE_BYTES_MAX / 2) connection?.stream.resume();
        alive();
      });
    };
    const announceStart = (): void => {
      if (start !== undefined) return;
      const begun = parseStart(resultSets);
      start = begun;
      enqueue(0, () => options.onStart(begun));
    };
    // 14: a stream for each tablespace, in the order of the second result set.
    const copyOut = (): void => {
      alive();
      announceStart();
      if (version >= 15) return;
      const location = start?.tablespaces[archiveCount]?.location;
      archiveCount += 1;
      enqueue(0, () => options.onEvent({ kind: 'archive', location }));
    };

    const submittable = {
      submit(given: unknown): void {
        connection = given as ProtocolConnection;
        connection.on('copyOutResponse', copyOut);
        connection.query(baseBackupCommand(version, options));
        alive();
      },
      handleRowDescription: (): void => void resultSets.push([]),
      handleDataRow: (message: { fields: (string | null)[] }): void =>
        void resultSets.at(-1)?.push(message.fields.map((field) => field ?? '')),
      handleCopyData(message: { chunk: Buffer }): void {
        alive();
        const event = toEvent(version, message.chunk);
        if (event !== undefined)
          enqueue(event.kind === 'bytes' ? event.bytes.length : 0, () => options.onEvent(event));
      },
      handleCommandComplete: (): void => alive(),
      handleReadyForQuery(): void {
        const last = resultSets.at(-1)?.[0]?.[0];
        const succeed = (): void =>
          settle(() => {
            if (start === undefined || last === undefined)
              reject(new Error('BASE_BACKUP ended without a result'));
            else resolve({ ...start, endLsn: parseLsn(last) });
          });
        work.then(succeed, fail);
      },
      handleError: (error: Error): void => fail(error),
      handleEmptyQuery: (): void => undefined,
      handlePortalSuspended: (): void => undefined,
      handleCopyInResponse: (): void => undefined,
    };
    signal?.addEventListener('abort', abort, { once: true });
    client.once('end', lost);
    if (signal?.aborted === true) abort();
    else client.query(submittable as unknown as pg.Submittable);
  });
}

/** What node-postgres has below its client; its public types leave it out. */
interface ProtocolConnection {
  readonly stream: { pause(): void; resume(): void; destroy(): void };
  query(text: string): void;
  on(event: 'copyOutResponse', listener: () => void): void;
  off(event: 'copyOutResponse', listener: () => void): void;
}

function baseBackupCommand(
  version: number,
  {
    label,
    maxRateKilobytes: rate,
  }: { readonly label: string; readonly maxRateKilobytes?: number | undefined },
): string {
  const quoted = `'${label.replaceAll("'", "''")}'`;
  if (version >= 15)
    return `BASE_BACKUP (LABEL ${quoted}, PROGRESS true, CHECKPOINT 'fast', WAL true, WAIT false, MANIFEST 'no'${rate === undefined ? '' : `, MAX_RATE ${rate}`})`;
  return `BASE_BACKUP LABEL ${quoted} PROGRESS FAST WAL NOWAIT${rate === undefined ? '' : ` MAX_RATE ${rate}`}`;
}

/** First result set: where the backup starts; second: the tablespaces (oid, location, size in kB), the data directory without location. */
function parseStart(resultSets: readonly string[][][]): BackupStart {
  const [where, tablespaces] = resultSets;
  const row = where?.[0];
  if (row?.[0] === undefined || tablespaces === undefined)
    throw new Error('BASE_BACKUP did not say where it starts');
  return {
    startLsn: parseLsn(row[0]),
    startTimeline: timeline(Number(row[1])),
    tablespaces: tablespaces.map((present) => ({
      location: present[1] || undefined,
      bytes: Number(present[2]) * 1024,
    })),
  };
}

/** 15 and later: `n` new archive (name, location), `d` bytes, `p` progress, `m` manifest. The chunk is copied: its buffer is used again. */
function toEvent(version: number, chunk: Buffer): BackupEvent | undefined {
  if (version < 15) return { kind: 'bytes', bytes: Buffer.from(chunk) };
  switch (String.fromCharCode(chunk[0] ?? 0)) {
    case 'n': {
      const [, location] = chunk.subarray(1).toString('utf8').split('\0');
      return { kind: 'archive', location: location || undefined };
    }
    case 'd':
      return { kind: 'bytes', bytes: Buffer.from(chunk.subarray(1)) };
    default:
      return undefined;
  }
}
