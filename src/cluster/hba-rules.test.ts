// What people may put into pg_hba.conf: read as PostgreSQL does, refused by line and field.
import { isIP } from 'node:net';
import { expect, test } from 'vitest';
import {
  hbaFileLineProblem,
  hbaLineDanger,
  hbaLinesOf,
  hbaLinesProblem,
  hbaWarnings,
  isHbaProblem,
  parseHbaLine,
  shownHbaError,
  shownHbaLine,
} from './hba-rules.ts';

const parse = (line: string) => parseHbaLine(line, { secrets: false });

const TAKEN = [
  'host all all 10.0.0.0/24 scram-sha-256',
  'hostssl app,"other app" +readers,bob 10.2.0.0/16 cert map=people clientname=DN',
  'local all all peer',
  'host all all 10.0.0.0 255.255.255.0 md5',
  'host all all ::1/128 scram-sha-256 # a comment',
  'host all all ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff scram-sha-256',
  'hostnossl all all .example.com reject',
  'host sameuser, samerole all samenet ldap ldapserver=ldap.example.com ldapprefix="cn="',
  'host replication backup 10.0.0.0/24 scram-sha-256',
  'host all "a ""b"" c" all scram-sha-256',
  'hostgssenc all all all gss include_realm=1',
  // No method is trust here, however it is spelled.
  'host replication backup 10.0.0.0/24 scram-sha-256 # trust nobody',
  'host replication trust trust reject',
  'host "replication" app 10.0.0.0/24 trust',
];

test.each(TAKEN)('takes %j, and every node can write it', (line) => {
  expect(parse(line)).not.toHaveProperty('text');
  expect(hbaLineDanger(line)).toBeUndefined();
});

test.each([
  ['host replication all all trust', /without a password/],
  ['local all, replication all "trust"', /without a password/],
  ['host replication @users 10.0.0.0 255.0.0.0 trust', /without a password/],
  ['host replication all all trust not_known_here=1', /without a password/],
  ['host replication "all all trust', /without a password/],
  ['host all all all md5\nlocal all all trust', /line break/],
  ['host replication all all \\', /backslash/],
])('must never be written: %j', (line, why) => {
  expect(parse(line)).toHaveProperty('text');
  expect(hbaLineDanger(line)).toMatch(why);
});

test('a line that only a later PostgreSQL understands may stand in a file of its owner', () => {
  expect(hbaFileLineProblem('host all all all scram-sha-256 later_option=1')).toBeUndefined();
  expect(hbaFileLineProblem('host app @users all md5')).toBeUndefined();
  expect(hbaFileLineProblem('host app all 10.0.0.0/66 md5')).toMatch(/^address: "10.0.0.0\/66" is given/);
  expect(hbaFileLineProblem('host app all all ldap ldapbindpasswd=x')).toBeUndefined();
  expect(hbaLineDanger('host all all all scram-sha-256 later_option=1')).toBeUndefined();
  expect(hbaLineDanger('host app @users all md5')).toBeUndefined();
});

test.each([
  ['', undefined, /is empty/],
  ['hots all all all trust', 'type', /"hots" is given; expected local, host, hostssl/],
  ['include other.conf', 'type', /reads another file/],
  ['host', 'database', /is missing/],
  ['host all', 'user', /is missing/],
  ['host all @users 10.0.0.0/8 md5', 'user', /"@users" reads another file/],
  ['host all all', 'address', /is missing/],
  ['host all all 10.0.0.0/33 md5', 'address', /"10\.0\.0\.0\/33" is given; expected a network/],
  ['host all all 10.0.0 md5', 'address', /"10\.0\.0" is given/],
  ['host all all 10.0.0.1 md5', 'address', /has no mask; expected 10\.0\.0\.1\/32/],
  ['host all all 10.0.0.1 255.0.255.0 md5', 'mask', /has no mask/],
  ['host all all 10.0.0.0/8,10.1.0.0/16 md5', 'address', /is a list/],
  ['host all all 10.0.0.0/8', 'method', /is missing/],
  ['host all all 10.0.0.0/8 scram', 'method', /"scram" is given; expected trust, reject, scram-sha-256/],
  [
    'host all all 10.0.0.0/8 scram-sha-265',
    'method',
    /"scram-sha-265" is given; expected .*; did you mean "scram-sha-256"\?$/,
  ],
  ['host all all 10.0.0.0/66 md5', 'address', /"10\.0\.0\.0\/66" is given; expected a network/],
  ['host all all 10.0.0.0/8 peer', 'method', /"peer" is not possible with host; it is with local/],
  ['host all all 10.0.0.0/8 cert', 'method', /"cert" is not possible with host; it is with hostssl/],
  ['hostgssenc all all 10.0.0.0/8 md5', 'method', /gss, reject and trust are/],
  ['host all all 10.0.0.0/8 md5 cleartext', 'option', /"cleartext" is given; expected NAME=VALUE/],
  ['host all all 10.0.0.0/8 md5 mapp=x', 'option', /there is no option "mapp"/],
  ['host replication all 10.0.0.0/8 trust', 'method', /lets replication in without a password/],
  ['local all,replication all trust', 'method', /lets replication in without a password/],
  ['host all all 10.0.0.0/8 md5\nlocal all all trust', undefined, /line break/],
  ['host all all 10.0.0.0/8 md5 \\', undefined, /backslash/],
  ['host all "all 10.0.0.0/8 md5', undefined, /quote that is not closed/],
  ['host all ,all 10.0.0.0/8 md5', undefined, /comma/],
])('refuses %j', (line, field, text) => {
  const parsed = parse(line);
  expect(isHbaProblem(parsed) && parsed).toMatchObject({
    field,
    text: expect.stringMatching(text) as unknown,
  });
});

