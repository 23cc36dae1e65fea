// What a standby's cut must get the better of (docs/failover.md, step 2). In each test the old primary is alive, reachable for its
// standbys and writing to the end: its postmaster hangs and its sentineld is frozen, its open sessions and WAL streams go on.
// Whatever it can still get acknowledged after a standby's report is lost with it.
import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import type { Host } from '../../../harness/host.ts';
import { connectTo, LIMIT_MS, openScene, sql, TEST_MS, type Load, type Scene } from './scene.ts';
import { allOf, hang, processesOf, processOf, standStill, walSenderTo } from './victims.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await openScene();
}, TEST_MS);
afterAll(async () => {
  await scene?.close();
});

/** The old primary hangs, another takes over; the old one goes on, without its agent, while the new one takes writes. */
async function replaceHungPrimary(load: Load): Promise<void> {
  const { releasePostgres, releaseSentineld } = hang(load);
  await load.event('promoted');
  await load.moreAcks(50, load.standbys);
  releasePostgres();
  await load.moreAcks(100, load.standbys);
  releaseSentineld();
}

/** Statements that stay open; ended when the test is over, or by the cut. */
async function openReader(load: Load, host: Host, text: string): Promise<void> {
  const client: Client = await connectTo(host);
  load.undo(() => client.end().catch(() => undefined));
  await client.query(text);
}

describe('a primary that hangs for newcomers and goes on writing over its open connections', () => {
  test(
    'is cut off: what it acknowledges is kept, and from the takeover on it acknowledges nothing',
    async () => {
      const { primaries, why, acks } = await scene.underLoad(replaceHungPrimary);
      expect(primaries, why).toHaveLength(2);
      expect(acks.at(-1)?.node).toBe(primaries[1]);
      for (const host of scene.cluster.hosts) {
        const what = `${host.node} to fill segments of WAL with zeros again`;
        await until({ what, timeoutMs: LIMIT_MS, everyMs: 100 }, async () => {
          const [row] = await sql<{ wal_init_zero: string }>(host, 'show wal_init_zero');
          return row?.wal_init_zero === 'on';
        });
      }
    },
    TEST_MS,
  );

  test(
    'while replay is paused on both standbys',
    async () => {
      const { primaries, why } = await scene.underLoad(async (load) => {
        for (const host of load.standbys) await sql(host, 'select pg_wal_replay_pause()');
        await load.moreAcks(50);
        await replaceHungPrimary(load);
      });
      expect(primaries, why).toHaveLength(2);
    },
    TEST_MS,
  );

  test(
    'while readers hold up replay on both standbys',
    async () => {
      const { primaries, why } = await scene.underLoad(async (load) => {
        const table = `public.conflict_${load.primary.node}`;
        await sql(load.primary, `create table ${table} (id int)`);
        for (const host of load.standbys) {
          await until({ what: `${table} on ${host.node}`, timeoutMs: LIMIT_MS, everyMs: 20 }, async () => {
            const [row] = await sql<{ there: boolean }>(
              host,
              `select to_regclass('${table}') is not null as there`,
            );
            return row?.there === true;
          });
          await openReader(load, host, `begin isolation level repeatable read; select * from ${table}`);
        }
        await sql(load.primary, `alter table ${table} add column more int`);
        for (const host of load.standbys) {
          await until(
            { what: `replay of ${host.node} to be held up`, timeoutMs: LIMIT_MS, everyMs: 5 },
            async () => {
              const rows = await sql(
                host,
                `select 1 from pg_stat_activity where backend_type = 'startup' and wait_event_type = 'Lock'`,
              );
              return rows.length > 0;
            },
          );
        }
        await load.moreAcks(50);
        await replaceHungPrimary(load);
      });
      expect(primaries, why).toHaveLength(2);
    },
    TEST_MS,
  );

  test(
    "while one standby's startup process stands still, which alone holds the last writes: nobody is promoted before it has replayed them",
    async () => {
      const { primaries, why } = await scene.underLoad(async (load) => {
        const [ahead, behind] = load.standbys;
        const startup = processOf(ahead, 'startup');
        const release = load.stop(startup);
        await standStill(startup);
        load.stop(await walSenderTo(load.primary, behind.node));
        await load.moreAcks(50, [load.primary]);
        const { releasePostgres, releaseSentineld } = hang(load);
        await load.event('cut-report', new RegExp(`^${behind.node} `));
        await until({ what: `the cut of ${ahead.node}`, timeoutMs: LIMIT_MS, everyMs: 5 }, () => {
          return processesOf(ahead, 'walreceiver').length === 0;
        });
        const reports = (await load.events()).filter(({ kind }) => kind === 'cut-report');
        expect(reports.map(({ text }) => text.split(' ')[0])).toEqual([behind.node]);
        expect(await load.waitFor('the phase', () => true)).toMatchObject({ phase: 'fencing' });
        release();
        await load.event('promoted', new RegExp(`^${ahead.node} `));
        releasePostgres();
        await load.moreAcks(50, load.standbys);
        releaseSentineld();
      });
      expect(primaries, why).toHaveLength(2);
    },
    TEST_MS,
  );

  test(
    'while one standby is frozen as a whole, which alone holds the last writes',
    async () => {
      const { primaries, why } = await scene.underLoad(async (load) => {
        const [ahead, behind] = load.standbys;
        load.stop(await walSenderTo(load.primary, behind.node));
        await load.moreAcks(50, [load.primary]);
        const pids = allOf(ahead);
        load.stop(...pids);
        const { releasePostgres, releaseSentineld } = hang(load);
        await load.event('promoted', new RegExp(`^${ahead.node} `));
        releasePostgres();
        await load.moreAcks(50, load.standbys);
        releaseSentineld();
      });
      expect(primaries, why).toHaveLength(2);
    },
    TEST_MS,
  );

  test(
    "while a standby's walreceiver is just connecting, which no view shows: it gets no connection when the old primary answers again",
    async () => {
      const { primaries, why } = await scene.underLoad(async (load) => {
        const [connecting] = load.standbys;
        const { releasePostgres, releaseSentineld } = hang(load);
        const streaming = processOf(connecting, 'walreceiver');
        process.kill(streaming, 'SIGTERM');
        await until(
          { what: 'a walreceiver that is connecting', timeoutMs: LIMIT_MS, everyMs: 5 },
          async () => {
            const [pid] = processesOf(connecting, 'walreceiver');
            if (pid === undefined || pid === streaming) return false;
            return (await sql(connecting, 'select 1 from pg_stat_wal_receiver')).length === 0;
          },
        );
        await load.event('cut-report', new RegExp(`^${connecting.node} `));
        releasePostgres();
        await load.event('promoted');
        await load.moreAcks(100, load.standbys);
        releaseSentineld();
      });
      expect(primaries, why).toHaveLength(2);
    },
    TEST_MS,
  );
});
