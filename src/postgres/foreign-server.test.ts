// What stays of a server that somebody else has made, and what does not.
import { expect, test } from 'vitest';
import {
  type ForeignSetting,
  hbaLines,
  hbaWithOurs,
  isToDecode,
  keptSettings,
  replacedSettings,
  settingsOfCommandLine,
  takenOverConfiguration,
  withoutOurs,
} from './foreign-server.ts';

const ETC = '/etc/postgresql/15/main/postgresql.conf';
const setting = (name: string, value: string, more: Partial<ForeignSetting> = {}): ForeignSetting => ({
  ...{ name, value, source: 'configuration file', file: ETC },
  ...more,
});
const SETTINGS = [
  setting('work_mem', '7MB'),
  setting('port', '5432'),
  setting('archive_command', "cp '%p' /a"),
  setting('log_statement', 'ddl', { file: '/data/postgresql.auto.conf' }),
  setting('geqo', 'off', { source: 'command line', file: undefined }),
];
const END = '# End of what pg-sentinel has taken over.';
const names = (settings: readonly ForeignSetting[]): string[] => settings.map(({ name }) => name);

test('what pg-sentinel does not set itself is kept', () => {
  expect(names(keptSettings(SETTINGS))).toEqual(['work_mem', 'archive_command', 'log_statement', 'geqo']);
});

test('what gets another value is told with both', () => {
  const present = new Map([
    ['port', { value: '5432', isRestartNeeded: true }],
    ['cluster_name', { value: '15/main', isRestartNeeded: true }],
    ['wal_sender_timeout', { value: '1min', isRestartNeeded: false }],
  ]);
  expect(
    replacedSettings(present, { port: '5432', cluster_name: 'x', wal_sender_timeout: '10s', unknown: 'y' }),
  ).toEqual(["cluster_name: '15/main' -> 'x' (with its restart)", "wal_sender_timeout: '1min' -> '10s'"]);
});

test('a configuration that lies elsewhere is written to the data directory, again and again alike', () => {
  const options = {
    settings: SETTINGS,
    configFile: ETC,
    isInside: false,
    decodes: false,
    present: 'anything',
  };
  const text = takenOverConfiguration(options);
  expect(text).toBe(
    `# Taken over by pg-sentinel from ${ETC}.\nwork_mem = '7MB'\narchive_command = 'cp ''%p'' /a'\ngeqo = 'off'\n${END}\n`,
  );
  expect(takenOverConfiguration({ ...options, present: text ?? '' })).toBe(text);
});

test('one that lies in the data directory stays, with what the command line said', () => {
  const inside = { configFile: '/data/postgresql.conf', isInside: true, decodes: false };
  const files = SETTINGS.filter(({ source }) => source !== 'command line');
  expect(takenOverConfiguration({ ...inside, settings: files, present: 'a = 1\n' })).toBeUndefined();
  const text = takenOverConfiguration({ ...inside, settings: SETTINGS, present: 'a = 1\n' });
  expect(text).toBe(`a = 1\n\n# Taken over by pg-sentinel from the command line.\ngeqo = 'off'\n${END}\n`);
  expect(takenOverConfiguration({ ...inside, settings: SETTINGS, present: text ?? '' })).toBe(text);
});

test('what somebody has written behind what was taken over stays there', () => {
  const inside = { configFile: '/data/postgresql.conf', isInside: true, decodes: false };
  const text = takenOverConfiguration({ ...inside, settings: SETTINGS, present: 'a = 1\n' });
  const present = `${text}b = 2\ninclude 'pg_sentinel.conf'\n`;
  expect(takenOverConfiguration({ ...inside, settings: SETTINGS, present })).toBe(present);
  const files = SETTINGS.filter(({ source }) => source !== 'command line');
  expect(takenOverConfiguration({ ...inside, settings: files, present })).toBe(
    "a = 1\n\nb = 2\ninclude 'pg_sentinel.conf'\n",
  );
});

