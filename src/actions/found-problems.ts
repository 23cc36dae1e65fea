// What stands against adopting a server that was found, and what its owner should know of it. Pure.
import { shownHbaLine } from '../cluster/hba-rules.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';
import type { Role } from '../postgres/role.ts';
import { type FoundLogical, logicalNotices, logicalProblems } from './found-logical.ts';

export interface FoundFacts {
  readonly role: Pick<Role, 'kind'>;
  /** Of a standby: its walreceiver streams. */
  readonly isStreaming: boolean;
  /** Of a setting, as it is without what our own session has changed. */
  readonly value: (name: string) => string;
  /** `max_wal_senders` as pg-sentinel sets it. */
  readonly ourWalSenders: number;
  readonly port: number;
  readonly binaries: { readonly version: number; readonly directory: string };
  /** Its node has an `apply_delay`. */
  readonly isDelayed: boolean;
  /** What else looks after the servers of this host, each with what to do about it. */
  readonly managers: readonly string[];
  /** See `startOfRepmgrd`. */
  readonly repmgrdStart: string | undefined;
  /** See `startOfOs`. */
  readonly osStart: string | undefined;
  readonly hba: { readonly left: readonly string[]; readonly problem: string | undefined };
  /** Why pg_hba.conf cannot be written; undefined where it can, or need not be. */
  readonly hbaFileProblem: string | undefined;
  readonly physicalSlots: readonly string[];
  /** All but temporary ones. */
  readonly logicalSlots: readonly LogicalSlotRow[];
  /** Nodes of the group beside this one. */
  readonly otherNodeCount: number;
  /** Of the names that are to be ours. */
  readonly roles: readonly FoundRole[];
}

export interface FoundRole {
  readonly name: string;
  readonly isSuperuser: boolean;
  /** Somebody but pg-sentinel is connected with it. */
  readonly isInUse: boolean;
}

export function* problemsOf(facts: FoundFacts): Iterable<string> {
  const { value, role, binaries, hba } = facts;
  const isPrimary = role.kind === 'primary';
  yield* facts.managers;
  if (facts.repmgrdStart !== undefined) yield facts.repmgrdStart;
  if (facts.osStart !== undefined) yield facts.osStart;
  if (hba.problem !== undefined) yield hba.problem;
  if (facts.hbaFileProblem !== undefined) yield facts.hbaFileProblem;
  if (Number.parseInt(value('server_version'), 10) !== binaries.version)
    yield `it is version ${value('server_version')}, and the programs in ${binaries.directory} are of version ${binaries.version}: set node.bin_directory`;
  if (Number(value('port')) !== facts.port)
    yield `it listens on port ${value('port')}, and node.address says ${facts.port}`;
  if (isPrimary && value('synchronous_standby_names') !== '')
    yield `synchronous_standby_names is '${value('synchronous_standby_names')}': writes would wait while its standbys are restarted; set it to '' first (ALTER SYSTEM SET synchronous_standby_names = '', then pg_reload_conf())`;
  if (Number(value('max_wal_senders')) > facts.ourWalSenders)
    yield `max_wal_senders is ${value('max_wal_senders')}, and pg-sentinel sets ${facts.ourWalSenders}, which must not be lower on a standby: lower it on the primary first`;
  if (!['0', ''].includes(value('recovery_min_apply_delay')) && !facts.isDelayed)
    yield `recovery_min_apply_delay is ${value('recovery_min_apply_delay')}, and its node has no apply_delay: set node.apply_delay, or it to 0`;
  yield* logicalProblems(logicalOf(facts));
  if (value('wal_level') === 'minimal') yield 'wal_level is minimal: it has to be replica, with a restart';
  if (value('fsync') !== 'on' || value('full_page_writes') !== 'on')
    yield 'fsync or full_page_writes is off: it does not keep what it acknowledges';
  if (!isPrimary && !facts.isStreaming) yield 'it does not stream';
  for (const { name, isSuperuser, isInUse } of isPrimary ? facts.roles : [])
    if (isSuperuser || isInUse)
      yield `role ${name} ${isSuperuser ? 'is a superuser' : 'is in use'}, and would get the password and the rights of pg-sentinel's own account: give users.replication and users.probe names that nobody uses`;
}

export function* noticesOf(facts: FoundFacts): Iterable<string> {
  const { value, role } = facts;
  if (value('data_checksums') !== 'on' && value('wal_log_hints') !== 'on')
    yield 'neither data checksums nor wal_log_hints are on: it cannot be rewound, only cloned, until it was restarted';
  for (const line of facts.hba.left)
    yield `left out of pg_hba.conf, pg-sentinel's accounts replicate: ${shownHbaLine(line)}`;
  for (const name of facts.physicalSlots)
    yield `replication slot ${name} keeps WAL: drop it once nobody uses it`;
  yield* logicalNotices(logicalOf(facts));
  for (const { name, isSuperuser, isInUse } of role.kind === 'primary' ? facts.roles : [])
    if (!isSuperuser && !isInUse) yield `role ${name} exists: it gets the password of the configuration`;
}

const logicalOf = (facts: FoundFacts): FoundLogical => ({
  ...facts,
  isPrimary: facts.role.kind === 'primary',
  majorVersion: Number.parseInt(facts.value('server_version'), 10),
});

const TEXT_LENGTH_MAX = 300;
/** All lists together: a report has to fit into one message. */
const CHARACTERS_MAX = 12_000;

type Lists = { readonly [name: string]: readonly string[] };

/** Shortened, those lists last that come first; what was left out is said. */
export function withinBudget<T extends Lists>(lists: T): T {
  let left = CHARACTERS_MAX;
  const shortened = Object.entries(lists).map(([name, texts]) => {
    const kept: string[] = [];
    for (const text of texts) {
      const short = masked(text).slice(0, TEXT_LENGTH_MAX);
      if (left < short.length + REST_LENGTH) break;
      left -= short.length + ENTRY_LENGTH;
      kept.push(short);
    }
    const count = texts.length - kept.length;
    return [name, count === 0 ? kept : [...kept, `and ${count} more`]];
  });
  return Object.fromEntries(shortened) as T;
}

/** What each entry takes beside its text. */
const ENTRY_LENGTH = 4;
/** Room for what says that something was left out, in every list. */
const REST_LENGTH = 100;

const SECRET = String.raw`(\w*(?:passw(?:or)?d|passphrase(?:_command)?|secrets?))`;
const SECRETS = new RegExp(String.raw`\b${SECRET}(\s*=\s*)("[^"]*"|'(?:[^']|'')*'|[^\s'"]+)`, 'gi');
/** As pg_hba.conf has a value with a blank. */
const QUOTED_SECRETS = new RegExp(`"${SECRET}=[^"]*"`, 'gi');

/** Passwords in rules (`ldapbindpasswd`, `radiussecrets`) and in commands are shown to nobody. */
export function masked(text: string): string {
  return text.replaceAll(QUOTED_SECRETS, '"$1=***"').replaceAll(SECRETS, '$1$2***');
}
