// A session to a server of somebody else's, by a stream of its own: how it is tried, and when it is given up.
import { Duplex } from 'node:stream';
import { expect, test } from 'vitest';
import { type Elsewhere, openSession } from './session.ts';

/** A message of PostgreSQL's protocol. */
function message(type: string, body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(type), length, body]);
}
const READY = message('Z', Buffer.from('I'));
const AUTHENTICATED = message('R', Buffer.alloc(4));
const DONE = message('C', Buffer.from('SELECT 0\0'));

/** Lets everybody in, and answers every statement with no rows, but for one that says `sleep`. */
function server(): Duplex {
  let isIn = false;
  const stream = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      if (!isIn) this.push(Buffer.concat([AUTHENTICATED, READY]));
      else if (/^Q(?!.*sleep)/s.test(chunk.toString('latin1'))) this.push(Buffer.concat([DONE, READY]));
      isIn = true;
      done();
    },
  });
  return Object.assign(stream, {
    connect: () => setImmediate(() => stream.emit('connect')),
    setNoDelay: () => stream,
    setKeepAlive: () => stream,
    ref: () => stream,
    unref: () => stream,
  });
}

const PLACE = { socketDirectory: '/nowhere', port: 1, superuser: 'postgres' };

test('a connection to somebody else’s server is given up once it is not to be talked to', async () => {
  const stream = server();
  let elsewhere: Elsewhere | undefined = { ...PLACE, stream: () => stream };
  const session = openSession({ ...PLACE, elsewhere: () => elsewhere });
  expect(await session.query('select', [], { timeoutMs: 10_000 })).toEqual([]);
  expect(session.connected).toBe(true);
  elsewhere = undefined;
  await expect(session.query('select', [], { timeoutMs: 200 })).rejects.toThrow(/no session to the local/);
  expect(stream.destroyed).toBe(true);
  await session.close();
});

test('a stream that cannot be made is told as why there is no session', async () => {
  const fail = (): Duplex => {
    throw new Error('no process to be had');
  };
  const session = openSession({ ...PLACE, elsewhere: () => ({ ...PLACE, stream: fail }) });
  await expect(session.query('select', [], { timeoutMs: 200 })).rejects.toThrow(/no process to be had/);
  await session.close();
});

test('it is tried more and more seldom: each try is a process', async () => {
  let tryCount = 0;
  const fail = (): Duplex => {
    tryCount += 1;
    throw new Error('not let in');
  };
  const options = { ...PLACE, retryMs: 1, elsewhere: () => ({ ...PLACE, stream: fail }) };
  const session = openSession(options);
  await expect(session.query('select', [], { timeoutMs: 300 })).rejects.toThrow(/not let in/);
  await session.close();
  // Twice as long after each.
  expect(tryCount).toBeGreaterThan(1);
  expect(tryCount).toBeLessThan(20);
});

test('a statement that is given up before it was sent takes nothing from the connection', async () => {
  const stream = server();
  const session = openSession({ ...PLACE, elsewhere: () => ({ ...PLACE, stream: () => stream }) });
  expect(await session.query('select', [], { timeoutMs: 10_000 })).toEqual([]);
  const given = { timeoutMs: 10_000, signal: AbortSignal.abort(new Error('no longer wanted')) };
  // Beside another that is under way, and alone.
  const other = session.query('select', [], { timeoutMs: 10_000 });
  await expect(session.query('drop', [], given)).rejects.toThrow(/no longer wanted/);
  expect(await other).toEqual([]);
  await expect(session.query('drop', [], given)).rejects.toThrow(/no longer wanted/);
  expect([session.connected, stream.destroyed]).toEqual([true, false]);
  await session.close();
});

test('statements that wait in vain for a long one to end take nothing from it', async () => {
  const stream = server();
  const session = openSession({ ...PLACE, elsewhere: () => ({ ...PLACE, stream: () => stream }) });
  expect(await session.query('select', [], { timeoutMs: 10_000 })).toEqual([]);
  const long = session.query('sleep', [], { timeoutMs: 60_000 });
  for (let tried = 0; tried < 60; tried += 1)
    await expect(session.query('select', [], { timeoutMs: 3 + (tried % 7) / 8 })).rejects.toThrow(
      /an earlier statement took all the time/,
    );
  expect([session.connected, stream.destroyed]).toEqual([true, false]);
  stream.push(Buffer.concat([DONE, READY]));
  expect(await long).toEqual([]);
  expect(await session.query('select', [], { timeoutMs: 10_000 })).toEqual([]);
  await session.close();
});
