// The cut on real PostgreSQL whose clients say nothing after connecting, or keep coming: their backends have no title yet and may
// not be taken for walreceivers to be.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, describe, expect, test } from 'vitest';
import { delay } from '../../../src/base/clock.ts';
import { cutUpstream } from '../../../src/postgres/upstream.ts';
import {
  LIMIT_MS,
  TESTED_VERSIONS,
  openPlace,
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
    afterAll(() => place?.close());

    test('connections that say nothing, and such that keep coming, do not hold the cut up', async () => {
      const instance = await startPrimary(place as Place, 'one');
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
        const cut = await cutUpstream({ ...instance, owner: instance.user.owner, timeoutMs: LIMIT_MS / 2 });
        expect(cut).toMatchObject({ running: true, ended: 0 });
      } finally {
        ending.abort();
        await coming;
        silent.destroy();
      }
    });
  });
}
