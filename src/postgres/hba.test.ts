import { describe, expect, test } from 'vitest';
import { hbaLinesProblem } from '../cluster/hba-rules.ts';
import { isOnlyOurs, renderHba, type HbaOptions } from './hba.ts';

const options: HbaOptions = {
  superuser: 'postgres',
  replicationUser: 'repl',
  probeUser: 'probe',
  userNetworks: ['10.0.0.0/8'],
  memberNetworks: ['10.1.0.0/16'],
  requireTls: true,
  extraLines: ['host app app 10.2.0.0/16 cert'],
};

test('only the superuser gets in without a password, by the private socket', () => {
  const trusted = renderHba(options)
    .split('\n')
    .filter((line) => line.includes('trust'));
  expect(trusted).toEqual(['local all "postgres" trust', 'local replication "postgres" trust']);
});

test('members are admitted before users, with SCRAM and TLS, and from nowhere else', () => {
  const lines = renderHba(options).split('\n');
  expect(lines).toContain('hostssl replication "repl" 10.1.0.0/16 scram-sha-256');
  expect(lines.indexOf('host all,replication "repl","probe" all reject')).toBeLessThan(
    lines.indexOf('host app app 10.2.0.0/16 cert'),
  );
});

test.each(['host replication all all trust', 'local all,replication all trust', 'x\ny'])(
  'refuses the line %j',
  (line) => {
    expect(() => renderHba({ ...options, extraLines: [line] })).toThrow(/pg_hba line/);
  },
);

test('says which line it refuses, without a password that stands in it', () => {
  const extraLines = ['host replication all all trust ldapbindpasswd=hush'];
  expect(() => renderHba({ ...options, extraLines })).toThrow(
    /^pg_hba line "host replication all all trust ldapbindpasswd=\*\*\*" lets replication in/,
  );
});

test('every rule that the log can have is written', () => {
  const extraLines = [
    'host replication backup 10.0.0.0/24 scram-sha-256 # trust nobody',
    'host replication trust trust reject',
    'host "replication" app 10.0.0.0/24 trust',
  ];
  expect(hbaLinesProblem(extraLines)).toBeUndefined();
  expect(renderHba({ ...options, extraLines })).toContain(extraLines.join('\n'));
});

describe('a file that keeps clients out', () => {
  const keptOut = renderHba({ ...options, userNetworks: [], extraLines: [] });

  test('is known by whom it names, also where another version has written it', () => {
    expect(isOnlyOurs(keptOut, options)).toBe(true);
    const others = keptOut
      .replace(/^#.*$/m, '# Written by pg-sentinel 0.0.1')
      .replace('10.1.0.0/16', '0.0.0.0/0');
    expect(isOnlyOurs(others, options)).toBe(true);
  });

  test.each([
    ['lets users in', renderHba({ ...options, extraLines: [] })],
    ['has rules of people', renderHba({ ...options, userNetworks: [] })],
    ['cannot be read', `${keptOut}host all "x\n`],
    ['is empty', '# nothing\n'],
  ])('is none that %s', (_, text) => {
    expect(isOnlyOurs(text, options)).toBe(false);
  });
});
