// What one node's `pg_sentinel.conf` says of the parameters that people set: those of the log before those of the node's own configuration
// file. A standby does not start, or stops replaying, where one of five is lower than its primary had it; so the file that PostgreSQL
// reads at its next start, for whatever reason, never says less than the control file, and a primary is not raised before its standbys.
import type { ControlData } from './control-data.ts';
import { RESERVED_PARAMETERS } from './reserved-parameters.ts';

/** Values of {@link STANDBY_LIMITS} that a PostgreSQL runs with, by name. */
export type Limits = ReadonlyMap<string, number>;

/** Those that must not be lower on a standby, with PostgreSQL's default; max_wal_senders, the fifth, is the same everywhere. */
const STANDBY_LIMITS: readonly {
  readonly name: string;
  readonly ofControl: (control: ControlData) => number;
  readonly byDefault: number;
}[] = [
  { name: 'max_connections', ofControl: (control) => control.maxConnections, byDefault: 100 },
  { name: 'max_worker_processes', ofControl: (control) => control.maxWorkerProcesses, byDefault: 8 },
  {
    name: 'max_prepared_transactions',
    ofControl: (control) => control.maxPreparedTransactions,
    byDefault: 0,
  },
  {
    name: 'max_locks_per_transaction',
    ofControl: (control) => control.maxLocksPerTransaction,
    byDefault: 64,
  },
];

export const STANDBY_LIMIT_NAMES: readonly string[] = STANDBY_LIMITS.map(({ name }) => name);

export interface Effective {
  /** As they belong in the file, by lower-case name. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Those that are not as wanted yet: the other side of the group has to be restarted first. */
  readonly held: readonly string[];
}

/** The parameters as wanted: the log's before the node's own, without those that are ours. */
export function wantedParameters(
  own: Readonly<Record<string, string>>,
  group: ReadonlyMap<string, string>,
): Record<string, string> {
  const wanted = new Map(Object.entries(own).map(([name, value]) => [name.toLowerCase(), value]));
  for (const [name, value] of group) if (!RESERVED_PARAMETERS.has(name)) wanted.set(name, value);
  return Object.fromEntries(wanted);
}

export function effectiveParameters(options: {
  readonly wanted: Readonly<Record<string, string>>;
  readonly role: 'primary' | 'standby';
  /** Undefined where there is no readable control file: nothing can be started either. */
  readonly control: ControlData | undefined;
  /** What the other configuration files say, by lower-case name. */
  readonly otherwise: ReadonlyMap<string, string>;
  /** Of every standby that counts; an empty map for one of which it is not known. */
  readonly standbys: readonly Limits[];
}): Effective {
  const { wanted, role, control, otherwise, standbys } = options;
  if (control === undefined) return { parameters: wanted, held: [] };
  const parameters = { ...wanted };
  const held: string[] = [];
  for (const { name, ofControl, byDefault } of STANDBY_LIMITS) {
    const present = ofControl(control);
    const given = wholeOf(wanted[name]);
    const value = given ?? wholeOf(otherwise.get(name)) ?? byDefault;
    const mustWait =
      role === 'standby'
        ? value < present
        : given !== undefined &&
          given > present &&
          !standbys.every((limits) => (limits.get(name) ?? 0) >= given);
    if (!mustWait) continue;
    parameters[name] = String(present);
    held.push(name);
  }
  return { parameters, held };
}

function wholeOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}
