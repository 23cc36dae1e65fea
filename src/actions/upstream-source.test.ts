// A standby that streams has its passfile ready for the next time that it has to log in.
import { mkdir, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { rotatingAccount } from '../postgres/account.ts';
import { removePassfiles, writePassfile } from '../postgres/conninfo.ts';
import { scramVerifier } from '../postgres/sql.ts';
import { FOLLOW, fakeContext } from './testing/context.ts';
import { startWalsender } from './testing/walsender.ts';
import { keepPasswords, loginRefusal } from './upstream-source.ts';

test('once the role has the other password the passfile does, and none is made after a cut', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-upstream-'));
  const directory = join(folder, 'passfile');
  await mkdir(directory);
  const replication = rotatingAccount('replicator', ['former'], () => ['wanted', 'former']);
  let has = 'former';
  const context = fakeContext({
    dataDirectory: join(folder, 'data'),
    instance: { replication, passfileDirectory: directory },
    query: (text) =>
      text.includes('pg_authid') ? [{ verifier: scramVerifier(has) }] : [{ isUpToDate: true }],
  });
  const keep = (): Promise<void> => keepPasswords(context, FOLLOW, new AbortController().signal);
  const path = await writePassfile({ directory, user: 'replicator', password: 'former', owner: undefined });
  await keep();
  expect(await readFile(path, 'utf8')).toContain(':former\n');
  has = 'wanted';
  await keep();
  expect(await readFile(path, 'utf8')).toContain(':wanted\n');
  await removePassfiles(directory);
  await keep();
  expect(await readdir(directory)).toEqual([]);
  await rm(folder, { recursive: true });
});

const replication = { name: 'replicator', password: 'wrong' };
const from = (port: number) => ({ upstream: { ...FOLLOW.upstream, host: '127.0.0.1', port } });
const refusalAt = (port: number, signal = new AbortController().signal) =>
  loginRefusal(fakeContext({ dataDirectory: '/nowhere', instance: { replication } }), from(port), signal);

test('an upstream that does not let this node in is quoted, and one that does is not', async () => {
  const fields = ['SFATAL', 'C28P01', 'Mpassword authentication failed for user "replicator"', ''];
  const body = Buffer.from(fields.map((field) => `${field}\0`).join(''));
  const head = Buffer.alloc(5, 'E');
  head.writeInt32BE(body.length + 4, 1);
  const refusing = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(Buffer.concat([head, body])));
  });
  await new Promise<void>((resolve) => refusing.listen(0, '127.0.0.1', resolve));
  const { port } = refusing.address() as AddressInfo;
  expect(await refusalAt(port)).toBe('password authentication failed for user "replicator"');
  await new Promise((resolve) => refusing.close(resolve));
  expect(await refusalAt(port)).toMatch(/ECONNREFUSED/);
  const open = await startWalsender(() => ({}));
  onTestFinished(() => open.close());
  expect(await refusalAt(open.port)).toBeUndefined();
});

test('an upstream that does not answer keeps nobody from the next duty', async () => {
  const silent = createServer((socket) => void socket.on('error', () => undefined));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void silent.close());
  const ending = new AbortController();
  ending.abort();
  expect(await refusalAt((silent.address() as AddressInfo).port, ending.signal)).toBeUndefined();
});
