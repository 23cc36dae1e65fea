// How another site is reached: what PostgreSQL is told, and how our own questions are encrypted.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import {
  type Located,
  OpenedUpstreamError,
  type SiteSource,
  askLeader,
  choose,
  connectionTo,
  ensureSlot,
  hostsOf,
  locate,
  sourceText,
  tlsOf,
} from './site-source.ts';
import { type Walsender, startWalsender } from './testing/walsender.ts';

const SOURCE: SiteSource = {
  servers: [
    { host: 'far1', port: 5432 },
    { host: 'fd00::9', port: 5433 },
  ],
  account: { name: 'second', password: 'secret' },
  slot: 'second_site',
  parameters: { sslmode: 'require' },
  applicationName: 'pg_sentinel_site_second',
};

test('a walreceiver is given all servers, and finds the one that takes writes', () => {
  expect(hostsOf(SOURCE)).toEqual({
    host: 'far1,fd00::9',
    port: '5432,5433',
    target_session_attrs: 'primary',
    sslmode: 'require',
  });
  expect(hostsOf(SOURCE, { host: 'fd00::9', port: 5433 })).toMatchObject({
    host: 'fd00::9,far1',
    port: '5433,5432',
  });
  expect(sourceText(SOURCE.servers)).toBe('far1:5432,[fd00::9]:5433');
});

test('one connection of our own goes to one of them', () => {
  expect(connectionTo(SOURCE, { host: 'far1', port: 5432 })).toMatchObject({
    host: 'far1',
    port: 5432,
    user: 'second',
    password: 'secret',
    applicationName: 'pg_sentinel_site_second',
    parameters: { sslmode: 'require' },
  });
});

test('it is encrypted as libpq would do it', () => {
  const directory = mkdtempSync(join(tmpdir(), 'pg-sentinel-site-'));
  const sslrootcert = join(directory, 'ca.crt');
  writeFileSync(sslrootcert, 'certificate');
  expect(tlsOf({})).toBe(false);
  expect(tlsOf({ sslmode: 'disable' })).toBe(false);
  expect(tlsOf({ sslmode: 'require' })).toEqual({ rejectUnauthorized: false });
  expect(tlsOf({ sslmode: 'verify-full', sslrootcert })).toEqual({
    rejectUnauthorized: true,
    ca: 'certificate',
  });
  // Whose name the certificate has is not looked at.
  expect(tlsOf({ sslmode: 'verify-ca', sslrootcert })).toMatchObject({
    rejectUnauthorized: true,
    checkServerIdentity: expect.any(Function),
  });
  rmSync(directory, { recursive: true });
});

/** Nobody listens there any more. */
function closedPort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

test('what each server said is told where none takes writes', async () => {
  const [port, other] = [await closedPort(), await closedPort()];
  const servers = [port, other].map((each) => ({ host: '127.0.0.1', port: each }));
  await expect(locate({ ...SOURCE, servers, parameters: {} }, '77')).rejects.toThrow(
    new RegExp(
      `no server of the other site takes writes \\(127.0.0.1:${port}: .*ECONNREFUSED.*; 127.0.0.1:${other}: .*ECONNREFUSED`,
    ),
  );
});

test('of several that take writes the one on the highest timeline is followed, and the others are named', () => {
  const on = (host: string, number: number, systemIdentifier = '77'): Located => ({
    ...{ host, port: 5432, systemIdentifier, history: [] },
    ...{ timeline: timeline(number), position: lsn(1n) },
  });
  expect(choose([on('old', 1), 'it is a standby', on('new', 2)], SOURCE)).toMatchObject({
    host: 'new',
    rivals: [{ host: 'old' }],
  });
  expect(choose([on('only', 1)], SOURCE)).not.toHaveProperty('rivals');
  expect(() => choose([on('one', 1), on('other', 1, '78')], SOURCE)).toThrow(
    /one:5432,other:5432 hold different/,
  );
});

describe('servers that answer', () => {
  const servers: Walsender[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });
  const start = async (what: object = {}) => {
    const server = await startWalsender(() => ({
      'SHOW in_hot_standby': { in_hot_standby: 'off' },
      IDENTIFY_SYSTEM: { systemid: '77', timeline: '2', xlogpos: '0/64', dbname: null },
      'TIMELINE_HISTORY 2': { filename: '00000002.history', content: '1\t0/32\tno reason\n' },
      ...what,
    }));
    servers.push(server);
    return server;
  };
  const source = (slot?: string): SiteSource => ({
    ...SOURCE,
    ...{ slot, parameters: {}, servers: servers.map(({ port }) => ({ host: '127.0.0.1', port })) },
  });
  const STANDBY = { 'SHOW in_hot_standby': { in_hot_standby: 'on' } };

  test('the primary of the database is found among standbys and strangers', async () => {
    await start(STANDBY);
    await start({ IDENTIFY_SYSTEM: { systemid: '78', timeline: '9', xlogpos: '0/64', dbname: null } });
    const { port } = await start();
    expect(await locate(source(), '77')).toEqual({
      ...{ host: '127.0.0.1', port, systemIdentifier: '77', timeline: 2, position: 0x64n },
      history: [{ timeline: 1, switchLsn: 0x32n, reason: 'no reason' }],
    });
    await expect(locate(source(), '79')).rejects.toThrow(
      /it is a standby; .*it holds another database \(system identifier 78, the group has 79\)/,
    );
    // As long as it is not known which database is followed, only one may be there.
    await expect(locate(source(), undefined)).rejects.toThrow(/hold different databases/);
  });

  test('a site leader that takes writes was opened by hand', async () => {
    const { port } = await start();
    const leader = { host: '127.0.0.1', port, user: 'second', password: '', applicationName: 'asks' };
    await expect(askLeader(leader)).rejects.toThrow(OpenedUpstreamError);
    servers.pop()?.close();
    const standby = await start(STANDBY);
    expect(await askLeader({ ...leader, port: standby.port })).toMatchObject({ timeline: 2 });
  });

  test('a slot that has lost its WAL is made anew; one that has not, or cannot be asked about, is left', async () => {
    const present: Record<string, object | string> = {
      'CREATE_REPLICATION_SLOT "2nd"': '42710',
      'READ_REPLICATION_SLOT "2nd"': { slot_type: 'physical', restart_lsn: '0/10', restart_tli: '1' },
      'DROP_REPLICATION_SLOT "2nd"': { done: '' },
    };
    const server = await startWalsender(() => {
      const now = { ...present };
      if (server.commands.some((command) => command.startsWith('DROP')))
        now['CREATE_REPLICATION_SLOT "2nd"'] = { slot_name: '2nd' };
      return now as never;
    });
    servers.push(server);
    const ensure = () => ensureSlot(source('2nd'), { host: '127.0.0.1', port: server.port });
    const verbs = () => server.commands.map((command) => command.split('_')[0]);
    await ensure();
    expect(verbs()).toEqual(['CREATE', 'READ']);
    // As PostgreSQL 14 says.
    present['READ_REPLICATION_SLOT "2nd"'] = '42601';
    await ensure();
    expect(verbs()).toEqual(['CREATE', 'READ', 'CREATE', 'READ']);
    present['READ_REPLICATION_SLOT "2nd"'] = { slot_type: 'physical', restart_lsn: null, restart_tli: null };
    await ensure();
    expect(verbs().slice(4)).toEqual(['CREATE', 'READ', 'DROP', 'CREATE']);
  });
});
