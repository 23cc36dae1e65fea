// When the operating system would start a server by itself.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startOfOs, startOfRepmgrd } from './os-start.ts';

const UNIT = 'postgresql@15-main.service';
const DEBIAN = '/etc/postgresql/15/main/postgresql.conf';
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pg-sentinel-os-start-'));
  mkdirSync(join(root, '/etc/postgresql/15/main'), { recursive: true });
  mkdirSync(join(root, '/etc/systemd/system/multi-user.target.wants'), { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

const ask = (configFile: string, unit?: string) => startOfOs({ configFile, unit, root });
const startConf = (text: string): void =>
  writeFileSync(join(root, '/etc/postgresql/15/main/start.conf'), text);

test('Debian starts what start.conf says, and where there is none', () => {
  expect(ask(DEBIAN)).toMatch(/write "manual" to \/etc\/postgresql\/15\/main\/start.conf/);
  startConf('# Automatic startup\n# auto: yes\n\nauto # it is\n');
  expect(ask(DEBIAN, UNIT)).toMatch(/manual/);
  for (const mode of ['manual', 'disabled']) {
    startConf(`# auto\n${mode}\n`);
    expect(ask(DEBIAN, UNIT)).toBeUndefined();
  }
});

test('a unit is started that another one wants', () => {
  const unit = 'postgresql-15.service';
  expect(ask('/var/lib/pgsql/15/data/postgresql.conf', unit)).toBeUndefined();
  symlinkSync('/nowhere', join(root, '/etc/systemd/system/multi-user.target.wants', unit));
  expect(ask('/var/lib/pgsql/15/data/postgresql.conf', unit)).toMatch(
    /systemctl disable postgresql-15.service/,
  );
  expect(ask('/var/lib/pgsql/15/data/postgresql.conf')).toBeUndefined();
});

test('on a host without systemd nothing is', () => {
  rmSync(join(root, '/etc/systemd'), { recursive: true });
  expect(ask('/data/postgresql.conf', UNIT)).toBeUndefined();
});

test('repmgrd is started where its package or systemd is told to', async () => {
  const set = (text: string): void => writeFileSync(join(root, '/etc/default/repmgrd'), text);
  expect(await startOfRepmgrd('/data', root)).toBeUndefined();
  for (const path of ['/etc/default', '/etc/init.d']) mkdirSync(join(root, path));
  writeFileSync(join(root, '/etc/init.d/repmgrd'), '');
  set('REPMGRD_ENABLED=no\n#REPMGRD_ENABLED=yes\nREPMGRD_CONF="/nowhere/repmgr.conf"\n');
  expect(await startOfRepmgrd('/data', root)).toBeUndefined();
  set('REPMGRD_ENABLED=yes\n');
  expect(await startOfRepmgrd('/data', root)).toBeUndefined();
  set('REPMGRD_ENABLED="yes"\nREPMGRD_CONF="/nowhere/repmgr.conf"\n');
  expect(await startOfRepmgrd('/data', root)).toMatch(/REPMGRD_ENABLED=no to \/etc\/default\/repmgrd/);
  writeFileSync(join(root, 'repmgr.conf'), "data_directory='/other'\n");
  set(`REPMGRD_ENABLED=yes\nREPMGRD_CONF='${root}/repmgr.conf'\n`);
  expect(await startOfRepmgrd('/data', root)).toBeUndefined();
  expect(await startOfRepmgrd('/other', root)).toMatch(/REPMGRD_ENABLED=no/);
  symlinkSync('/nowhere', join(root, '/etc/systemd/system/multi-user.target.wants/repmgr-15.service'));
  expect(await startOfRepmgrd('/data', root)).toMatch(/systemctl disable repmgr-15.service/);
});
