// A postmaster that restarts its backends after one of them was killed forgets its shared memory, and with it that commits have to wait
// for standbys. Nobody may be let in before it knows again; where that is not sure, it must not restart them by itself.
import pg from 'pg';
import { afterAll, describe, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import { memberId } from '../../../src/base/ids.ts';
import { readRole } from '../../../src/postgres/role.ts';
import { mayRestartAfterCrash } from '../../../src/postgres/settings.ts';
import {
  configure,
  LIMIT_MS,
  openPlace,
  QUERY,
  sql,
  startPrimary,
  TESTED_VERSIONS,
  type Instance,
  type Place,
} from '../postgres/instances.ts';

const ROUND_COUNT = 8;
const CLIENT_COUNT = 4;
const NOBODY = { kind: 'any', acks: 1, members: [memberId('gone_00000000')] } as const;

for (const version of TESTED_VERSIONS) {
  const mayRestart = mayRestartAfterCrash(version);
  const place: Place | undefined = mayRestart ? await openPlace(version) : undefined;
  const needed = mayRestart ? 'its binaries' : 'a version that may restart its backends';
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs ${needed})`, () => {
    afterAll(() => place?.close());

    test('acknowledges nothing alone to the first clients after a restart of its backends', async () => {
      const primary = await startPrimary(place as Place, 'one');
      await configure(primary, { synchronousStandbys: NOBODY, restartAfterCrash: true });
      await sql(primary, 'select pg_reload_conf()');
      await until({ what: 'a commit to wait', timeoutMs: LIMIT_MS, everyMs: 20 }, () => waits(primary));
      let waitCount = 0;
      for (let round = 0; round < ROUND_COUNT; round += 1) {
        const victim = primary.session.backendPid;
        process.kill(victim ?? expect.fail('no session'), 'SIGKILL');
        // They come again and again, so that some are among the very first that are let in.
        const seen = await Promise.all(Array.from({ length: CLIENT_COUNT }, () => firstCommit(primary)));
        expect(seen, 'commits that no standby has').not.toContain('acknowledged');
        waitCount += seen.length;
        await until({ what: 'our session to be back', timeoutMs: LIMIT_MS, everyMs: 5 }, async () => {
          await readRole(primary.session, QUERY).catch(() => undefined);
          return primary.session.backendPid !== victim && primary.session.connected;
        });
      }
      expect(waitCount).toBe(ROUND_COUNT * CLIENT_COUNT);
    });
  });
}

/** Commits as soon as it is let in, and looks what becomes of that. */
async function firstCommit(primary: Instance): Promise<'waits' | 'acknowledged'> {
  for (const endMs = performance.now() + LIMIT_MS; performance.now() < endMs;) {
    const client = new pg.Client({
      host: primary.socketDirectory,
      port: primary.port,
      user: 'sentinel',
      database: 'postgres',
      connectionTimeoutMillis: 1000,
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
    } catch {
      await delay(1);
      continue;
    }
    const pid = (client as pg.Client & { processID?: number }).processID;
    let outcome: 'acknowledged' | 'failed' | undefined;
    const commit = client.query("select pg_logical_emit_message(true, 'pg_sentinel', 'first')");
    commit.then(
      () => (outcome = 'acknowledged'),
      () => (outcome = 'failed'),
    );
    try {
      while (outcome === undefined) {
        const rows = await sql(
          primary,
          `select 1 from pg_stat_activity where pid = ${pid} and wait_event = 'SyncRep'`,
        ).catch(() => []);
        if (rows.length > 0) return 'waits';
        await delay(2);
      }
    } finally {
      (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    }
    if (outcome === 'acknowledged') return outcome;
    // It was let in before the crash, and ended by it.
  }
  throw new Error('nobody was let in any more');
}

async function waits(primary: Instance): Promise<boolean> {
  const [row] = await sql<{ names: string }>(
    primary,
    "select current_setting('synchronous_standby_names') as names",
  );
  // The checkpointer may not have read it yet.
  return row?.names !== '' && (await firstCommit(primary)) === 'waits';
}
