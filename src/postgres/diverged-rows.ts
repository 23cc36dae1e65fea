// Reads the tables and rows that WAL names by file and place, from a stopped data directory, by single-user PostgreSQL. Versions that are
// dead are made visible first (pg_surgery), which only a directory that is about to be rewound or replaced can bear. No
// function, cast or operator that a user of the database has made is run: this is a superuser's session.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import type { RowPlace } from './diverged-wal.ts';
import { runSingleUser } from './single-user.ts';

/** Everything of {@link runSingleUser} but what is run, and where. */
export type SingleUserOptions = Omit<Parameters<typeof runSingleUser>[0], 'database' | 'statements'>;

export interface Table {
  readonly schema: string;
  readonly name: string;
  /** `user`: a table of a user's; `catalog`: PostgreSQL's own; `heartbeat`: what pg-sentinel's probes write; `other`: TOAST and the like. */
  readonly kind: 'user' | 'catalog' | 'heartbeat' | 'other';
  readonly oid: number;
  /** Of the replica identity, else of the primary key; empty where there is none. */
  readonly key: readonly string[];
  readonly columns: readonly { readonly name: string; readonly builtin: boolean }[];
}

/** Names of the databases by their ids. The first call brings the directory to a clean end, which may take long. */
export async function readDatabases(options: SingleUserOptions): Promise<Map<number, string>> {
  const path = join(options.workDirectory, 'databases');
  const statements = [`copy (select oid::text, datname from pg_database) to ${literal(path)}`];
  const output = await runSingleUser({ ...options, database: 'template1', statements });
  const rows = await readCopy(path, output);
  return new Map(rows.map(([oid, name]) => [Number(oid), name ?? '']));
}

interface RawTable {
  readonly file: string;
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  readonly relkind: string;
  readonly key: string[] | null;
  readonly columns: { name: string; builtin: boolean }[] | null;
}

/** The tables of a database by the numbers of their files. What was dropped or rewritten since is not among them. */
export async function readTables(
  options: SingleUserOptions,
  database: string,
  files: readonly number[],
): Promise<Map<number, Table>> {
  const path = join(options.workDirectory, 'tables');
  const statements = [
    `copy (select json_build_object('file', pg_relation_filenode(c.oid)::text, 'oid', c.oid::text, 'schema', n.nspname, 'name', c.relname, 'relkind', c.relkind::text, ` +
      `'columns', (select json_agg(json_build_object('name', a.attname, 'builtin', a.atttypid < 16384) order by a.attnum) ` +
      `from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), ` +
      `'key', (select json_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attnum = any ((` +
      `select i.indkey::int2[] from pg_index i where i.indrelid = c.oid and (i.indisreplident or i.indisprimary) ` +
      `order by i.indisreplident desc limit 1)::int2[]))) ` +
      `from pg_class c join pg_namespace n on n.oid = c.relnamespace ` +
      `where pg_relation_filenode(c.oid) = any ('{${files.join(',')}}'::oid[])) to ${literal(path)}`,
  ];
  const output = await runSingleUser({ ...options, database, statements });
  const rows = await readCopy(path, output);
  return new Map(
    rows.map(([text]) => {
      const raw = JSON.parse(text ?? '') as RawTable;
      return [Number(raw.file), toTable(raw)];
    }),
  );
}

function toTable(raw: RawTable): Table {
  return {
    schema: raw.schema,
    name: raw.name,
    oid: Number(raw.oid),
    key: raw.key ?? [],
    columns: raw.columns ?? [],
    kind: kindOf(raw),
  };
}

function kindOf({ schema, name, relkind }: RawTable): Table['kind'] {
  if (relkind !== 'r' && relkind !== 'm') return 'other';
  if (schema === 'pg_sentinel' && name === 'heartbeat') return 'heartbeat';
  return schema === 'pg_catalog' || schema === 'information_schema' ? 'catalog' : 'user';
}

/** Which versions of a table's rows are wanted. */
export interface WantedRows {
  readonly table: Table;
  /** Made by these changes and perhaps still there. */
  readonly made: readonly RowPlace[];
  /** Ended by these changes. */
  readonly ended: readonly RowPlace[];
}

export interface FoundRows {
  /** The row that stands visibly at a place, as JSON, and the transaction that made it. */
  readonly visible: ReadonlyMap<string, { readonly xid: number; readonly json: string | undefined }>;
  /** The dead row at a place as JSON, undefined where it is too large. */
  readonly dead: ReadonlyMap<string, string | undefined>;
  /** The key of the dead row at a place (all its columns where the table has none), as JSON. */
  readonly keys: ReadonlyMap<string, string | undefined>;
}

export const placeText = (place: RowPlace): string => `(${place.block},${place.offset})`;

const BATCH_ROWS = 1000;

