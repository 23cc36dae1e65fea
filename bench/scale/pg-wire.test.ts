import { createServer, type Server } from 'node:net';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { END_GIVEN_UP, INSERT, READ, WRITE } from '../../src/health/heartbeat.ts';
import { createWireSession } from './pg-wire.ts';
import { makeVerifier } from './scram.ts';

/** A server as servers.ts makes it, and what it was asked. */
let server: Server;
let port: number;
let isInRecovery: boolean;
const asked: string[] = [];

beforeEach(async () => {
  isInRecovery = false;
  asked.length = 0;
  const verifier = makeVerifier('secret');
  server = createServer((socket) => {
    const session = createWireSession({
      verifier,
      pid: 77,
      isInRecovery: () => isInRecovery,
      nonce: () => 'server-nonce',
      beat: (kind) => asked.push(kind),
      checked: () => void asked.push('check'),
    });
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => {
      // Byte by byte: a message may arrive in any number of pieces.
      for (const byte of bytes) {
        const { answer, ends } = session.take(Buffer.of(byte));
        socket.write(answer);
        if (ends) socket.end();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  port = (server.address() as { readonly port: number }).port;
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

async function withClient<T>(password: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ host: '127.0.0.1', port, user: 'probe', password, database: 'postgres' });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end();
  }
}

describe('the simulated PostgreSQL', () => {
  test('lets node-postgres in by SCRAM and answers what the probes ask, again and again', async () => {
    const rows = await withClient('secret', async (client) => {
      const all: unknown[] = [];
      for (const _ of [1, 2]) {
        all.push((await client.query({ ...READ, values: [] })).rows);
        all.push((await client.query({ ...WRITE, values: ['a'] })).rows);
      }
      all.push((await client.query({ ...INSERT, values: ['a'] })).rows);
      all.push((await client.query({ ...END_GIVEN_UP, values: [1, 'x'] })).rows);
      return all;
    });
    expect(rows).toEqual([
      [{ in_recovery: false, read_only: false }],
      [{ beat: '2', room: 73_728 }],
      [{ in_recovery: false, read_only: false }],
      [{ beat: '4', room: 73_728 }],
      [{ beat: '5' }],
      [{ pg_terminate_backend: false }],
    ]);
    expect(asked).toEqual(['read', 'write', 'read', 'write', 'write']);
  });

  test('refuses a wrong password as PostgreSQL does', async () => {
    await expect(withClient('guess', () => Promise.resolve())).rejects.toMatchObject({ code: '28P01' });
  });

  test('refuses writes in recovery, and what no probe asks; the session goes on', async () => {
    isInRecovery = true;
    await withClient('secret', async (client) => {
      await expect(client.query({ ...WRITE, values: ['a'] })).rejects.toMatchObject({ code: '25006' });
      await expect(client.query({ text: 'SELECT $1', values: [1] })).rejects.toMatchObject({ code: '0A000' });
      expect((await client.query({ ...READ, values: [] })).rows).toEqual([
        { in_recovery: true, read_only: false },
      ]);
    });
  });

  test('answers a connection that only asks whether somebody is there', () => {
    const session = createWireSession({
      verifier: makeVerifier('secret'),
      pid: 1,
      isInRecovery: () => false,
      nonce: () => 'n',
      beat: () => 0,
      checked: () => void asked.push('check'),
    });
    const request = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]);
    expect(session.take(request)).toEqual({ answer: Buffer.from('N'), ends: false });
    expect(asked).toEqual(['check']);
  });

  test('ends a session whose length is nonsense', () => {
    const verifier = makeVerifier('secret');
    const unused = { isInRecovery: () => false, nonce: () => 'n', beat: () => 0, checked: () => undefined };
    const session = createWireSession({ verifier, pid: 1, ...unused });
    const { answer, ends } = session.take(Buffer.from([0x7f, 0xff, 0xff, 0xff]));
    expect([answer.toString('latin1').includes('08P01'), ends]).toEqual([true, true]);
  });
});