test('a name in quotes is no keyword, and quotes in it are doubled', () => {
  expect(parse('host "replication" "x""y" all trust')).toMatchObject({
    databases: [{ text: 'replication', isQuoted: true }],
    users: [{ text: 'x"y', isQuoted: true }],
  });
});

test('a password in a rule is refused for the log without being shown, and taken in a file', () => {
  const line = 'host all all all ldap ldapserver=a ldapbindpasswd=hunter2';
  const problem = hbaLinesProblem(['local all all peer', line]);
  expect(problem).toMatch(/^hba line 2, option: ldapbindpasswd holds a password.*configuration file/);
  expect(problem).not.toContain('hunter2');
  expect(hbaLinesProblem([line], { secrets: true })).toBeUndefined();
});

test('of a text empty lines and comments are left out', () => {
  expect(hbaLinesOf('# mine\n\n  local all all peer \n#x\nhost all all all reject\n')).toEqual([
    'local all all peer',
    'host all all all reject',
  ]);
});

test('clients without a password are warned of', () => {
  expect(hbaWarnings(['local all all peer', 'host all all 10.0.0.0/8 trust'])).toEqual([
    'hba line 2 lets clients in without a password',
  ]);
});

test.each([
  ...['1.2.3.4', '256.1.1.1', '1.2.3', '::', '::1', '1::', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7', '1::2::3'],
  ...[
    '::ffff:1.2.3.4',
    '1:2:3:4:5:6:1.2.3.4',
    '1:2:3:4:5:6:7:1.2.3.4',
    ':1',
    '1:',
    '12345::',
    'g::',
    '::1.2.3',
    '1.2.3.4::',
  ],
])('takes %s for an address just where Node.js does', (address) => {
  const version = isIP(address);
  const bits = version === 4 ? 32 : 128;
  expect(isHbaProblem(parse(`host all all ${address}/${bits} md5`))).toBe(version === 0);
});

test('a line is shown without what may be a password', () => {
  const start = 'host all all 10.0.0.0/8 ldap ldapserver=x';
  for (const given of [
    'ldapbindpasswd=hush',
    'ldapbindpasswd="hu sh" ldapport=3',
    '"ldapbindpasswd=hu sh"',
    'ldapbindpasswd="hush',
    'radiussecrets=hu, sh radiusports=1',
    'LDAPBINDPASSWORD = hush',
  ]) {
    const shown = shownHbaLine(`${start} ${given}`);
    expect(shown).toMatch(/^host all all 10\.0\.0\.0\/8 ldap ldapserver=x .*=\*\*\*$/);
    expect(shown).not.toMatch(/hu|sh\b/);
  }
  const plain = 'host passwords secret 10.0.0.0/8 ldap ldapserver=x';
  expect(shownHbaLine(plain)).toBe(plain);
  // A field is missing, so that the option stands where another one is expected.
  for (const line of [
    'host all all ldapbindpasswd=hush',
    'host all all all ldapbindpasswd=hush',
    'passwd=hush',
  ])
    for (const problem of [hbaLinesProblem([line]), hbaFileLineProblem(line)]) {
      expect(problem).toBeDefined();
      expect(problem).not.toMatch(/hush/);
    }
  expect(shownHbaError('authentication option not in name=value format: hush')).not.toMatch(/hush/);
  expect(shownHbaError('could not parse RADIUS secret list "hush"')).not.toMatch(/hush/);
});
