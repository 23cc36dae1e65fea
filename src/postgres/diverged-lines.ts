// Turns the changes that the WAL names into lines of JSON, with the rows read from the data directory. Leaves out our own heartbeats
// and transactions that changed no row of anybody's.
import { formatLsn } from '../base/lsn.ts';
import {
  type FoundRows,
  type SingleUserOptions,
  type Table,
  type WantedRows,
  isReadable,
  placeText,
  readRows,
  readTables,
} from './diverged-rows.ts';
import type { DivergedScan, DivergedTransaction } from './diverged-scan.ts';
import type { RelationFile, RowChange, RowPlace } from './diverged-wal.ts';

export interface DivergedLines {
  readonly lines: readonly string[];
  readonly transactionCount: number;
  readonly rowCount: number;
  readonly gaps: readonly string[];
}

/** Throws when single-user PostgreSQL cannot be run. */
export async function divergedLines(options: {
  readonly scan: DivergedScan;
  /** Names by id. */
  readonly databases: ReadonlyMap<number, string>;
  readonly reading: SingleUserOptions;
  readonly fileBytesMax: number;
}): Promise<DivergedLines> {
  const { scan } = options;
  const { tables, rows } = await readAll(options);
  const lines: string[] = [];
  const gaps = [...scan.gaps];
  let bytes = 0;
  let rowCount = 0;
  let transactionCount = 0;
  for (const transaction of scan.transactions) {
    const found = linesOf({ ...options, transaction, tables, rows });
    if (found.lines.length === 0) continue;
    transactionCount += 1;
    rowCount += found.rowCount;
    const size = found.lines.reduce((sum, line) => sum + line.length + 1, 0);
    if (bytes + size > options.fileBytesMax) {
      if (gaps.at(-1) !== TOO_LONG) gaps.push(TOO_LONG);
      continue;
    }
    bytes += size;
    lines.push(...found.lines);
  }
  return { lines, transactionCount, rowCount, gaps };
}

const TOO_LONG = 'the file would have become too long: whole transactions were left out';

type Tables = ReadonlyMap<number, ReadonlyMap<number, Table>>;

async function readAll(
  options: Parameters<typeof divergedLines>[0],
): Promise<{ readonly tables: Tables; readonly rows: ReadonlyMap<Table, FoundRows> }> {
  const { scan, databases, reading } = options;
  const all = scan.transactions.flatMap((each) => each.changes);
  const tables = new Map<number, ReadonlyMap<number, Table>>();
  const rows = new Map<Table, FoundRows>();
  const committed = new Set(
    scan.transactions.filter((each) => each.end === 'committed').flatMap((each) => each.changes),
  );
  for (const [database, changes] of grouped(all, ({ relation }) => relation.database)) {
    const name = databases.get(database);
    if (name === undefined) continue;
    const files = [...new Set(changes.map((change) => change.relation.file))];
    const found = await readTables(reading, name, files);
    tables.set(database, found);
    const wanted: WantedRows[] = [];
    for (const [file, ofTable] of grouped(changes, ({ relation }) => relation.file)) {
      const table = found.get(file);
      const kept = ofTable.filter((change) => committed.has(change));
      if (table?.kind === 'user' && isReadable(table) && kept.length > 0) wanted.push(wantedOf(table, kept));
    }
    if (wanted.length === 0) continue;
    const bytesMax = options.fileBytesMax;
    for (const [table, read] of await readRows({ ...reading, bytesMax }, name, wanted)) rows.set(table, read);
  }
  return { tables, rows };
}

function grouped(
  changes: readonly RowChange[],
  by: (change: RowChange) => number,
): ReadonlyMap<number, readonly RowChange[]> {
  const groups = new Map<number, RowChange[]>();
  for (const change of changes) {
    const group = groups.get(by(change));
    if (group === undefined) groups.set(by(change), [change]);
    else group.push(change);
  }
  return groups;
}

function wantedOf(table: Table, changes: readonly RowChange[]): WantedRows {
  const distinct = (places: readonly (RowPlace | undefined)[]): RowPlace[] => [
    ...new Map(places.flatMap((place) => (place === undefined ? [] : [[placeText(place), place]]))).values(),
  ];
  return {
    table,
    made: distinct(changes.map((change) => change.newPlace)),
    ended: distinct(changes.map((change) => change.oldPlace)),
  };
}

