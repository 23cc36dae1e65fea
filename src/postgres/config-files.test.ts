// What a configuration consists of, and what it sets, as PostgreSQL would read it.
import { expect, test } from 'vitest';
import {
  type ConfigReader,
  UnreadableError,
  readConfigTree,
  settingsOfTree,
  withIncludes,
} from './config-files.ts';

const FILES: Readonly<Record<string, string>> = {
  '/etc/p/postgresql.conf':
    "work_mem = 7MB\ninclude_dir 'conf.d'\ninclude '/secret.conf'\ninclude_if_exists 'none.conf'\ninclude 'gone.conf'\nport = 1\n",
  '/etc/p/conf.d/20-b.conf': 'work_mem = 9MB\n',
  '/etc/p/conf.d/10-a.conf': "work_mem = 8MB\ninclude '../postgresql.conf'\n",
};
const reader: ConfigReader = {
  read: (path) =>
    path === '/secret.conf' ? Promise.reject(new UnreadableError('closed')) : Promise.resolve(FILES[path]),
  list: (directory) =>
    Promise.resolve(directory === '/etc/p/conf.d' ? ['20-b.conf', 'x.bak', '10-a.conf'] : undefined),
};

test('all that is included is found once, also in a circle; what is missing or closed is said', async () => {
  const tree = await readConfigTree(reader, '/etc/p/postgresql.conf');
  expect(tree.files.map(({ path }) => path)).toEqual([
    '/etc/p/postgresql.conf',
    '/etc/p/conf.d/10-a.conf',
    '/etc/p/conf.d/20-b.conf',
  ]);
  expect(tree.missing).toEqual(['/etc/p/gone.conf']);
  expect([...tree.unreadable]).toEqual([['/secret.conf', 'closed']]);
});

test('of a setting the last one counts, in the order of the includes', async () => {
  const tree = await readConfigTree(
    {
      ...reader,
      read: (path) => Promise.resolve(path.endsWith('10-a.conf') ? 'work_mem = 8MB' : FILES[path]),
    },
    '/etc/p/postgresql.conf',
  );
  expect(settingsOfTree(tree).map(({ name, value, file }) => [name, value, file])).toEqual([
    ['work_mem', '9MB', '/etc/p/conf.d/20-b.conf'],
    ['port', '1', '/etc/p/postgresql.conf'],
  ]);
});

test('includes are led elsewhere, and no other line is touched', () => {
  const text = "a = 1 # include 'x'\ninclude = 'x''y'\n include_dir conf.d\n";
  const moved = (path: string): string | undefined => (path === "/d/x'y" ? "in'side" : undefined);
  expect(withIncludes(text, '/d/postgresql.conf', moved)).toBe(
    "a = 1 # include 'x'\ninclude 'in''side'\n include_dir conf.d\n",
  );
});