/** Reads rows of tables of one database. What cannot be read (its batch failed, or is too large) is left out. */
export async function readRows(
  options: SingleUserOptions & { readonly bytesMax: number },
  database: string,
  wanted: readonly WantedRows[],
): Promise<Map<Table, FoundRows>> {
  const jobs = wanted.flatMap((each) => [
    ...batches(each.made).map((places) => ({ ...each, places, what: 'visible' as const })),
    ...batches(each.ended).map((places) => ({ ...each, places, what: 'dead' as const })),
  ]);
  const bytesMax = Math.floor(options.bytesMax / Math.max(1, jobs.length));
  const path = (index: number, part: string): string => join(options.workDirectory, `rows-${index}-${part}`);
  const statements = [
    "create function pg_temp.make_visible(regclass, tid[]) returns void as '$libdir/pg_surgery', 'heap_force_freeze' language c strict",
    ...jobs.flatMap(({ table, places, what }, index) => {
      const all = table.columns.map(({ name }) => name);
      const key = table.key.length === 0 ? all : table.key;
      const read = (part: string, columns: readonly string[]): string =>
        copyRows({ table, columns, places, path: path(index, part), bytesMax });
      if (what === 'visible') return [read('row', all)];
      return [
        `select pg_temp.make_visible('${table.oid}'::regclass, ${tidArray(places)})`,
        read('row', all),
        read('key', key),
      ];
    }),
  ];
  await runSingleUser({ ...options, database, statements });
  const found = new Map<Table, Mutable>();
  for (const [index, { table, what }] of jobs.entries()) {
    const into = found.get(table) ?? { visible: new Map(), dead: new Map(), keys: new Map() };
    found.set(table, into);
    for (const [place, xid, json] of await readCopyQuietly(path(index, 'row'))) {
      if (what === 'visible') into.visible.set(place ?? '', { xid: Number(xid), json });
      else into.dead.set(place ?? '', json);
    }
    for (const [place, , json] of await readCopyQuietly(path(index, 'key'))) into.keys.set(place ?? '', json);
  }
  return found;
}

interface Mutable {
  readonly visible: Map<string, { readonly xid: number; readonly json: string | undefined }>;
  readonly dead: Map<string, string | undefined>;
  readonly keys: Map<string, string | undefined>;
}

function batches(places: readonly RowPlace[]): RowPlace[][] {
  const all: RowPlace[][] = [];
  for (let at = 0; at < places.length; at += BATCH_ROWS) all.push(places.slice(at, at + BATCH_ROWS));
  return all;
}

const tidArray = (places: readonly RowPlace[]): string =>
  `'{${places.map((place) => `"${placeText(place)}"`).join(',')}}'::tid[]`;

/** Place, transaction and JSON of rows; no JSON for those with which `bytesMax` would be exceeded. */
function copyRows(options: {
  readonly table: Table;
  readonly columns: readonly string[];
  readonly places: readonly RowPlace[];
  readonly path: string;
  readonly bytesMax: number;
}): string {
  const { table, places } = options;
  // A type of a user's goes through its output function alone: to_json would call a cast that the user has made.
  const columns = table.columns
    .filter(({ name }) => options.columns.includes(name))
    .map(({ name, builtin }) => {
      const column = `t.${pg.escapeIdentifier(name)}`;
      return builtin
        ? column
        : `case when ${column} is not null then format('%s', ${column}) end as ${pg.escapeIdentifier(name)}`;
    });
  const from = `${pg.escapeIdentifier(table.schema)}.${pg.escapeIdentifier(table.name)}`;
  return (
    `copy (select place, xid, case when sum(octet_length(json)) over (order by place) <= ${options.bytesMax} then json end from (` +
    `select t.ctid::text as place, t.xmin::text as xid, (select row_to_json(r)::text from (select ${columns.join(', ')}) r) as json ` +
    `from only ${from} t where t.ctid = any (${tidArray(places)})) q) to ${literal(options.path)}`
  );
}

/** A name with a line break would end the statement: nothing of that table can be read. */
export const isReadable = (table: Table): boolean =>
  ![table.schema, table.name, ...table.columns.map(({ name }) => name)].some((name) => /[\n\r\\]/.test(name));

/** Backslashes never occur: the paths are ours. */
const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;

async function readCopy(path: string, output: string): Promise<(string | undefined)[][]> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined)
    throw new Error(`single-user PostgreSQL wrote no result: ${output.trim().slice(-2000)}`);
  return parseCopy(text);
}

const readCopyQuietly = (path: string): Promise<(string | undefined)[][]> =>
  readFile(path, 'utf8').then(parseCopy, () => []);

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f', v: '\v' };

/** The text format of COPY: tabs between columns, `\N` for null, backslash escapes. */
function parseCopy(text: string): (string | undefined)[][] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) =>
      line
        .split('\t')
        .map((field) =>
          field === '\\N'
            ? undefined
            : field.replace(/\\(.)/g, (_, escaped: string) => ESCAPES[escaped] ?? escaped),
        ),
    );
}