interface Found {
  readonly scan: DivergedScan;
  readonly databases: ReadonlyMap<number, string>;
  readonly transaction: DivergedTransaction;
  readonly tables: Tables;
  readonly rows: ReadonlyMap<Table, FoundRows>;
}

function linesOf(found: Found): { readonly lines: string[]; readonly rowCount: number } {
  const { transaction, tables, databases } = found;
  const lines: string[] = [];
  const catalogs = new Set<string>();
  let firstCatalogChange: RowChange | undefined;
  let rowCount = 0;
  for (const change of transaction.changes) {
    const { relation } = change;
    const table = tables.get(relation.database)?.get(relation.file);
    if (relation.database === 0 || table?.kind === 'catalog') {
      // Statistics are no one's writes.
      if (table !== undefined && table.name.startsWith('pg_statistic')) continue;
      firstCatalogChange ??= change;
      catalogs.add(table === undefined ? 'a catalog of all databases' : `${table.schema}.${table.name}`);
      continue;
    }
    if (table?.kind === 'heartbeat' || table?.kind === 'other') continue;
    rowCount += 1;
    if (transaction.end === 'committed') lines.push(rowLine(found, change, table));
  }
  if (firstCatalogChange !== undefined)
    lines.push(
      JSON.stringify({
        ...head(transaction, firstCatalogChange.lsn),
        database: databases.get(firstCatalogChange.relation.database),
        kind: 'catalog',
        tables: [...catalogs].toSorted(),
      }),
    );
  if (transaction.end === 'prepared')
    lines.push(
      JSON.stringify({
        ...head(transaction, transaction.endLsn),
        kind: 'prepared',
        name: transaction.name,
        rows: rowCount,
      }),
    );
  return { lines, rowCount: transaction.end === 'prepared' ? 0 : rowCount };
}

function head(transaction: DivergedTransaction, lsn: RowChange['lsn']): Record<string, unknown> {
  const time = new Date(transaction.endedAtMs).toISOString();
  return {
    lsn: formatLsn(lsn),
    xid: transaction.xid,
    ...(transaction.end === 'committed' ? { commit_time: time } : { prepare_time: time }),
  };
}

/** JSON from PostgreSQL is put in as it is: JavaScript's numbers would not hold all of its own. */
function rowLine(found: Found, change: RowChange, table: Table | undefined): string {
  const { transaction, databases } = found;
  const { relation } = change;
  const start = JSON.stringify({
    ...head(transaction, change.lsn),
    database: databases.get(relation.database) ?? relation.database,
    table: table === undefined ? null : `${table.schema}.${table.name}`,
    kind: change.kind,
  });
  const parts: string[] = [];
  if (change.newPlace !== undefined) parts.push(`"new":${newRow(found, change, change.newPlace, table)}`);
  if (change.oldPlace !== undefined) parts.push(`"old_key":${oldKey(found, change, change.oldPlace, table)}`);
  if (table === undefined) parts.push(`"relation":${JSON.stringify(fileName(relation))}`);
  return `${start.slice(0, -1)},${parts.join(',')}}`;
}

const fileName = ({ tablespace, database, file }: RelationFile): string =>
  `${tablespace}/${database}/${file}`;

function newRow(found: Found, change: RowChange, place: RowPlace, table: Table | undefined): string {
  const rows = table === undefined ? undefined : found.rows.get(table);
  const at = placeText(place);
  const visible = rows?.visible.get(at);
  // Another transaction may have used the place again.
  if (visible?.xid === change.xid) return visible.json ?? 'null';
  if (found.scan.isOverwritten(change.relation, place, change.lsn)) return 'null';
  return rows?.dead.get(at) ?? 'null';
}

function oldKey(found: Found, change: RowChange, place: RowPlace, table: Table | undefined): string {
  if (table === undefined || found.scan.isOverwritten(change.relation, place, change.lsn)) return 'null';
  return found.rows.get(table)?.keys.get(placeText(place)) ?? 'null';
}
