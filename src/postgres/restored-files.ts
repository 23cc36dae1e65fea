// What a data directory brings along from the server that its backup was made of, and must not: its settings for recovery and archiving, its
// slots, its place among our members.
import { join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { type Owner, readOwnFile, writeFileDurably } from './durable-files.ts';
import { MEMBER_FILE } from './member.ts';
import { type OsUser, runProgram } from './os-user.ts';
import { REINIT_MARKER } from './reinit-marker.ts';
import { RESERVED_PARAMETERS } from './reserved-parameters.ts';
import { RestoreError } from './restore-command.ts';
import { SETTINGS_FILE, parseSettings, removeOverrides, renderSetting } from './settings.ts';
import { readAsUser, removeWithinAsUser } from './user-files.ts';

/** They are of the old server's archive and recovery; beside those that are ours anyway. */
const LEFT_OUT = new Set([
  'archive_mode',
  'archive_command',
  'archive_library',
  'archive_cleanup_command',
  'recovery_end_command',
  'recovery_target',
  'recovery_target_action',
  'recovery_target_inclusive',
  'recovery_target_lsn',
  'recovery_target_name',
  'recovery_target_time',
  'recovery_target_timeline',
  'recovery_target_xid',
  'promote_trigger_file',
  'pg_sentinel.archiving',
]);

const FILES = [
  'postmaster.pid',
  'postmaster.opts',
  'standby.signal',
  'recovery.signal',
  'promote',
  MEMBER_FILE,
  REINIT_MARKER,
  SETTINGS_FILE,
];

const PROGRAM_TIMEOUT_MS = 10_000;

export interface CleanOptions {
  readonly directory: string;
  readonly user: OsUser;
  readonly binaries: Pick<Binaries, 'directory' | 'version'>;
  /** Something that is worth a line in the log. */
  readonly onNote: (message: string) => void;
}

/** Files named `pg_sentinel...` are of another node; what PostgreSQL needs of a backup is left as it is. */
export async function cleanRestored(options: CleanOptions): Promise<void> {
  const { directory, user } = options;
  const mode = await run(options, '/bin/chmod', '700', directory);
  if (mode.exitCode !== 0) throw new RestoreError(`cannot set the mode of ${directory}: ${mode.said}`);
  const names = FILES.map((name) => name.replaceAll('.', '\\.')).join('|');
  await removeWithinAsUser(user, directory, new RegExp(`^(${names}|pg_sentinel.*)$`));
  // A slot would keep WAL for a standby of the old cluster for ever.
  await removeWithinAsUser(user, join(directory, 'pg_replslot'), /./);
  for (const name of ['postgresql.conf', 'postgresql.auto.conf'])
    await rewrite(options, name, withoutOldSettings);
  await leaveOutIncludes(options);
}

async function rewrite(
  { directory, user }: CleanOptions,
  name: string,
  change: (text: string) => string,
): Promise<void> {
  const path = join(directory, name);
  const present = await readAsUser(user, path);
  if (present === undefined) return;
  const content = change(present);
  if (content !== present) await writeFileDurably({ path, content, mode: 0o600, owner: user.owner });
}

const INCLUDE = /^[ \t]*include(_dir|_if_exists)?[ \t='].*$/gim;

/**
 * What other files set cannot be made a comment here: where one has the server archive, or recover, as the old one did, or cannot be read, none
 * of them counts.
 */
async function leaveOutIncludes(options: CleanOptions): Promise<void> {
  const text = (await readAsUser(options.user, join(options.directory, 'postgresql.conf'))) ?? '';
  const lines = text.match(INCLUDE) ?? [];
  if (lines.length === 0) return;
  const problem = await includedProblem(options);
  if (problem === undefined) return;
  await rewrite(options, 'postgresql.conf', (present) =>
    present.replaceAll(INCLUDE, (line) => `# of the server that this is a backup of: ${line}`),
  );
  options.onNote(
    `the files that postgresql.conf of the backup includes are left out (${lines.map((line) => line.trim()).join(', ')}): ${problem}`,
  );
}

async function includedProblem(options: CleanOptions): Promise<string | undefined> {
  const postgres = join(options.binaries.directory, 'postgres');
  for (const [name, expected] of harmless(options)) {
    const found = await run(options, postgres, '-D', options.directory, '-C', name);
    if (found.exitCode !== 0) return `PostgreSQL cannot read them (${found.said})`;
    if (found.stdout !== expected) return `they set ${name}`;
  }
  return undefined;
}

/** Settings that no file of the old server must have, with their values then; ours are read after them. */
function harmless({ directory, binaries: { version } }: CleanOptions): [string, string][] {
  const none = [
    'archive_command',
    ...(version >= 15 ? ['archive_library'] : []),
    'archive_cleanup_command',
    'recovery_end_command',
    'recovery_target',
    'recovery_target_lsn',
    'recovery_target_name',
    'recovery_target_time',
    'recovery_target_xid',
    'external_pid_file',
  ];
  return [
    ...none.map((name): [string, string] => [name, '']),
    ['archive_mode', 'off'],
    ['recovery_min_apply_delay', '0'],
    ['data_directory', directory],
    ['ident_file', join(directory, 'pg_ident.conf')],
  ];
}

async function run({ directory, user }: CleanOptions, program: string, ...args: readonly string[]) {
  const { exitCode, output, stdout } = await runProgram({
    ...{ user, program, arguments: args, cwd: directory, timeoutMs: PROGRAM_TIMEOUT_MS },
  });
  return { exitCode, said: output.trim().split('\n').at(-1) ?? '', stdout: stdout.trim() };
}

/** Lines that set what is left out become comments; `include` lines of ours go. Exported for its test. */
export function withoutOldSettings(text: string): string {
  const lines = text.split('\n').flatMap((line) => {
    if (line.trim() === `include '${SETTINGS_FILE}'`) return [];
    const key = [...parseSettings(line).keys()][0];
    if (key === undefined || !isLeftOut(key)) return [line];
    return [`# of the server that this is a backup of: ${line}`];
  });
  return lines.join('\n');
}

const isLeftOut = (key: string): boolean =>
  LEFT_OUT.has(key) || (RESERVED_PARAMETERS.has(key) && !key.startsWith('include'));

/** In postgresql.auto.conf, which PostgreSQL reads last: they count whatever is written elsewhere. */
export async function overrideSettings(options: {
  readonly dataDirectory: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const { dataDirectory, settings, owner } = options;
  await removeOverrides({ dataDirectory, keys: [...LEFT_OUT, ...Object.keys(settings)], owner });
  const path = join(dataDirectory, AUTO_FILE);
  const present = (await readOwnFile(path, owner)) ?? '';
  const lines = Object.entries(settings).map(([key, value]) => renderSetting(key, value));
  const before = present === '' || present.endsWith('\n') ? present : `${present}\n`;
  await writeFileDurably({ path, content: `${before}${lines.join('\n')}\n`, mode: 0o600, owner });
}

const AUTO_FILE = 'postgresql.auto.conf';
const ARCHIVING = ['archive_command', 'archive_library'];
/**
 * While it stands in postgresql.auto.conf, the empty {@link ARCHIVING} there are ours. In the same file: whoever copies a data directory in the
 * moment when archiving goes on has both or neither.
 */
export const SUSPENDED = 'pg_sentinel.archiving';
/** Its value where archiving goes on only once a person has said, after the restore, where to. */
export const HELD = 'held';

/** Recovery is over; archiving waits until the group takes writes. `keys`: as they were set for it. */
export async function endRecoverySettings(
  dataDirectory: string,
  keys: readonly string[],
  owner: Owner | undefined,
): Promise<void> {
  const kept = [...ARCHIVING, SUSPENDED];
  await removeOverrides({ dataDirectory, keys: keys.filter((key) => !kept.includes(key)), owner });
}

/**
 * Sets archiving free that was suspended until now: `resumed`. What somebody has set meanwhile by ALTER SYSTEM stays. `held`: it waits until a person has
 * said where to (`isNamed`). Does not reload.
 */
export async function resumeArchiving(options: {
  readonly dataDirectory: string;
  readonly owner: Owner | undefined;
  readonly isNamed: boolean;
}): Promise<'resumed' | 'held' | 'none'> {
  const { dataDirectory, owner, isNamed } = options;
  const present = parseSettings((await readOwnFile(join(dataDirectory, AUTO_FILE), owner)) ?? '');
  const suspended = present.get(SUSPENDED);
  if (suspended === undefined) return 'none';
  if (suspended === HELD && !isNamed) return 'held';
  const keys = [SUSPENDED, ...ARCHIVING.filter((key) => present.get(key) === '')];
  await removeOverrides({ dataDirectory, keys, owner });
  return 'resumed';
}
