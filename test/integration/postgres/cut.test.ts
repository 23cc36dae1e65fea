// The cut on real PostgreSQL: what its clients must not hold up, and what it does to new segments of WAL.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import { childProcesses, findPostmaster } from '../../../src/postgres/processes.ts';
import { readSettings } from '../../../src/postgres/settings.ts';
import { cutUpstream, fillSegmentsAgain } from '../../../src/postgres/upstream.ts';
import {
  LIMIT_MS,
  TESTED_VERSIONS,
  configure,
  openPlace,
  sql,
  startPrimary,
  upstreamOf,
  type Instance,
  type Place,
} from './instances.ts';

/** A connection on which nothing is sent: its backend waits for a minute. */
async function connectSilently(instance: Instance): Promise<Socket> {
  const { host, port } = upstreamOf(instance, 'nobody');
  const socket = connect(port, host).on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

for (const version of TESTED_VERSIONS) {
  const place: Place | undefined = await openPlace(version);
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs its binaries)`, () => {
    let instance: Instance;
    beforeAll(async () => {
      instance = await startPrimary(place as Place, 'one');
    });
    afterAll(() => place?.close());
    const cutNow = () => cutUpstream({ ...instance, owner: instance.user.owner, timeoutMs: LIMIT_MS / 2 });

    // Their backends have no title yet, and may not be taken for walreceivers to be.
    test('connections that say nothing, and such that keep coming, do not hold the cut up', async () => {
      const silent = await connectSilently(instance);
      const ending = new AbortController();
      const coming = (async () => {
        while (!ending.signal.aborted) {
          const socket = await connectSilently(instance);
          await delay(5);
          socket.destroy();
        }
      })();
      try {
        expect(await cutNow()).toMatchObject({ running: true, ended: 0 });
      } finally {
        ending.abort();
        await coming;
        silent.destroy();
      }
    });

    test('nor where the time is over before a second look', async () => {
      const silent = await connectSilently(instance);
      try {
        // Those of the test before may be about to end, and hold no socket any more.
        await until({ what: 'its backend alone', timeoutMs: LIMIT_MS, everyMs: 20 }, () => {
          const children = childProcesses(findPostmaster(instance.dataDirectory)?.pid ?? 0);
          return children.filter(({ kind }) => kind === 'unknown').length === 1;
        });
        const cut = cutUpstream({ ...instance, owner: instance.user.owner, timeoutMs: 0 });
        expect(await cut).toMatchObject({ running: true, ended: 0 });
      } finally {
        silent.destroy();
      }
    });

    const isFilling = (value: string): Promise<boolean> =>
      until({ what: `wal_init_zero = ${value}`, timeoutMs: LIMIT_MS, everyMs: 20 }, async () => {
        const [row] = await sql<{ wal_init_zero: string }>(instance, 'show wal_init_zero');
        return row?.wal_init_zero === value;
      });

    test('new segments of WAL are not filled with zeros until that is taken back', async () => {
      const takeBack = () => fillSegmentsAgain({ ...instance, parameters: {}, owner: instance.user.owner });
      await takeBack();
      await isFilling('on');
      await cutNow();
      await isFilling('off');
      await takeBack();
      await isFilling('on');
    });

    test.each(['on', 'off'])('wal_init_zero = %s, set by a person, stays', async (value) => {
      const parameters = { WAL_init_zero: value };
      await configure(instance, { parameters });
      await cutNow();
      await fillSegmentsAgain({ ...instance, parameters, owner: instance.user.owner });
      expect((await readSettings(instance.dataDirectory)).get('wal_init_zero')).toBe(value);
    });
  });
}
