// Twin timelines: two nodes promoted from the same one. PostgreSQL gives both the same number and the same history file, pg_rewind
// then sees nothing to do, and data that differs passes for the same. Timelines that the log assigns cannot repeat.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { timeline } from '../../../src/base/ids.ts';
import { cloneStandby } from '../../../src/postgres/clone.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { readCutPosition } from '../../../src/postgres/position.ts';
import { promotePostgres } from '../../../src/postgres/promote.ts';
import { readRole } from '../../../src/postgres/role.ts';
import { checkpoint, createSlot } from '../../../src/postgres/sql.ts';
import { rewindPostgres } from '../../../src/postgres/rewind.ts';
import { formatHistory, predictTimeline, readHistory } from '../../../src/postgres/timelines.ts';
import { cutUpstream, followUpstream } from '../../../src/postgres/upstream.ts';
import {
  configure,
  openPlace,
  QUERY,
  sql as query,
  start,
  startPrimary,
  stop,
  upstreamOf,
  type Instance,
  type Place,
  TESTED_VERSION,
} from '../postgres/instances.ts';
import { LIMIT_MS, openScene, TEST_MS, type Scene } from './scene.ts';

const NO_REWIND = 'there is no pg_rewind with this PostgreSQL';
const place: Place | undefined = await openPlace(TESTED_VERSION);

describe.skipIf(place === undefined)(
  `two standbys cut at the same place (needs PostgreSQL ${TESTED_VERSION})`,
  () => {
    const at = place as Place;
    let one: Instance;

    beforeAll(async () => {
      one = await startPrimary(at, 'one');
      await query(one, 'create table public.kept (id int primary key)');
    });
    afterAll(() => at.close());

    async function standby(name: string): Promise<Instance> {
      const instance = await at.prepare(name);
      const { systemIdentifier } = await readControlData(one.dataDirectory);
      await cloneStandby({
        ...instance,
        source: upstreamOf(one, 'pg_sentinel_clone'),
        systemIdentifier,
        stallMs: LIMIT_MS,
      });
      await configure(instance, { synchronousStandbys: { kind: 'alone' } });
      await createSlot(one.session, name, QUERY);
      await followUpstream({
        ...instance,
        upstream: upstreamOf(one, name),
        slotName: name,
        owner: instance.user.owner,
      });
      await start(instance);
      await until({ what: `${name} to stream`, timeoutMs: LIMIT_MS, everyMs: 20 }, async () =>
        (await readRole(one.session, QUERY)).replication.some(
          (row) => row.applicationName === name && row.state === 'streaming' && row.replayLsn !== undefined,
        ),
      );
      return instance;
    }

    async function hasReplayed(instance: Instance): Promise<void> {
      const [row] = await query<{ lsn: string }>(one, 'select pg_current_wal_flush_lsn()::text as lsn');
      await until(
        { what: `${instance.name} to replay ${row?.lsn}`, timeoutMs: LIMIT_MS, everyMs: 20 },
        async () => {
          const [now] = await query<{ done: boolean }>(
            instance,
            `select pg_last_wal_replay_lsn() >= '${row?.lsn}' as done`,
          );
          return now?.done === true;
        },
      );
    }

    const historyOf = async (instance: Instance, of: number): Promise<string> =>
      formatHistory((await readHistory(instance.dataDirectory, timeline(of))) ?? []);

    /** Promotes both to those timelines; each takes a write of its own. Then `b` is rewound to `a`; returns what it holds. */
    async function twins(
      names: [string, string],
      timelines: [number, number],
    ): Promise<{ rows: number[]; same: boolean }> {
      const [a, b] = [await standby(names[0]), await standby(names[1])];
      // A checkpoint that both hold: pg_rewind begins at the last one in common.
      await checkpoint(one.session, QUERY);
      await Promise.all([hasReplayed(a), hasReplayed(b)]);
      for (const instance of [a, b])
        await cutUpstream({ ...instance, owner: instance.user.owner, timeoutMs: LIMIT_MS });
      for (const [instance, assigned] of [
        [a, timelines[0]],
        [b, timelines[1]],
      ] as const) {
        await readCutPosition({
          ...instance,
          superuser: 'sentinel',
          isRunning: () => true,
          timeoutMs: LIMIT_MS,
        });
        await promotePostgres({
          ...instance,
          current: timeline(1),
          assigned: timeline(assigned),
          timeoutMs: LIMIT_MS,
        });
        await checkpoint(instance.session, QUERY);
      }
      const histories = [await historyOf(a, timelines[0]), await historyOf(b, timelines[1])];
      const same = timelines[0] === timelines[1] && histories[0] === histories[1];
      await query(a, 'insert into public.kept values (1)');
      await query(b, 'insert into public.kept values (2)');
      await query(a, 'checkpoint');
      await stop(b);
      await rewindPostgres({ ...b, source: upstreamOf(a, 'pg_sentinel_rewind'), timeoutMs: LIMIT_MS });
      await configure(b, { synchronousStandbys: { kind: 'nobody' } });
      await createSlot(a.session, `again_${b.name}`, QUERY);
      await followUpstream({
        ...b,
        upstream: upstreamOf(a, b.name),
        slotName: `again_${b.name}`,
        owner: b.user.owner,
      });
      await start(b);
      const found = await query<{ id: number }>(b, 'select id from public.kept order by id');
      return { rows: found.map(({ id }) => id), same };
    }

    test('PostgreSQL would take the same number twice, and a rewind would keep what was never on the other', async ({
      skip,
    }) => {
      skip(!at.binaries.has.pgRewind, NO_REWIND);
      expect(await predictTimeline(one.dataDirectory, timeline(1))).toBe(2);
      const { rows, same } = await twins(['two', 'three'], [2, 2]);
      expect(same).toBe(true);
      expect(rows).toContain(2);
    });

    test('with assigned timelines the rewind takes the diverged write away', async ({ skip }) => {
      skip(!at.binaries.has.pgRewind, NO_REWIND);
      const { rows, same } = await twins(['four', 'five'], [3, 4]);
      expect(same).toBe(false);
      expect(rows).toEqual([1]);
    });
  },
);

describe('a cluster', () => {
  let scene: Scene;

  beforeAll(async () => {
    scene = await openScene();
  }, TEST_MS);
  afterAll(async () => {
    await scene?.close();
  });

  test(
    'never opens a timeline twice, though each promoted node dies with its first acknowledgement',
    async () => {
      const { primaries, why } = await scene.underLoad(async (load) => {
        load.primary.killPostmaster();
        const { text } = await load.event('promote');
        const first = load.standbys.find(({ node }) => text.startsWith(`${node} `)) ?? expect.fail(text);
        await until(
          { what: `${first.node} to open a timeline`, timeoutMs: LIMIT_MS, everyMs: 1 },
          () => opened(first.directory, first.node).length > 0,
        );
        first.killPostmaster();
        await load.event('promote', new RegExp(`^(?!${first.node} )`));
        await load.moreAcks(50);
      });
      expect(primaries.length, why).toBeGreaterThanOrEqual(3);
      const all = scene.cluster.hosts.flatMap((host) => opened(host.directory, host.node));
      expect(all.length).toBeGreaterThanOrEqual(2);
      expect(new Set(all).size).toBe(all.length);
    },
    TEST_MS,
  );
});

/** The timelines that this node opened by a promotion, as PostgreSQL logs them. */
function opened(directory: string, node: string): number[] {
  const text = readFileSync(`${directory}/state/postgresql/${node}.log`, 'utf8');
  return [...text.matchAll(/selected new timeline ID: (\d+)/g)].map(([, id]) => Number(id));
}
