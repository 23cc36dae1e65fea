// What a data directory brings along from the server that its backup was made of, and must not: its settings for recovery and archiving, its
// slots, its place among our members. What is in files that postgresql.conf includes is not looked at.
import { chmod, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Owner, removeFileDurably, writeFileDurably } from './durable-files.ts';
import { MEMBER_FILE } from './member.ts';
import { REINIT_MARKER } from './reinit-marker.ts';
import { RESERVED_PARAMETERS } from './reserved-parameters.ts';
import { SETTINGS_FILE, parseSettings, removeOverrides, renderSetting } from './settings.ts';

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

/** Files named `pg_sentinel...` are of another node; what PostgreSQL needs of a backup is left as it is. */
export async function cleanRestored(directory: string, owner: Owner | undefined): Promise<void> {
  await chmod(directory, 0o700);
  const ours = (await readdir(directory)).filter((name) => name.startsWith('pg_sentinel'));
  for (const name of [...FILES, ...ours]) await rm(join(directory, name), { force: true, recursive: true });
  // A slot would keep WAL for a standby of the old cluster for ever.
  const slots = join(directory, 'pg_replslot');
  for (const name of await readdir(slots).catch(() => []))
    await rm(join(slots, name), { recursive: true, force: true });
  for (const name of ['postgresql.conf', 'postgresql.auto.conf']) {
    const path = join(directory, name);
    const present = await readFile(path, 'utf8').catch(() => undefined);
    if (present === undefined) continue;
    const content = withoutOldSettings(present);
    if (content !== present) await writeFileDurably({ path, content, mode: 0o600, owner });
  }
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
  const path = join(dataDirectory, 'postgresql.auto.conf');
  const present = await readFile(path, 'utf8').catch(() => '');
  const lines = Object.entries(settings).map(([key, value]) => renderSetting(key, value));
  const before = present === '' || present.endsWith('\n') ? present : `${present}\n`;
  await writeFileDurably({ path, content: `${before}${lines.join('\n')}\n`, mode: 0o600, owner });
}

const ARCHIVING = ['archive_command', 'archive_library'];
/** While it is there, {@link ARCHIVING} of postgresql.auto.conf are ours, and empty: see {@link overrideSettings}. */
const SUSPENDED = 'pg_sentinel_archiving_suspended';

/** Recovery is over; archiving waits until the group takes writes. */
export async function endRecoverySettings(
  dataDirectory: string,
  keys: readonly string[],
  owner: Owner | undefined,
): Promise<void> {
  const path = join(dataDirectory, SUSPENDED);
  await writeFileDurably({ path, content: '', mode: 0o600, owner });
  await removeOverrides({ dataDirectory, keys: keys.filter((key) => !ARCHIVING.includes(key)), owner });
}

/** True where archiving was suspended until now. Does not reload. */
export async function resumeArchiving(dataDirectory: string, owner: Owner | undefined): Promise<boolean> {
  const names = await readdir(dataDirectory);
  if (!names.includes(SUSPENDED)) return false;
  await removeOverrides({ dataDirectory, keys: ARCHIVING, owner });
  await removeFileDurably(join(dataDirectory, SUSPENDED));
  return true;
}
