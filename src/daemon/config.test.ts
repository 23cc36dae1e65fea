import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS, ourSettings } from '../postgres/settings.ts';
import { formatEndpoint, parseEndpoint } from './config-address.ts';
import { RESERVED_PARAMETERS } from '../postgres/reserved-parameters.ts';
import { configJsonSchema } from './config-schema.ts';
import { loadConfig } from './config.ts';
import { ENV, GOOD, load, problems, root, secret, write } from './testing/config-place.ts';

describe('a good file', () => {
  it('becomes plain data with defaults', () => {
    const config = load(GOOD);
    expect(config).toMatchObject({
      cluster: 'shop',
      peer: 'a',
      peers: [
        { peer: 'a', host: '10.0.0.1', port: 7432 },
        { peer: 'b', host: '10.0.0.2', port: 7432 },
        { peer: 'c', host: 'fd00::3', port: 7432 },
      ],
      listen: { host: '10.0.0.1', port: 7432 },
      node: {
        name: 'pg1',
        group: 'main',
        host: '10.0.0.1',
        port: 5432,
        priority: 100,
        socketDirectory: `${root}/state/socket`,
        parameters: {},
        hba: [],
      },
      users: {
        superuser: { name: 'postgres' },
        replication: { name: 'sentinel_replication', password: 'wonder land' },
        probe: { name: 'sentinel_probe', password: 'probed' },
      },
      timing: {
        probeIntervalMs: 500,
        downAfterMs: 2000,
        writeDownAfterMs: 10_000,
        recoveryDownAfterMs: 30_000,
        restartGraceMs: 10_000,
        syncMemberTimeoutMs: 700,
        heartbeatIntervalMs: 125,
        electionTimeoutMs: 500,
      },
      raft: { snapshotEntries: 10_000 },
      isJoining: false,
      log: { level: 'info', format: 'json' },
      warnings: [],
    });
  });

  it('of a host that is added to a running cluster is no reason to warn of an even number', () => {
    const text = `${GOOD.replace('  a:', '  d: 10.0.0.4:7432\n  a:').replace('peer: a', 'peer: d')}join: true\n`;
    expect(load(text)).toMatchObject({ isJoining: true, peer: 'd', warnings: [] });
    expect(load(text.replace('join: true', 'join: false')).warnings.join()).toContain('4 peers bear no more');
  });

  it('may limit what a clone reads in a second', () => {
    const rateOf = (text: string) => load(`${GOOD}clone: { max_rate: ${text} }\n`).cloneMaxRateBytes;
    expect([rateOf('32kB'), rateOf('50MB'), rateOf('1024MB')]).toEqual([32_768, 50 << 20, 1 << 30]);
    expect(load(GOOD).cloneMaxRateBytes).toBeUndefined();
  });

  it('may say how this peer reaches others, and which of those it does not know yet', () => {
    const { via } = load(
      `${GOOD}via: { peers: { b: proxy:7001 }, nodes: { pg2: proxy:7002, pg9: "[fd00::9]:5432" } }\n`,
    );
    expect(via.peers).toEqual(new Map([['b', { host: 'proxy', port: 7001 }]]));
    expect(via.nodes).toEqual(
      new Map([
        ['pg2', { host: 'proxy', port: 7002 }],
        ['pg9', { host: 'fd00::9', port: 5432 }],
      ]),
    );
    expect(
      problems(`${GOOD}via: { peers: { a: proxy:7001 }, nodes: { pg1: proxy:7002, pg2: 0.0.0.0:1 } }\n`),
    ).toEqual([
      'via.peers.a: "a" is this peer itself; expected other peers',
      'via.nodes.pg1: "pg1" is the node of this host; expected those of others',
      'via.nodes.pg2: "0.0.0.0:1" is given; expected an address that this peer can connect to',
    ]);
  });

  it('may be the same for every peer: --peer says which one this is', () => {
    expect(load(GOOD, { peer: 'c' })).toMatchObject({
      peer: 'c',
      listen: { host: 'fd00::3' },
      node: { host: 'fd00::3', port: 5432 },
    });
  });

  it('takes parameters of any scalar type and puts their names in lower case', () => {
    const config = load(
      GOOD.replace(
        '  name: pg1',
        '  name: pg1\n  parameters: { Shared_Buffers: 1GB, jit: false, max_connections: 50, pg_stat_statements.max: 100 }',
      ),
    );
    expect(config.node?.parameters).toEqual({
      shared_buffers: '1GB',
      jit: 'off',
      max_connections: '50',
      'pg_stat_statements.max': '100',
    });
  });

  it('takes empty sections for absent ones', () => {
    expect(load(`${GOOD}timing:\nlog:\n`).timing.downAfterMs).toBe(2000);
  });

  it('needs no replication password on a witness', () => {
    const witness = GOOD.replace(/node:[^]*(?=users)/, '').replace(secret, '/nowhere/file');
    expect(load(witness)).toMatchObject({ node: undefined, users: { replication: undefined } });
  });
});

