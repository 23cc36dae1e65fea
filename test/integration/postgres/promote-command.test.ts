// A promotion by a command of the owner's, on a real standby: begun only where a promotion may be, and judged by the server alone.
import { execFile } from 'node:child_process';
import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { epoch, groupId, nodeId, timeline } from '../../../src/base/ids.ts';
import { lsn } from '../../../src/base/lsn.ts';
import type { AgentContext } from '../../../src/actions/context.ts';
import { DEFAULT_AGENT_TIMING } from '../../../src/actions/context.ts';
import { carryOutPromote } from '../../../src/actions/failover-duties.ts';
import type { Command } from '../../../src/cluster/commands.ts';
import type { Duty } from '../../../src/failover/duties.ts';
import { spawnIds } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { readCutPosition } from '../../../src/postgres/position.ts';
import { findPostmaster, isAlive } from '../../../src/postgres/processes.ts';
import { readRole } from '../../../src/postgres/role.ts';
import { removeFillers } from '../../../src/postgres/timelines.ts';
import { writeStandbySignal } from '../../../src/postgres/upstream.ts';
import {
  LIMIT_MS,
  openPlace,
  QUERY,
  start,
  startPrimary,
  stop,
  TESTED_VERSIONS,
  type Instance,
  type Place,
} from './instances.ts';

const run = promisify(execFile);
type PromoteDuty = Extract<Duty, { kind: 'promote' }>;
const PG_CTL = '"$PG_SENTINEL_BIN_DIRECTORY/pg_ctl" promote -D "$PG_SENTINEL_DATA_DIRECTORY"';

