// How another site is reached: what PostgreSQL is told, and how our own questions are encrypted.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type SiteSource, connectionTo, hostsOf, locate, sourceText, tlsOf } from './site-source.ts';

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
    target_session_attrs: 'read-write',
    sslmode: 'require',
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
  await expect(locate({ ...SOURCE, servers, parameters: {} })).rejects.toThrow(
    new RegExp(
      `no server of the other site takes writes \\(127.0.0.1:${port}: .*ECONNREFUSED.*; 127.0.0.1:${other}: .*ECONNREFUSED`,
    ),
  );
});