describe('a wrong file', () => {
  it('has all its problems listed, each with file, line, key, value and what is right', () => {
    const path = write(
      GOOD.replace('cluster: shop', 'cluster: Shop')
        .replace(`${root}/data`, 'data')
        .concat('timing:\n  down_after: 500\n'),
    );
    expect(() => loadConfig({ path, env: ENV })).toThrow(
      [
        `${path}:2: cluster: "Shop" is given; expected a lower-case letter, then at most 30 lower-case letters, digits, "_" or "-"`,
        `${path}:11: node.data_directory: "data" is given; expected an absolute path without "..", such as /var/lib/postgresql/15/shop`,
        `${path}:16: timing.down_after: 500 is given; expected a number with a unit: ms, s, min or h, such as 500ms or 2s, from 100ms to 10min; did you mean "500ms"?`,
      ].join('\n'),
    );
  });

  it('has unknown keys refused, with the key that was meant', () => {
    expect(problems(GOOD.replace('data_directory', 'data-directory'))).toEqual([
      expect.stringContaining('node.data_directory: missing'),
      'node.data-directory: unknown key; did you mean "data_directory"?',
    ]);
    expect(problems(`${GOOD}downAfter: 2s\nheartbeat_interval: 1s\n`)).toEqual([
      expect.stringContaining('downAfter: unknown key; known here: cluster, peer, peers'),
      'heartbeat_interval: unknown key; it belongs to "timing"',
    ]);
  });

  it('has unknown keys and contradictions listed together', () => {
    expect(problems(`${GOOD}lgo: {}\n`, { peer: 'd' })).toEqual([
      'peer: "d" is given; expected one of a, b, c',
      'lgo: unknown key; did you mean "log"?',
    ]);
  });

  it.each([
    ['peer: a\n', '', 'peer: missing; expected one of a, b, c, here or as --peer'],
    ['10.0.0.2:7432', '10.0.0.2', 'peers.b: "10.0.0.2" is given; expected host:port'],
    ['10.0.0.2:7432', '10.0.0.2:70000', 'peers.b: "10.0.0.2:70000" is given; expected host:port'],
    ['10.0.0.2:7432', '10.0.0.1:7432', 'peers.b: "10.0.0.1:7432" is also the address of peer a'],
    [
      '10.0.0.2:7432',
      '0.0.0.0:7432',
      'peers.b: "0.0.0.0:7432" is given; expected an address that the other peers can reach',
    ],
    ['  b: 10', '  B: 10', 'peers.B: "B" is no name for this; expected a lower-case letter'],
    [
      '  name: pg1',
      '  name: pg1\n  address: 10.0.0.1:7432',
      'node.address: "10.0.0.1:7432" is also the address of peer a',
    ],
    ['  name: pg1', '  name: pg1\n  priority: 1.5', 'node.priority: 1.5 is given; expected a whole number'],
    [
      '  name: pg1',
      '  name: pg1\n  no_failover: never',
      'node.no_failover: "never" is given; expected true or false',
    ],
    ['  name: pg1', '  name: pg1\n  no_sync: 1', 'node.no_sync: 1 is given; expected true or false'],
    ['  name: pg1', '  name: pg1\n  upstream: pg1', 'node.upstream: "pg1" is given; expected another node'],
    [
      '  name: pg1',
      '  name: pg1\n  apply_delay: 300h',
      'node.apply_delay: "300h" is given; expected a number with a unit',
    ],
    ['peer: a', 'peer: a\nsite: West', 'site: "West" is given; expected a lower-case letter'],
    [
      '  name: pg1',
      '  name: pg1\n  parameters: { Fsync: off }',
      'node.parameters.Fsync: pg-sentinel sets Fsync itself (an acknowledged commit must survive a crash); remove it',
    ],
    [
      '  name: pg1',
      '  name: pg1\n  hba: ["hots all all all md5"]',
      'node.hba.0: "hots all all all md5" is given; expected a line of pg_hba.conf',
    ],
    [
      '  name: pg1',
      '  name: pg1\n  hba: [host all all 10.0.0.0/24 scram-sha-265]',
      'oauth; did you mean "scram-sha-256"?',
    ],
    [
      '  name: pg1',
      '  name: pg1\n  hba: [local all all peer, host all all 10.0.0.0/66 md5]',
      'node.hba.1: address: "10.0.0.0/66" is given; expected a network',
    ],
    ['  name: pg1', '  name: pg1\n  hba: [host all all 10.0.0.7 md5]', '"10.0.0.7" has no mask'],
    ['  name: pg1', '  name: pg1\n  hba: [host all all samenet peer]', '"peer" is not possible with host'],
    [
      '  name: pg1',
      '  name: pg1\n  hba: [host replication x all trust, "host all, replication x all trust"]',
      'node.hba.1: "host all, replication x all trust" lets replication in without a password',
    ],
    [
      '  name: pg1',
      '  name: pg1\n  hba: [host replication x all trust ldapbindpasswd=hush]',
      'node.hba.0: "host replication x all trust ldapbindpasswd=***" lets replication in',
    ],
    [
      '  name: pg1',
      '  name: pg1\n  hba: ["hots all all all ldap ldapbindpasswd=hush"]',
      'node.hba.0: "hots all all all ldap ldapbindpasswd=***" is given',
    ],
    [`${root}/state`, `${root}/data/state`, 'is inside node.data_directory, which a clone replaces'],
    ['PROBE_PASSWORD', 'NO_SUCH', 'users.probe.password_env: the environment variable NO_SUCH is not set'],
    [secret, '/no/such', 'users.replication.password_file: cannot read /no/such: no such file or directory'],
    ['{ password_env: PROBE_PASSWORD }', '{}', 'users.probe: no password; expected exactly one of'],
    ['password_env', 'password: x, password_env', 'users.probe: password and password_env are given'],
    [
      '{ password_env: PROBE_PASSWORD }',
      '{ password: 1234 }',
      'users.probe.password: a number (not shown) is given; expected text (in quotes',
    ],
    [
      'password_env',
      'name: postgres, password_env',
      'users.probe.name: "postgres" is also users.superuser.name',
    ],
    [
      'users:',
      'timing: { heartbeat_interval: 300ms }\nusers:',
      'timing.election_timeout: "500ms" is given; expected at least twice timing.heartbeat_interval (300ms)',
    ],
    [
      'users:',
      'log: { level: verbose }\nusers:',
      'log.level: "verbose" is given; expected one of trace, debug',
    ],
    ['users:', 'join: yes\nusers:', 'join: "yes" is given; expected true or false'],
    [
      '  b: 10.0.0.2:7432\n  c: "[fd00::3]:7432"\n',
      'join: true\n',
      'join: true is given, but "peers" names no peer of the running cluster',
    ],
    [
      'users:',
      'raft: { snapshot_entries: 0 }\nusers:',
      'raft.snapshot_entries: 0 is given; expected a whole number from 1 to 10000000',
    ],
    [
      'users:',
      'clone: { max_rate: 5 }\nusers:',
      'clone.max_rate: 5 is given; expected a size for each second with a unit, kB or MB, from 32kB to 1024MB',
    ],
    ['users:', 'clone: { max_rate: 31kB }\nusers:', 'clone.max_rate: "31kB" is given; expected a size'],
    ['users:', 'clone: { max_rate: 1025MB }\nusers:', 'clone.max_rate: "1025MB" is given; expected a size'],
    ['"[fd00::3]:7432"', '[fd00::3]:7432', 'put an address with brackets in quotes'],
    ['peer: a\n', 'peer: a\npeer: b\n', 'not YAML: Map keys must be unique'],
  ])('with %j turned into %j', (from, to, expected) => {
    expect(GOOD).toContain(from);
    expect(problems(GOOD.replace(from, to)).join('\n')).toContain(expected);
  });

  it.each([
    ['', 'is empty'],
    ['\n', 'is empty'],
    ['a\nb\nc\n', 'has more than two lines'],
    ['x'.repeat(2000), 'it has 2000 bytes'],
  ])('with a password file of %j', (content, expected) => {
    writeFileSync(join(root, 'bad-secret'), content);
    expect(problems(GOOD.replace(secret, join(root, 'bad-secret'))).join()).toContain(expected);
  });

  it('that is missing or empty says so', () => {
    expect(() => loadConfig({ path: '/no/such.yaml', env: {} })).toThrow(
      '/no/such.yaml: cannot read the configuration: no such file or directory; give the file',
    );
    expect(problems('')).toEqual(
      expect.arrayContaining([expect.stringContaining('cluster: missing; expected a lower-case')]),
    );
    expect(problems('- a\n').join()).toContain('a list is given; expected a mapping with cluster');
  });

  it('never shows a password', () => {
    const text = GOOD.replace('password_env: PROBE_PASSWORD', 'password: tiger, name: 3');
    expect(problems(text).join()).not.toContain('tiger');
  });
});

