// A clone by the protocol is read slower than its source goes through its WAL: the WAL of the backup, which comes last, has to be there yet.
import { afterAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { cloneStandby } from '../../../src/postgres/clone.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import {
  configure,
  LIMIT_MS,
  openPlace,
  sql,
  start,
  startPrimary,
  stop,
  TESTED_VERSIONS,
  upstreamOf,
  type Instance,
  type Place,
} from './instances.ts';

for (const version of TESTED_VERSIONS) {
  const place: Place | undefined = await openPlace(version);
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs its binaries)`, () => {
    afterAll(() => place?.close());

    test('a slow clone has the WAL that it needs, and leaves no slot behind', async () => {
      const at = place as Place;
      const source = await startPrimary(at, 'source');
      await stop(source);
      await configure(source, {
        synchronousStandbys: { kind: 'alone' },
        walKeepSizeMb: 0,
        parameters: { ...source.settings.parameters, max_wal_size: '32MB', min_wal_size: '32MB' },
      });
      await start(source);
      const copy = await at.prepare('copy');
      const { systemIdentifier } = await readControlData(source.dataDirectory);
      let moving: Promise<void> | undefined;
      await cloneStandby({
        ...copy,
        source: upstreamOf(source, 'pg_sentinel_clone'),
        systemIdentifier,
        method: 'protocol',
        stallMs: LIMIT_MS,
        maxRateBytes: 8 << 20,
        onProgress() {
          moving ??= moveOn(source);
        },
        onNote: (note) => expect.fail(note),
      });
      await (moving ?? expect.fail('it copied nothing'));
      await until({ what: 'no slot is left', timeoutMs: LIMIT_MS, everyMs: 20 }, async () => {
        const slots = await sql(source, 'select from pg_replication_slots');
        return slots.length === 0;
      });
    });
  });
}

/** Everything that was there at the beginning of the backup would be removed. */
async function moveOn(source: Instance): Promise<void> {
  for (let round = 0; round < 5; round += 1) {
    await sql(source, `select pg_logical_emit_message(false, 'test', 'round ${round}'), pg_switch_wal()`);
    await sql(source, 'checkpoint');
  }
}
