// Logical slots of the settings on clusters of real processes, by PostgreSQL's own synchronisation and by copies: a consumer goes on after a failover and
// lacks nothing, what is not ours is left alone, and what could not be kept is said.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { wantedPostgres } from '../../../harness/find-postgres.ts';
import type { Host } from '../../../harness/host.ts';
import { until } from '../../../src/base/clock.ts';
import { sql } from '../dangers/scene.ts';
import { TESTED_VERSION } from '../postgres/instances.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS, type LoadedCluster, startLoadedCluster } from '../raft/load.ts';

/** One before PostgreSQL synchronised slots itself; the matrix has those that do. */
const VERSIONS = wantedPostgres().kind === 'any' ? [15] : [TESTED_VERSION];

interface SlotView {
  readonly standing: string;
  readonly notes: readonly string[];
}

describe.each(VERSIONS)('logical slots on PostgreSQL %i', (version) => {
  let loaded: LoadedCluster;
  const present = process.env['PG_SENTINEL_TEST_POSTGRES'];
  beforeAll(async () => {
    process.env['PG_SENTINEL_TEST_POSTGRES'] = String(version);
    loaded = await startLoadedCluster({ cluster: 'logical', spareCount: 0 });
  }, LIMIT_MS);
  afterAll(async () => {
    if (present === undefined) delete process.env['PG_SENTINEL_TEST_POSTGRES'];
    else process.env['PG_SENTINEL_TEST_POSTGRES'] = present;
    await loaded?.close();
  });

  const ctl = async (...words: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await loaded.ctl(words);
    expect({ exitCode, stderr }, words.join(' ')).toMatchObject({ exitCode: 0 });
    return stdout;
  };
  const slots = async (): Promise<Record<string, SlotView>> => {
    const { stdout } = await loaded.ctl(['settings', 'get', '-o', 'json']);
    return stdout === ''
      ? {}
      : (JSON.parse(stdout) as { logicalSlots: Record<string, SlotView> }).logicalSlots;
  };
  const eventually = async <T>(what: string, condition: () => Promise<T>): Promise<T> => {
    let last: unknown;
    return until({ what, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 200 }, async () => {
      last = await slots().catch((error: unknown) => (error as Error).message);
      return condition();
    }).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}; last seen: ${JSON.stringify(last)}`, { cause: error });
    }) as Promise<T>;
  };
  const standbys = async (): Promise<Host[]> => {
    const primary = await loaded.cluster.primary();
    return loaded.cluster.hosts.filter(({ node }) => node !== primary.node);
  };
  const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  /** Before 17 a node that was rewound or cloned reads its copy at its next start. */
  const restartWhereAsked = async (node: string): Promise<void> => {
    const isAsked = await eventually(`${node} to keep cdc, or to ask for a restart`, async () => {
      const { notes = [] } = (await slots())['cdc'] ?? {};
      if (notes.some((note) => note.includes(`node restart ${node}`))) return 'asked';
      return new RegExp(`a failover to (pg\\d or )*${node}\\b`).test(notes[0] ?? '') ? 'kept' : undefined;
    });
    if (isAsked === 'asked') await ctl('node', 'restart', node);
  };
  const primarySql = async (text: string): Promise<Record<string, unknown>[]> =>
    sql(await loaded.cluster.primary(), text);

  const slotSync = async (host: Host): Promise<unknown> =>
    (await sql(host, "select current_setting('sync_replication_slots') as value"))
      .map((row) => (row as { value: string }).value)
      .at(0);
  /** By feedback, what an idle slot on a standby holds back is held back on the primary: it could not vacuum for ever. */
  const keepsNoRowsForNobody = async (): Promise<void> => {
    for (const host of await standbys())
      await eventually(`no idle slot on ${host.node} to keep dead rows`, async () => {
        const held = await sql(
          host,
          `select 1 from pg_replication_slots where slot_type = 'physical' and active_pid is null
             and (xmin is not null or catalog_xmin is not null)`,
        );
        return held.length === 0;
      });
  };

  const written: number[] = [];
  const seen = new Set<number>();
  const write = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done += 1) {
      const n = written.length + 1;
      await primarySql(`insert into changes values (${n})`);
      written.push(n);
    }
  };
  const consume = async (count?: number): Promise<void> => {
    const rows = await primarySql(
      `select data from pg_logical_slot_get_changes('cdc', null, ${count ?? 'null'})`,
    );
    for (const { data } of rows) {
      const [, n] = /changes: INSERT: n\[integer\]:(\d+)/.exec(String(data)) ?? [];
      if (n !== undefined) seen.add(Number(n));
    }
  };

  /** Every standby could go on with it, and nothing else is to know. PostgreSQL synchronises a slot whose consumer goes on. */
  const survives = (name: string): Promise<boolean> =>
    eventually(`${name} to survive a failover`, async () => {
      await write(1);
      await consume();
      const [note, ...others] = (await slots())[name]?.notes ?? [];
      return / or pg\d keeps it$/.test(note ?? '') && others.length === 0;
    });

  test(
    'one that is asked for is made once wal_level allows it, and kept on the standbys',
    { timeout: LIMIT_MS },
    async () => {
      expect(await ctl('settings', 'set', 'logical_slots.cdc=postgres:test_decoding')).toMatch(
        /logical slot cdc postgres:test_decoding/,
      );
      await eventually('the restart to be asked for', async () =>
        /wal_level = logical.* after a restart/.test((await slots())['cdc']?.notes.join() ?? ''),
      );
      expect(await ctl('status')).toMatch(/logical slot cdc: not made on pg\d yet: it needs wal_level/);
      // Synchronising slots with less than that in force, PostgreSQL 17.0 to 17.5 shut themselves down.
      if (version >= 17) for (const host of await standbys()) expect(await slotSync(host)).toBe('off');
      for (const { node } of await standbys()) await ctl('node', 'restart', node);
      await ctl('failover', '-y');
      await healthy();
      await eventually('the slot', async () => (await slots())['cdc']?.standing === 'made');
      expect(await ctl('events')).toMatch(/logical slot cdc of group main was made on pg/);
      await healthy();
      await primarySql('create table changes (n int primary key)');
      await write(5);
      await consume();
      if (version < 17) for (const { node } of await standbys()) await restartWhereAsked(node);
      await survives('cdc');
      if (version >= 17) for (const host of await standbys()) expect(await slotSync(host)).toBe('on');
      await keepsNoRowsForNobody();
      expect(await ctl('settings', 'get', 'logical_slots.cdc')).toBe('postgres:test_decoding\n');
    },
  );

  test('a consumer goes on after a failover, and lacks nothing', { timeout: LIMIT_MS }, async () => {
    await write(10);
    await consume(4);
    await write(10);
    const before = await loaded.cluster.primary();
    before.killPostmaster();
    await eventually('another primary', async () => (await loaded.cluster.primary()).node !== before.node);
    await healthy();
    await write(3);
    await consume();
    expect([...seen].sort((a, b) => a - b)).toEqual(written);
    expect((await slots())['cdc']?.standing).toBe('made');
    expect(await ctl('events')).not.toMatch(/logical slot cdc of group main is lost/);
    // The former primary too, once it has been brought up to where the new one is.
    await write(3);
    await consume();
    if (version < 17) for (const { node } of await standbys()) await restartWhereAsked(node);
    await healthy();
    await survives('cdc');
  });

  test(
    'after two switchovers in a row a consumer lacks nothing, or is told that its slot is lost',
    { timeout: LIMIT_MS },
    async () => {
      const first = await loaded.cluster.primary();
      await write(3);
      await consume();
      await ctl('failover', '-y');
      // The consumer goes on at once: the slot that the former primary has is not where it is any more.
      await write(3);
      await consume();
      await ctl('failover', '-y', '--to', first.node);
      await healthy();
      await write(3);
      const standing = await eventually('it to be known', async () => {
        const { standing: now, notes = [] } = (await slots())['cdc'] ?? {};
        return now === 'lost' || notes.some((note) => note.startsWith(`on ${first.node}`)) ? now : undefined;
      });
      const rows = await primarySql("select 1 from pg_replication_slots where slot_name = 'cdc'");
      if (standing === 'made') {
        await consume();
        expect([...seen].sort((a, b) => a - b)).toEqual(written);
      } else {
        expect(rows).toEqual([]);
        expect(await ctl('events')).toMatch(/logical slot cdc of group main is lost/);
        await ctl('settings', 'unset', 'logical_slots.cdc');
        await eventually('it to be gone', async () => (await slots())['cdc'] === undefined);
        await ctl('settings', 'set', 'logical_slots.cdc=postgres:test_decoding');
        await eventually('another one', async () => (await slots())['cdc']?.standing === 'made');
      }
      await keepsNoRowsForNobody();
    },
  );

  test(
    'one that the new primary lacks is said to be lost, and not made again',
    { timeout: LIMIT_MS },
    async () => {
      await primarySql("select pg_drop_replication_slot('cdc')");
      await eventually('the loss', async () => (await slots())['cdc']?.standing === 'lost');
      expect(await ctl('events')).toMatch(/logical slot cdc of group main is lost: pg\d does not have it/);
      expect(await ctl('status')).toMatch(/logical slot cdc: lost/);
      expect(await primarySql("select 1 from pg_replication_slots where slot_name = 'cdc'")).toEqual([]);
      await ctl('settings', 'unset', 'logical_slots.cdc');
      await eventually('it to be gone', async () => (await slots())['cdc'] === undefined);
      for (const host of await standbys())
        await eventually(`no slot on ${host.node}`, async () => {
          const rows = await sql(host, "select 1 from pg_replication_slots where slot_name = 'cdc'");
          return rows.length === 0;
        });
    },
  );

  test(
    "somebody else's slot is left alone; ours is dropped once nobody reads it",
    { timeout: LIMIT_MS },
    async () => {
      await primarySql("select pg_create_logical_replication_slot('theirs', 'pgoutput')");
      await ctl(
        'settings',
        'set',
        'logical_slots.theirs=postgres:test_decoding',
        'logical_slots.ours=postgres:pgoutput',
      );
      await eventually('it to be said', async () =>
        /somebody else has a slot of that name: postgres:pgoutput/.test(
          (await slots())['theirs']?.notes.join() ?? '',
        ),
      );
      await eventually('ours', async () => (await slots())['ours']?.standing === 'made');
      await ctl('settings', 'unset', 'logical_slots.theirs', 'logical_slots.ours');
      await eventually('none in the log', async () => Object.keys(await slots()).length === 0);
      const rows = await primarySql("select slot_name from pg_replication_slots where slot_type = 'logical'");
      expect(rows).toEqual([{ slot_name: 'theirs' }]);
      expect(readFileSync((await loaded.cluster.primary()).logFile, 'utf8')).toMatch(
        /theirs is left as it is: it is not known to be/,
      );
      await primarySql("select pg_drop_replication_slot('theirs')");
    },
  );

  test(
    'one whose consumer is away for too long is warned of, and lost beyond max_slot_wal',
    { timeout: LIMIT_MS },
    async () => {
      const primary = await loaded.cluster.primary();
      await ctl('settings', 'set', 'max_slot_wal=256MB', 'logical_slots.idle=postgres:test_decoding');
      await eventually('the slot', async () => (await slots())['idle']?.standing === 'made');
      await eventually('the limit', async () => {
        const [row] = await sql(primary, "select current_setting('max_slot_wal_keep_size') as value");
        return (row as { value: string }).value === '256MB';
      });
      await writeSegments(primary, 14);
      await eventually('a warning', async () =>
        (await loaded.ctl(['node', 'check', primary.node])).stdout.includes('replication slot idle keeps'),
      );
      expect((await slots())['idle']?.standing).toBe('made');
      await writeSegments(primary, 5);
      await sql(primary, 'checkpoint');
      await eventually('the loss', async () => (await slots())['idle']?.standing === 'lost');
      const { warnings } = JSON.parse(await ctl('status', '-o', 'json')) as { warnings: string[] };
      expect(warnings).toContainEqual(
        expect.stringMatching(/logical slot idle: lost: on pg\d it was invalidated/),
      );
      expect(await ctl('events')).toMatch(/logical slot idle of group main is lost/);
      await ctl('settings', 'unset', 'logical_slots.idle');
      await eventually('it to be gone', async () => (await slots())['idle'] === undefined);
      expect(await sql(primary, "select 1 from pg_replication_slots where slot_name = 'idle'")).toEqual([]);
      await healthy();
    },
  );

  test(
    'one with two_phase is made, or refused where PostgreSQL cannot keep it',
    { timeout: LIMIT_MS },
    async () => {
      const asked = await loaded.ctl([
        'settings',
        'set',
        'logical_slots.tp=postgres:test_decoding:two_phase',
      ]);
      if (version === 17) {
        expect(asked).toMatchObject({
          exitCode: 1,
          stderr: expect.stringMatching(
            /logical_slots\.tp: PostgreSQL 17 does not keep a slot with two_phase/,
          ) as unknown,
        });
        expect(await slots()).toEqual({});
        return;
      }
      expect(asked).toMatchObject({ exitCode: 0 });
      await eventually('the slot', async () => (await slots())['tp']?.standing === 'made');
      expect(await primarySql("select two_phase from pg_replication_slots where slot_name = 'tp'")).toEqual([
        { two_phase: true },
      ]);
      await ctl('settings', 'unset', 'logical_slots.tp');
      await eventually('it to be gone', async () => (await slots())['tp'] === undefined);
    },
  );
});

/** Of 16 MB each. */
async function writeSegments(host: Host, count: number): Promise<void> {
  for (let done = 0; done < count; done += 1)
    await sql(host, "select pg_logical_emit_message(true, 'test', 'x'), pg_switch_wal()");
}