test.each([
  ['of a configuration that lies elsewhere', { configFile: ETC, isInside: false }, 'anything', ''],
  ['of ALTER SYSTEM', { configFile: '/data/postgresql.conf', isInside: true }, 'a = 1\n', 'a = 1\n\n'],
  [
    'that the WAL of its primary has, and not its own file',
    { configFile: '/data/postgresql.conf', isInside: true },
    "wal_level = 'replica'\n",
    "wal_level = 'replica'\n\n",
  ],
])('wal_level = logical %s is taken over as well, once', (_, where, present, before) => {
  const options = { ...where, settings: [], decodes: true };
  const text = takenOverConfiguration({ ...options, present });
  const from = where.isInside ? 'the running server' : ETC;
  expect(text).toBe(`${before}# Taken over by pg-sentinel from ${from}.\nwal_level = 'logical'\n${END}\n`);
  expect(takenOverConfiguration({ ...options, present: text ?? '' })).toBe(text);
});

test('a postgresql.conf that has it itself is left as it is', () => {
  const inside = { configFile: '/data/postgresql.conf', isInside: true, decodes: true, settings: [] };
  expect(takenOverConfiguration({ ...inside, present: 'WAL_LEVEL = Logical # cdc\n' })).toBeUndefined();
});

test('a server goes on decoding by what its WAL has, or by what its next start would be with', () => {
  const level = (value: string) => setting('wal_level', value);
  expect(isToDecode([], true)).toBe(true);
  expect(isToDecode([level('replica')], true)).toBe(true);
  expect(isToDecode([level('Logical')], false)).toBe(true);
  expect(isToDecode([level('logical'), level('replica')], false)).toBe(false);
  expect(isToDecode([{ ...level('logical'), name: 'work_mem' }], false)).toBe(false);
});

test('the command line is read as PostgreSQL has written it down', () => {
  const options = `/usr/bin/postgres "-D" "/data" "-c" "config_file=/etc/a b.conf" "--work-mem=7MB" "-cGeqo=off" "-B" "100" "-c" "x.y=a=b"\n`;
  expect([...settingsOfCommandLine(options)]).toEqual([
    ['config_file', '/etc/a b.conf'],
    ['work_mem', '7MB'],
    ['geqo', 'off'],
    ['x.y', 'a=b'],
  ]);
  expect(settingsOfCommandLine('').size).toBe(0);
});

test.each([
  ['host all, replication hand all trust', true],
  ['host replication,all hand all trust', true],
  ['host "replication" hand all trust', false],
  ['host all replication all trust', false],
  ['host "a b",  replication hand all trust', true],
])('a list of databases may have blanks: %s', (line, isOfReplication) => {
  expect(hbaLines(line)).toMatchObject(
    isOfReplication ? { kept: [], left: [line] } : { kept: [line], left: [] },
  );
});

test('our lines stand before those of pg_hba.conf, once, and go without a trace', () => {
  const theirs = '# mine\nhost all all all md5\n';
  const once = hbaWithOurs(theirs, ['host a', 'host b']);
  expect(once).toMatch(/^# pg-sentinel: begin.*\nhost a\nhost b\n# pg-sentinel: end\n# mine\nhost all/);
  expect(hbaWithOurs(once, ['host a', 'host b'])).toBe(once);
  expect(hbaWithOurs(once, ['host c'])).not.toContain('host a\n');
  expect(withoutOurs(once)).toBe(theirs);
});

test('rules of clients are kept, those of replication are told, a file of files is refused', () => {
  const text = 'local all all peer\n# no\nhost replication,app hand all trust\nhost all all \\\n all md5\n';
  expect(hbaLines(hbaWithOurs(text, ['host ours']))).toEqual({
    kept: ['local all all peer', 'host all all   all md5'],
    left: ['host replication,app hand all trust'],
    problem: undefined,
  });
  expect(hbaLines('include_dir more\n').problem).toMatch(/include_dir more/);
  expect(hbaLines('host @names all all md5\n').problem).toMatch(/@names/);
});
