// The postmaster looks for the promote file whenever one of its processes signals it, not only when the promotion does.
import { afterAll, describe, expect, test } from 'vitest';
import { timeline } from '../../../src/base/ids.ts';
import { findPostmaster } from '../../../src/postgres/processes.ts';
import { promotePostgres } from '../../../src/postgres/promote.ts';
import { writeStandbySignal } from '../../../src/postgres/upstream.ts';
import { LIMIT_MS, openPlace, start, startPrimary, stop, TESTED_VERSIONS, type Place } from './instances.ts';

const ROUND_COUNT = 5;

for (const version of TESTED_VERSIONS) {
  const place: Place | undefined = await openPlace(version);
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs its binaries)`, () => {
    afterAll(() => place?.close());

    test('a promotion succeeds while the postmaster is signalled all the time', async () => {
      const one = await startPrimary(place as Place, 'one');
      for (let round = 1; round <= ROUND_COUNT; round += 1) {
        await stop(one);
        await writeStandbySignal(one.dataDirectory, one.user.owner);
        await start(one);
        const pid = findPostmaster(one.dataDirectory)?.pid ?? expect.fail('it does not run');
        let isOver = false;
        const signal = (): void => {
          if (isOver) return;
          process.kill(pid, 'SIGUSR1');
          setImmediate(signal);
        };
        signal();
        try {
          const promoted = await promotePostgres({
            ...one,
            current: timeline(round),
            assigned: timeline(round + 1),
            timeoutMs: LIMIT_MS,
          });
          expect(promoted.timeline).toBe(round + 1);
        } finally {
          isOver = true;
        }
      }
    });
  });
}
