// What the host may do to a PostgreSQL that we start: its protection when memory runs out, its core limit, and the size of its log.
import { readFileSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { startPostgres } from '../../../src/postgres/lifecycle.ts';
import { rotateLog } from '../../../src/postgres/log-rotation.ts';
import { setOomScoreAdj } from '../../../src/postgres/process-settings.ts';
import { childProcesses } from '../../../src/postgres/processes.ts';
import {
  type Instance,
  LIMIT_MS,
  type Place,
  TESTED_VERSION,
  openPlace,
  sql,
  startPrimary,
  stop,
} from './instances.ts';

const place: Place | undefined = await openPlace(TESTED_VERSION);
const scoreOf = (pid: number): number => Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8'));

describe.skipIf(place === undefined)(`one instance (needs PostgreSQL ${TESTED_VERSION})`, () => {
  const at = place as Place;
  let one: Instance;
  const startWith = async (settings: {
    oomScoreAdj: number;
    coreLimitMb: number | 'unlimited' | undefined;
  }) => {
    await stop(one);
    return startPostgres({ ...one, process: settings, waitFor: 'accepting', timeoutMs: LIMIT_MS });
  };
  beforeAll(async () => {
    one = await startPrimary(at, 'one');
  });
  afterAll(() => at.close());

  test('the postmaster alone has the score, its children have 0', async () => {
    // Raised, which every host allows; that it is lowered needs CAP_SYS_RESOURCE.
    const { pid } = await startWith({ oomScoreAdj: 500, coreLimitMb: undefined });
    expect(scoreOf(pid)).toBe(500);
    const [row] = await sql<{ pid: number }>(one, 'select pg_backend_pid() as pid');
    expect(row?.pid).toBeGreaterThan(0);
    const children = childProcesses(pid).map((child) => child.pid);
    expect(children.length).toBeGreaterThan(3);
    await until({ what: 'children with a score of their own', timeoutMs: LIMIT_MS, everyMs: 50 }, () =>
      children.every((child) => scoreOf(child) === 0),
    );
  });

  test('a protection that we may not give keeps nothing from starting', () => {
    // Of no process: as where the kernel refuses.
    expect(setOomScoreAdj(2 ** 30, -900)).toBe(false);
  });

  test.each<[number | 'unlimited', RegExp]>([
    [0, /Max core file size +0 /],
    [8, /Max core file size +8388608 /],
    ['unlimited', /Max core file size +(unlimited|\d+) /],
  ])('core files are limited to %s', async (coreLimitMb, expected) => {
    const { pid } = await startWith({ oomScoreAdj: 0, coreLimitMb });
    const limits = await readFile(`/proc/${pid}/limits`, 'utf8');
    expect(limits).toMatch(expected);
    if (coreLimitMb === 'unlimited') {
      const [, soft, hard] = /Max core file size +(\S+) +(\S+)/.exec(limits) ?? [];
      expect(soft).toBe(hard);
    }
    // The server is what was started, not a shell around it.
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toMatch(/postgres\0-D\0/);
  });

  test('its log is begun anew while it writes on', async () => {
    await startWith({ oomScoreAdj: 0, coreLimitMb: undefined });
    const write = (text: string) => sql(one, `do $$ begin raise log '${text}'; end $$`);
    await write('x'.repeat(20_000));
    const rotation = { bytesMax: 10_000, fileCount: 1 };
    expect(await rotateLog({ path: one.logFile, rotation, owner: one.user.owner })).toBe(true);
    await write('after the rotation');
    const text = await readFile(one.logFile, 'utf8');
    expect(text).toContain('after the rotation');
    // No hole where the old text was: the server appends.
    expect(text).not.toContain('\0');
    expect((await stat(one.logFile)).size).toBeLessThan(10_000);
    expect(await readFile(`${one.logFile}.1`, 'utf8')).toContain('x'.repeat(20_000));
  });
});
