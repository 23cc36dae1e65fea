// Who else looks after servers of this host, and for whose server a repmgrd works.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isOfOtherServer, otherManagers, runningProcesses, stopItText } from './other-managers.ts';

let directory: string;
let data: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pg-sentinel-managers-'));
  data = join(directory, 'data');
  mkdirSync(data);
});
afterEach(() => rmSync(directory, { recursive: true }));

const found = async (...words: string[]): Promise<string[]> =>
  (await otherManagers([{ pid: 7, words }], data)).map(
    ({ name, isCertain }) => `${name}${isCertain ? ' surely' : ''}`,
  );
const config = (text: string): string => {
  const path = join(directory, 'repmgr.conf');
  writeFileSync(path, text);
  return path;
};

test.each([
  [['/usr/bin/repmgrd', '-f', '/nowhere/repmgr.conf'], ['repmgrd']],
  [['/usr/bin/python3', '/usr/bin/patroni', 'x.yml'], ['patroni']],
  [['/usr/bin/python3', '/opt/patroni.py', 'x.yml'], ['patroni']],
  [['vim', 'a', 'b', 'repmgrd'], []],
  [['postgres: repmgr repmgr'], []],
])('who looks after it now is found: %j', async (words, names) => {
  expect(await found(...words)).toEqual(names);
});

test('a repmgrd belongs to the data directory that its configuration names', async () => {
  const ours = config(`node_id=1\n  data_directory = '${data}/' # ours\n`);
  for (const words of [['-f', ours], [`-f${ours}`], ['--config-file', ours], [`--config-file=${ours}`, '-v']])
    expect(await found('/usr/lib/postgresql/15/bin/repmgrd', ...words)).toEqual(['repmgrd surely']);
  expect(await isOfOtherServer(ours, data)).toBe(false);
  symlinkSync(data, join(directory, 'link'));
  expect(await found('repmgrd', '-f', config(`data_directory=${directory}/link\n`))).toEqual([
    'repmgrd surely',
  ]);
  const theirs = config(`#data_directory='${data}'\ndata_directory='${directory}/other'\n`);
  expect(await found('repmgrd', '-f', theirs)).toEqual([]);
  expect(await isOfOtherServer(theirs, data)).toBe(true);
});

test('one that nothing is known of counts, and nothing that it names is waited for', async () => {
  expect(await found('repmgrd', '-f', 'repmgr.conf')).toEqual(['repmgrd']);
  expect(await found('repmgrd', '-f', config('node_id=1\n'))).toEqual(['repmgrd']);
  const pipe = join(directory, 'pipe');
  execFileSync('mkfifo', [pipe]);
  expect(await found('repmgrd', '-f', pipe)).toEqual(['repmgrd']);
  expect(await found('repmgrd', '-f')).toEqual(['repmgrd']);
});

test('it is said what to do', () => {
  const manager = { pid: 7, isCertain: true };
  expect(stopItText({ ...manager, name: 'repmgrd' }, 'repmgrd.service')).toMatch(
    /repmgrd \(process 7\) runs .* promote a standby .* \(systemctl disable --now repmgrd.service\)/,
  );
  expect(stopItText({ ...manager, name: 'repmgrd' }, undefined)).not.toContain('systemctl');
  // Its end would be PostgreSQL's.
  expect(stopItText({ ...manager, name: 'patroni' }, undefined)).toContain('patronictl pause');
  expect(stopItText({ ...manager, name: 'pg_autoctl' }, undefined)).toContain('not PostgreSQL with it');
});

test('processes of this host are found with their words', async () => {
  expect((await runningProcesses()).find(({ pid }) => pid === process.pid)?.words.length).toBeGreaterThan(0);
});
