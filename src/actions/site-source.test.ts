// How another site is reached: what PostgreSQL is told, and how our own questions are encrypted.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import {
  type Located,
  type SiteSource,
  choose,
  connectionTo,
  hostsOf,
  locate,
  sourceText,
  tlsOf,
} from './site-source.ts';

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