for (const version of TESTED_VERSIONS) {
  const place: Place | undefined = await openPlace(version);
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs its binaries)`, () => {
    let one: Instance;
    let own: string;
    let assigned = 1;
    beforeAll(async () => {
      one = await startPrimary(place as Place, 'one');
      own = join((place as Place).root, 'own');
      await makeDirectory(one.user, own);
    }, LIMIT_MS);
    afterAll(() => place?.close());
    afterEach(() => rm(join(own, 'runs'), { force: true }));

    /** A standby that is cut off, and the duty to promote it. */
    async function standby(): Promise<{ duty: PromoteDuty; standing: PromoteDuty['from'] }> {
      await stop(one);
      await writeStandbySignal(one.dataDirectory, one.user.owner);
      await removeFillers({ dataDirectory: one.dataDirectory, current: timeline(assigned) });
      await start(one);
      const standing = await readCutPosition({
        ...{ session: one.session, socketDirectory: one.socketDirectory, port: one.port },
        ...{ superuser: 'sentinel', isRunning: () => true, timeoutMs: LIMIT_MS },
      });
      assigned = Math.max(assigned, standing.timeline) + 2;
      const duty: PromoteDuty = {
        ...{ kind: 'promote', group: groupId('main'), incarnation: 1, epoch: epoch(7), slots: [] },
        ...{ timeline: timeline(assigned), rule: { members: [], acks: 0 }, from: standing },
      };
      return { duty, standing };
    }

    async function promote(
      script: string,
      { duty, standing }: Awaited<ReturnType<typeof standby>>,
      options: { timeoutMs?: number; signal?: AbortSignal; context?: Partial<AgentContext> } = {},
    ) {
      const program = join(own, 'promote');
      await writeFile(
        program,
        `#!/bin/sh\necho "$PG_SENTINEL_NODE $PG_SENTINEL_TIMELINE" >> ${own}/runs\n${script}\n`,
      );
      await chmod(program, 0o755);
      const proposed: Command[] = [];
      const { dataDirectory, user, socketDirectory, port, binaries } = one;
      const cut = { token: duty, postmasterPid: findPostmaster(dataDirectory)?.pid ?? 0, standing };
      const context = {
        ...{ group: () => undefined, registration: () => undefined, duty: () => duty, notes: { cut } },
        timing: DEFAULT_AGENT_TIMING,
        protections: { rule: true, cut: true, guard: true },
        guarding: { prepare: () => Promise.resolve(true) },
        confirms: () => Promise.resolve(true),
        activity: () => undefined,
        once: () => Promise.resolve(),
        log: () => undefined,
        propose: (command: Command) => Promise.resolve(proposed.push(command) > 0),
        instance: {
          options: {
            ...{
              dataDirectory,
              user,
              socketDirectory,
              port,
              binaries,
              node: nodeId('one'),
              clusterName: 'shop',
            },
            promoteCommand: { command: [program], timeoutMs: options.timeoutMs ?? LIMIT_MS },
            promoteRunFile: join(own, 'run'),
          },
          session: one.session,
          isForeign: () => false,
          postmaster: () => findPostmaster(dataDirectory),
          setSynchronousStandbys: () => Promise.resolve(),
          stop: ({ fastMs }: { fastMs: number }) => stop(one, fastMs),
        },
        ...options.context,
      } as unknown as AgentContext;
      await carryOutPromote(context, duty, options.signal ?? new AbortController().signal);
      const runs = await readFile(join(own, 'runs'), 'utf8').catch(() => '');
      return { proposed, runs: runs.split('\n').filter((line) => line !== '') };
    }
    const isRunning = (): boolean => findPostmaster(one.dataDirectory) !== undefined;
    const roleNow = async () => (await readRole(one.session, QUERY)).kind;

    test('opens the assigned timeline; a server that is open already does not get it again', async () => {
      const scene = await standby();
      const { proposed, runs } = await promote(PG_CTL, scene);
      const promoted = {
        kind: 'promoted',
        ...{ group: 'main', epoch: 7, node: 'one' },
        ...{ timeline: assigned, switchLsn: scene.standing.position },
      };
      expect(proposed).toEqual([promoted]);
      expect(runs).toEqual([`one ${assigned}`]);
      const again = await promote('exit 1', scene);
      expect(again).toEqual({ proposed: [promoted], runs });
    });

    test('one that only begins the promotion is waited for', async () => {
      const { proposed } = await promote(`${PG_CTL} --no-wait`, await standby());
      expect(proposed).toMatchObject([{ kind: 'promoted', timeline: assigned }]);
    });

    test.each<[string, (scene: { duty: PromoteDuty }) => Partial<AgentContext>, number]>([
      ['the log does not confirm', () => ({ confirms: () => Promise.resolve(false) }), 0],
      [
        'gets no guard',
        () => ({
          guarding: { prepare: () => Promise.resolve(false) } as unknown as AgentContext['guarding'],
        }),
        0,
      ],
      [
        'stands below what it reported',
        ({ duty }) => ({
          notes: {
            cut: {
              token: duty,
              postmasterPid: findPostmaster(one.dataDirectory)?.pid ?? 0,
              standing: { ...duty.from, position: lsn(duty.from.position - 8n) },
            },
          } as unknown as AgentContext['notes'],
        }),
        1,
      ],
    ])('is not run for a node that %s', async (_, change, failureCount) => {
      const scene = await standby();
      const { proposed, runs } = await promote(PG_CTL, scene, { context: change(scene) });
      expect(runs).toEqual([]);
      expect(proposed.map(({ kind }) => kind)).toEqual(Array(failureCount).fill('promotion-failed'));
      if (failureCount === 0) expect(await roleNow()).toBe('standby');
    });

    test.each([
      ['that fails', 'echo no route >&2; exit 3', /^the promote command failed \(exit code 3: no route\)$/],
      ['that fails, though the server was promoted', `${PG_CTL} && exit 4`, /exit code 4/],
      ['that says it is done when nothing was', 'exit 0', /still in recovery after 3000 ms/],
      ['that hangs', 'sleep 600', /^the promote command failed \(not finished within 3000 ms\)$/],
      [
        'that has another timeline opened',
        `find "$PG_SENTINEL_DATA_DIRECTORY/pg_wal" -name '*.history' -size 0 -delete; ${PG_CTL}`,
        /opened timeline \d+ instead of \d+/,
      ],
      [
        'that stops the server',
        'kill -QUIT $(head -n 1 "$PG_SENTINEL_DATA_DIRECTORY/postmaster.pid"); sleep 600',
        /PostgreSQL has ended meanwhile/,
      ],
    ])('one %s is a promotion that failed, and the server is stopped', async (_, script, reason) => {
      const { proposed } = await promote(script, await standby(), { timeoutMs: 3000 });
      expect(proposed).toEqual([
        expect.objectContaining({
          kind: 'promotion-failed',
          reason: expect.stringMatching(reason) as unknown,
        }),
      ]);
      expect(isRunning()).toBe(false);
      await start(one);
    });

    test('one that says it is done too early has nothing left running that would promote the server later', async () => {
      const { proposed } = await promote(
        `{ until [ -e ${own}/go-on ]; do sleep 0.05; done; ${PG_CTL}; } > /dev/null 2>&1 & echo $! > ${own}/left`,
        await standby(),
        { timeoutMs: 3000 },
      );
      expect(proposed).toMatchObject([
        { kind: 'promotion-failed', reason: expect.stringMatching(/recovery/) as unknown },
      ]);
      expect(isAlive(Number(await readFile(join(own, 'left'), 'utf8')))).toBe(false);
      await start(one);
    });

    test('a server that the command of an earlier failover has promoted since it was cut off, is not taken for the promoted one', async () => {
      const scene = await standby();
      await run(
        join(one.binaries.directory, 'pg_ctl'),
        ['promote', '-D', one.dataDirectory],
        spawnIds(one.user),
      );
      expect(await roleNow()).toBe('primary');
      const { proposed, runs } = await promote(PG_CTL, scene);
      expect(runs).toEqual([]);
      expect(proposed).toMatchObject([
        {
          kind: 'promotion-failed',
          reason: expect.stringMatching(/opened timeline \d+ instead of \d+/) as unknown,
        },
      ]);
      expect(isRunning()).toBe(false);
      await start(one);
    });

    test('one that is broken off leaves nothing that would promote the server later', async () => {
      const scene = await standby();
      const abort = new AbortController();
      const promoting = promote(
        `touch "$PG_SENTINEL_DATA_DIRECTORY/promote"; echo $$ > ${own}/pid; sleep 600`,
        scene,
        { signal: abort.signal },
      );
      const pid = await until({ what: 'it to run', timeoutMs: LIMIT_MS, everyMs: 5 }, async () =>
        Number(await readFile(join(own, 'pid'), 'utf8').catch(() => '')),
      );
      abort.abort(new Error('the duty has changed'));
      await expect(promoting).rejects.toThrow('the duty has changed');
      expect(isAlive(pid)).toBe(false);
      const postmaster = findPostmaster(one.dataDirectory)?.pid ?? expect.fail('it does not run');
      process.kill(postmaster, 'SIGUSR1');
      await one.session.query('select pg_sleep(0.5)', [], QUERY);
      expect(await roleNow()).toBe('standby');
    });
  });
}