describe('warnings', () => {
  it.each([
    ['  c: "[fd00::3]:7432"\n', '', 'peers: 2 peers bear no more losses than 1'],
    ['10.0.0.2:7432', '127.0.0.1:7432', 'peers: some addresses are on loopback'],
    [
      '  name: pg1',
      '  name: pg1\n  address: localhost:5432',
      'node.address: "localhost:5432" cannot be reached from other hosts',
    ],
    ['  name: pg1', '  name: pg1\n  hba: [host all all all trust]', 'lets clients in without a password'],
    ['users:', 'timing: { write_down_after: 1s }\nusers:', 'a slow disk fails over before a lost host does'],
  ])('with %j turned into %j', (from, to, expected) => {
    expect(load(GOOD.replace(from, to)).warnings.join('\n')).toContain(expected);
  });

  it('name a password file, or a configuration with a password, that everybody may read', () => {
    const open = join(root, 'open-secret');
    writeFileSync(open, 'x');
    chmodSync(open, 0o644);
    const path = write(GOOD.replace(secret, open).replace('password_env: PROBE_PASSWORD', 'password: x'));
    chmodSync(path, 0o644);
    const { warnings } = loadConfig({ path, env: {} });
    expect(warnings).toEqual([
      `${path}:13: users.replication.password_file: everybody may read ${open}; chmod 600 ${open}`,
      expect.stringContaining('it holds a password and everybody may read it'),
    ]);
  });
});

it('every setting that pg-sentinel writes is reserved', () => {
  const ours = ourSettings({
    ...DEFAULT_SETTINGS,
    version: 18,
    listenAddresses: [],
    port: 1,
    socketDirectory: '',
    clusterName: '',
  });
  expect(Object.keys(ours).filter((name) => !RESERVED_PARAMETERS.has(name))).toEqual([]);
});

it('addresses are taken apart and put together', () => {
  for (const text of ['a.example:1', '[::1]:65535', '10.0.0.1:7432'])
    expect(formatEndpoint(parseEndpoint(text)!)).toBe(text);
  for (const text of ['a', ':1', 'a:0', '::1:5', '[a]:1x', 'a b:1', 'http://a:1'])
    expect(parseEndpoint(text)).toBeUndefined();
});

it('docs/sentineld.schema.json is up to date (UPDATE_SCHEMA=1 writes it)', () => {
  const path = new URL('../../docs/sentineld.schema.json', import.meta.url);
  if (process.env['UPDATE_SCHEMA'] === '1')
    writeFileSync(path, `${JSON.stringify(configJsonSchema(), undefined, 2)}\n`);
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(configJsonSchema());
});
