// What a restored data directory does not keep of the server that its backup was made of.
import { mkdir, mkdtemp, readFile, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  type CleanOptions,
  HELD,
  SUSPENDED,
  cleanRestored,
  endRecoverySettings,
  overrideSettings,
  resumeArchiving,
  withoutOldSettings,
} from './restored-files.ts';
import { SETTINGS_FILE } from './settings.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-restored-'));
});
afterEach(() => rm(directory, { recursive: true }));
const content = (name: string): Promise<string> => readFile(join(directory, name), 'utf8');
const AUTO = 'postgresql.auto.conf';
const notes: string[] = [];
const options = (): CleanOptions => ({
  directory,
  user: { name: 'self', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, owner: undefined },
  binaries: { directory: join(directory, 'no-programs'), version: 15 },
  onNote: (text) => notes.push(text),
});

test.each([
  "archive_command = 'cp %p /old/%f'",
  'ARCHIVE_MODE on',
  "restore_command='cp /old/%f %p'",
  "primary_conninfo = 'host=old'",
  "recovery_target_time = '2026-01-01'",
  "unix_socket_directories = '/run/old'",
])('%s is of the old server', (line) => {
  expect(withoutOldSettings(`work_mem = 4MB\n${line}\nport_of_mine.x = 1`)).toBe(
    `work_mem = 4MB\n# of the server that this is a backup of: ${line}\nport_of_mine.x = 1`,
  );
});

test.each(['max_connections = 70', "# archive_command = 'x'", "include_dir 'conf.d'", ''])(
  '%j stays',
  (line) => {
    expect(withoutOldSettings(`${line}\n`)).toBe(`${line}\n`);
  },
);

test('files and slots of the old server go; what PostgreSQL needs of the backup stays', async () => {
  await mkdir(join(directory, 'pg_replslot', 'of_a_standby'), { recursive: true });
  const kept = ['PG_VERSION', 'backup_label', 'tablespace_map'];
  const gone = ['postmaster.pid', 'standby.signal', 'recovery.signal', 'promote', 'pg_sentinel_restoring'];
  for (const name of [...kept, ...gone, SETTINGS_FILE]) await writeFile(join(directory, name), '1\n');
  await writeFile(
    join(directory, 'postgresql.conf'),
    `include '${SETTINGS_FILE}'\narchive_mode = on\nwork_mem = 4MB\n`,
  );
  await cleanRestored(options());
  expect((await readdir(directory)).sort()).toEqual([...kept, 'pg_replslot', 'postgresql.conf'].sort());
  expect(await readdir(join(directory, 'pg_replslot'))).toEqual([]);
  expect(await content('postgresql.conf')).toBe(
    '# of the server that this is a backup of: archive_mode = on\nwork_mem = 4MB\n',
  );
});

const resume = (isNamed = false): ReturnType<typeof resumeArchiving> =>
  resumeArchiving({ dataDirectory: directory, owner: undefined, isNamed });

test('without an archive that could be asked, archiving goes on only once a person has said where to', async () => {
  await writeFile(join(directory, AUTO), `archive_command = ''\n${SUSPENDED} = '${HELD}'\n`);
  expect(await resume()).toBe('held');
  expect(await content(AUTO)).toContain("archive_command = ''");
  expect(await resume(true)).toBe('resumed');
  expect((await content(AUTO)).trim()).toBe('');
});

test('a postgresql.auto.conf that is a link is not read for it', async () => {
  await rm(join(directory, AUTO), { force: true });
  await symlink('/etc/passwd', join(directory, AUTO));
  await expect(resume()).rejects.toThrow('is a symbolic link');
  await rm(join(directory, AUTO));
});

test('what is set for recovery goes with it, and archiving is not set free before the group takes writes', async () => {
  await writeFile(join(directory, AUTO), "work_mem = '4MB'\narchive_command = 'cp %p /old/%f'");
  const settings = {
    ...{ restore_command: "cp '/a'/%f %p", archive_command: '', recovery_target_action: 'pause' },
    [SUSPENDED]: 'suspended',
  };
  await overrideSettings({ dataDirectory: directory, settings, owner: undefined });
  // Again, as after a run that was killed: once each.
  await overrideSettings({ dataDirectory: directory, settings, owner: undefined });
  const during = await content(AUTO);
  expect(during).toContain("restore_command = 'cp ''/a''/%f %p'");
  expect(during.match(/^archive_command = ''$/gm)).toHaveLength(1);
  expect(during).not.toContain('/old/');

  await endRecoverySettings(directory, Object.keys(settings), undefined);
  const suspended = await content(AUTO);
  expect(suspended).toBe(`work_mem = '4MB'\narchive_command = ''\n${SUSPENDED} = 'suspended'\n`);
  expect(await resume()).toBe('resumed');
  expect(await content(AUTO)).toBe("work_mem = '4MB'\n");
  expect(await resume()).toBe('none');
});

test('whoever copies the directory while archiving goes on finds a file with both, the empty command and what says so, or with neither', async () => {
  const path = join(directory, AUTO);
  const suspended = `archive_command = ''\n${SUSPENDED} = 'suspended'\n`;
  await writeFile(path, suspended);
  let isOver = false;
  const seen = new Set<string>();
  const copying = (async () => {
    while (!isOver) seen.add(await content(AUTO));
  })();
  for (let count = 0; count < 50; count += 1) {
    await writeFile(`${path}.next`, suspended);
    await rename(`${path}.next`, path);
    expect(await resume()).toBe('resumed');
  }
  isOver = true;
  await copying;
  seen.delete('');
  seen.delete(suspended);
  expect([...seen]).toEqual([]);
  expect((await readdir(directory)).sort()).toEqual([AUTO]);
});

test('an archive_command that somebody has set meanwhile stays', async () => {
  await writeFile(join(directory, AUTO), `archive_command = 'cp %p /new/%f'\n${SUSPENDED} = 'suspended'\n`);
  expect(await resume()).toBe('resumed');
  expect(await content(AUTO)).toBe("archive_command = 'cp %p /new/%f'\n");
});

test('files that are included, and cannot be read, are left out', async () => {
  await writeFile(join(directory, 'postgresql.conf'), "work_mem = 4MB\ninclude_dir 'conf.d'\n");
  notes.length = 0;
  await mkdir(join(directory, 'no-programs'));
  await writeFile(join(directory, 'no-programs', 'postgres'), '#!/bin/sh\necho no such file >&2\nexit 1\n', {
    mode: 0o755,
  });
  await cleanRestored(options());
  expect(await content('postgresql.conf')).toBe(
    "work_mem = 4MB\n# of the server that this is a backup of: include_dir 'conf.d'\n",
  );
  expect(notes).toEqual([
    "the files that postgresql.conf of the backup includes are left out (include_dir 'conf.d'): PostgreSQL cannot read them (no such file)",
  ]);
});
