// With which ids PostgreSQL is started.
import { expect, test } from 'vitest';
import { commandOfUser } from './process-settings.ts';

const COMMAND = { program: '/bin/postgres', arguments: ['-D', '/data'] };
const ROOTS = { name: 'postgres', uid: 101, gid: 104, owner: { uid: 101, gid: 104 } };

test('root starts it with all groups of the other user', () => {
  expect(commandOfUser(COMMAND, ROOTS, '/usr/bin/setpriv', () => true)).toEqual({
    program: '/usr/bin/setpriv',
    arguments: ['--reuid=101', '--regid=104', '--init-groups', '--', '/bin/postgres', '-D', '/data'],
    ids: {},
  });
});

test('where nothing can do that, with its own group', () => {
  const withoutSetpriv = { ...ROOTS, owner: { uid: 101, gid: 104 } };
  expect(commandOfUser(COMMAND, withoutSetpriv, '')).toEqual({ ...COMMAND, ids: { uid: 101, gid: 104 } });
});

test('a setpriv that does not know the groups is not used', () => {
  // It fails whatever it is asked, as that of busybox does for an option that it does not know.
  expect(commandOfUser(COMMAND, ROOTS, '/bin/false')).toEqual({ ...COMMAND, ids: { uid: 101, gid: 104 } });
  expect(commandOfUser(COMMAND, ROOTS, '/bin/true').program).toBe('/bin/true');
});

test('an ordinary user starts it as himself', () => {
  const own = { name: 'joe', uid: 1000, gid: 1000, owner: undefined };
  expect(commandOfUser(COMMAND, own, '/usr/bin/setpriv')).toEqual({ ...COMMAND, ids: {} });
});
