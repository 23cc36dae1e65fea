// Where a source's configuration is copied to, which the source itself says: never but to a configuration file that the user may make.
import { chmod, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { OsUser } from '../postgres/os-user.ts';
import { type ExternalConfig, copyExternalConfig, externalPlan } from './external-config.ts';

const self: OsUser = { name: 'me', uid: 0, gid: 0, owner: undefined };
const nobody: OsUser = { name: 'nobody', uid: 65_534, gid: 65_534, owner: { uid: 65_534, gid: 65_534 } };
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-external-'));
  await chmod(folder, 0o755);
});
afterEach(() => rm(folder, { recursive: true }));

const of = (path: string): ExternalConfig => ({
  kind: 'same-path',
  files: [{ path, text: 'work_mem = 8MB\n' }],
  dataDirectory: '/data',
  configFile: undefined,
  hbaFile: undefined,
  identFile: undefined,
});

test('a plan names each file, and the copy makes it once', async () => {
  const path = join(folder, 'conf.d', 'a.conf');
  expect(await externalPlan(of(path), self)).toEqual([`${path} is copied`]);
  const options = { external: of(path), directory: folder, user: self, adoptedHbaFile: join(folder, 'hba') };
  await copyExternalConfig(options);
  await copyExternalConfig(options);
  expect(await readFile(path, 'utf8')).toBe('work_mem = 8MB\n');
  expect(await externalPlan(of(path), self)).toEqual([]);
});

test.each(['cron', 'a.conf/../cron', 'a\n.conf'])('no place for a configuration: %j', async (name) => {
  await expect(externalPlan(of(`${folder}/${name}`), self)).rejects.toThrow(/its name does not end in .conf/);
});

test('a file of another content, or a link that leads nowhere, is not replaced', async () => {
  await writeFile(join(folder, 'a.conf'), 'theirs');
  await symlink(join(folder, 'none'), join(folder, 'b.conf'));
  for (const name of ['a.conf', 'b.conf'])
    await expect(externalPlan(of(join(folder, name)), self)).rejects.toThrow(/is another one/);
  expect(await readdir(folder)).toEqual(['a.conf', 'b.conf']);
});

test.skipIf(process.getuid?.() !== 0)(
  'where the user may not write is said before (needs root)',
  async () => {
    await expect(externalPlan(of(join(folder, 'a.conf')), nobody)).rejects.toThrow(
      /a\.conf cannot be made \(as nobody: EACCES.*\): give its directory to nobody, or give --copy-external-config/,
    );
  },
);
