// The guard as a process, on a real PostgreSQL, told by a keeper in place of sentineld. Figures are printed, not asserted, but for
// their order.
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { compiled } from '../../../harness/programs.ts';
import { delay, until } from '../../../src/base/clock.ts';
import type { Lease } from '../../../src/guard/authority.ts';
import { readMoment } from '../../../src/guard/boot-clock.ts';
import { type GuardKeeper, openGuardKeeper } from '../../../src/guard/keeper.ts';
import { connectSeat, highestSeat, takeSeat } from '../../../src/guard/seat.ts';
import { removeInstructions, type Terms, writeInstructions } from '../../../src/guard/terms.ts';
import { GUARD_PROTOCOL, type GuardAnswer, readLines, writeLine } from '../../../src/guard/wire.ts';
import {
  childProcesses,
  findPostmaster,
  instanceProcesses,
  isAlive,
} from '../../../src/postgres/processes.ts';
import {
  type Instance,
  LIMIT_MS,
  type Place,
  openPlace,
  sql,
  start,
  startPrimary,
  stop,
  TESTED_VERSION,
} from '../postgres/instances.ts';
import { renderSynchronousStandbys } from '../../../src/postgres/settings.ts';
import { writeStandbySignal, removeStandbySignal } from '../../../src/postgres/upstream.ts';
import { type Device, guardPid, leaseOf, makeDevice, nextGuard } from './guards.ts';

const place: Place | undefined = await openPlace(TESTED_VERSION);
const ALONE = [{ members: [], acks: 0 }];
const LEASE_MS = 5000;

describe.skipIf(place === undefined)(`a guard (needs PostgreSQL ${TESTED_VERSION})`, () => {
  const at = place as Place;
  let one: Instance;
  let directory: string;
  let device: Device;
  let runs = 0;
  const keepers: GuardKeeper[] = [];

  const openKeeper = (version = '1'): GuardKeeper => {
    const keeper = openGuardKeeper({
      directory,
      program: compiled('src/guard/main.js'),
      version,
      log: () => undefined,
      onChange: () => undefined,
    });
    keepers.push(keeper);
    return keeper;
  };
  const termsOf = (changes: Partial<Terms> = {}): Terms => ({
    node: one.name,
    dataDirectory: one.dataDirectory,
    socketDirectory: one.socketDirectory,
    port: one.port,
    superuser: 'sentinel',
    proofTimeoutMs: 1000,
    watchdog: device.path,
    rules: ALONE,
    isLeased: false,
    ...changes,
  });
  const keep = async (keeper: GuardKeeper, terms: Terms): Promise<number> => {
    const { signal } = new AbortController();
    await keeper.keep(terms, { until: 'watching', timeoutMs: LIMIT_MS, signal });
    return (await guardPid(directory)) ?? 0;
  };
  const says = (
    keeper: GuardKeeper,
    what: string,
    is: (state: ReturnType<GuardKeeper['state']>) => boolean,
  ) => until({ what, timeoutMs: LIMIT_MS, everyMs: 20 }, () => is(keeper.state()));
  const ended = (): Promise<boolean> =>
    until(
      { what: 'no guard to be left', timeoutMs: LIMIT_MS, everyMs: 10 },
      async () => (await guardPid(directory)) === undefined,
    );
  const gone = (): Promise<boolean> =>
    until({ what: 'PostgreSQL to be gone', timeoutMs: LIMIT_MS, everyMs: 5 }, () =>
      instanceProcesses(one.dataDirectory).length === 0 ? true : undefined,
    );

  beforeAll(async () => {
    one = await startPrimary(at, 'one');
  });
  afterAll(() => at.close());
  beforeEach(async () => {
    runs += 1;
    directory = join(at.root, `guard${runs}`);
    device = makeDevice(join(at.root, `watchdog${runs}`));
    await start(one);
  });
  afterEach(async () => {
    for (const keeper of keepers.splice(0)) {
      await keeper.dismiss();
      keeper.close();
    }
    await removeInstructions(directory);
    await ended();
    device.close();
  });

  test('one that is told of another data directory stops the primary in the old one, and watches over the new one', async () => {
    const keeper = openKeeper();
    await keeper.renew(leaseOf(LEASE_MS));
    const pid = await keep(keeper, termsOf({ isLeased: true }));
    const other = await startPrimary(at, `other${runs}`);
    const there = { dataDirectory: other.dataDirectory, socketDirectory: other.socketDirectory };
    try {
      await keeper.renew(leaseOf(LEASE_MS));
      expect(await keep(keeper, termsOf({ ...there, port: other.port, isLeased: true }))).toBe(pid);
      // Whoever was told that it is watched over may go by that.
      expect(findPostmaster(one.dataDirectory)).toBeUndefined();
      await says(keeper, 'the new one to be seen', (state) => state?.role === 'primary');
      expect(keeper.state()?.dataDirectory).toBe(other.dataDirectory);
      expect(keeper.state()?.stopped).toBeUndefined();
      await until({ what: 'it to be stopped as well', timeoutMs: LIMIT_MS, everyMs: 20 }, () =>
        instanceProcesses(other.dataDirectory).length === 0 ? true : undefined,
      );
      await says(keeper, 'why', (state) => /lease/.test(state?.stopped?.reason ?? ''));
    } finally {
      await stop(other);
    }
  });

  test('one that is dismissed for another data directory stops the primary in the old one first', async () => {
    const earlier = openKeeper();
    await keep(earlier, termsOf());
    earlier.close();
    await openKeeper().dismiss(join(at.root, 'elsewhere'));
    expect(findPostmaster(one.dataDirectory)).toBeUndefined();
    await ended();
    await start(one);
    const same = openKeeper();
    await keep(same, termsOf());
    await same.dismiss(one.dataDirectory);
    expect(findPostmaster(one.dataDirectory)).toBeDefined();
  });

  test('the primary in the old one is stopped also where its guard is replaced by one of another version just then', async () => {
    const earlier = openKeeper();
    await keep(earlier, termsOf());
    earlier.close();
    await keep(openKeeper('2'), termsOf({ dataDirectory: join(at.root, `elsewhere${runs}`) }));
    expect(findPostmaster(one.dataDirectory)).toBeUndefined();
  });

  test('a data directory that has only another name goes on with its primary', async () => {
    const keeper = openKeeper();
    await keep(keeper, termsOf());
    const before = findPostmaster(one.dataDirectory)?.pid;
    const link = join(at.root, `link${runs}`);
    symlinkSync(one.dataDirectory, link);
    await keep(keeper, termsOf({ dataDirectory: link }));
    await says(keeper, 'it to be seen by that name', (state) => state?.role === 'primary');
    expect(keeper.state()?.dataDirectory).toBe(link);
    expect(keeper.state()?.stopped).toBeUndefined();
    expect(findPostmaster(one.dataDirectory)?.pid).toBe(before);
  });

  test('stops PostgreSQL before the lease ends when nobody renews it, and says so', async () => {
    const keeper = openKeeper();
    await keeper.renew(leaseOf(LEASE_MS));
    await keep(keeper, termsOf({ isLeased: true }));
    for (let renewals = 0; renewals < 5; renewals += 1) {
      await delay(LEASE_MS / 4);
      await keeper.renew(leaseOf(LEASE_MS));
    }
    expect(findPostmaster(one.dataDirectory)).toBeDefined();
    const last = leaseOf(LEASE_MS);
    await keeper.renew(last);
    await gone();
    const { bootMs } = readMoment();
    console.log(`gone ${last.untilBootMs - bootMs} ms before the end of a lease of ${LEASE_MS} ms`);
    expect(bootMs).toBeLessThan(last.untilBootMs);
    await says(keeper, 'its stop', (state) => state?.stopped !== undefined);
    expect(keeper.state()?.stopped).toMatchObject({ how: 'immediate' });
    expect(keeper.state()?.stopped?.reason).toMatch(/the lease is not renewed/);
    expect(keeper.state()?.stopped?.leaseLeftMs).toBeGreaterThan(0);
    await until({ what: 'the watchdog closed', timeoutMs: LIMIT_MS, everyMs: 20 }, () =>
      /^\.+V$/.test(device.written()),
    );
    // Whoever starts it behind our back meets the same guard.
    await start(one).catch(() => undefined);
    await gone();
  });

  test('what a killed postmaster leaves is killed, with sentineld dead, and only then the watchdog closed', async () => {
    const keeper = openKeeper();
    await keeper.renew(leaseOf(60_000));
    await keep(keeper, termsOf({ isLeased: true }));
    await says(keeper, 'the watchdog', (state) => state?.role === 'primary' && state.watchdog === 'open');
    await sql(one, 'select 1');
    const postmaster = findPostmaster(one.dataDirectory)?.pid ?? 0;
    const backend = childProcesses(postmaster).find(({ title }) => title.includes('sentinel postgres'));
    keeper.close();
    process.kill(backend?.pid ?? 0, 'SIGSTOP');
    process.kill(postmaster, 'SIGKILL');
    await gone();
    await until({ what: 'the watchdog closed', timeoutMs: LIMIT_MS, everyMs: 20 }, () =>
      device.written().endsWith('V'),
    );
  });

  test('a PostgreSQL whose every process is frozen is gone before the lease ends as well', async () => {
    const keeper = openKeeper();
    const lease = leaseOf(LEASE_MS);
    await keeper.renew(lease);
    await keep(keeper, termsOf({ isLeased: true }));
    for (const pid of instanceProcesses(one.dataDirectory)) process.kill(pid, 'SIGSTOP');
    await gone();
    const { bootMs } = readMoment();
    console.log(`gone ${lease.untilBootMs - bootMs} ms before the end of a lease of ${LEASE_MS} ms`);
    expect(bootMs).toBeLessThan(lease.untilBootMs);
    await says(keeper, 'its stop', (state) => state?.stopped?.how === 'killed');
  });

  test('leaves a standby alone, whatever became of the lease', async () => {
    await stop(one);
    await writeStandbySignal(one.dataDirectory, one.user.owner);
    await start(one);
    const keeper = openKeeper();
    await keeper.renew(leaseOf(10));
    await keep(keeper, termsOf({ isLeased: true }));
    await says(keeper, 'that it is a standby', (state) => state?.role === 'standby');
    expect(device.written()).toBe('');
    await sql(one, 'select pg_promote(false)').catch(() => undefined);
    await gone();
    await removeStandbySignal(one.dataDirectory);
  });

  test('a primary whose members take nothing is stopped; one that runs alone by the log is not', async () => {
    const keeper = openKeeper();
    await keep(keeper, termsOf());
    await says(keeper, 'that it is a primary', (state) => state?.role === 'primary');
    await delay(1500);
    expect(keeper.state()?.unprovenMs).toBe(0);
    expect(findPostmaster(one.dataDirectory)).toBeDefined();
    // The server says that it runs alone, the log says otherwise.
    await keep(keeper, termsOf({ rules: [{ members: ['two'], acks: 1 }] }));
    await gone();
    await says(keeper, 'its stop', (state) => state?.stopped !== undefined);
    expect(keeper.state()?.stopped?.reason).toMatch(/too few members of its rule/);
  });

  test('a primary whose sentineld has died on the way from alone to a rule, while it waits for nobody yet, is not stopped', async () => {
    const keeper = openKeeper();
    const rules = [...ALONE, { members: ['two'], acks: 1 }];
    await keep(keeper, termsOf({ rules }));
    const nobody = renderSynchronousStandbys({ kind: 'nobody' });
    await sql(one, `alter system set synchronous_standby_names = '${nobody}'`);
    await sql(one, 'select pg_reload_conf()');
    await says(keeper, 'that it waits for nobody', (state) => state?.enforced === nobody);
    await delay(1500);
    expect(keeper.state()?.unprovenMs).toBe(0);
    expect(findPostmaster(one.dataDirectory)).toBeDefined();
    // Where the log says nothing of running alone the same server has lost its authority.
    await keep(keeper, termsOf({ rules: rules.slice(1) }));
    await gone();
    await keep(keeper, termsOf());
    await start(one);
    await sql(one, 'alter system reset synchronous_standby_names');
    await sql(one, 'select pg_reload_conf()');
  });

  test("a leader's word stands in for proof", async () => {
    const keeper = openKeeper();
    await keeper.renew(leaseOf(4000));
    await keep(keeper, termsOf({ rules: [{ members: ['two'], acks: 1 }] }));
    await says(keeper, 'missing proof', (state) => (state?.unprovenMs ?? 0) > 1500);
    expect(findPostmaster(one.dataDirectory)).toBeDefined();
    await gone();
  });

  test('a measurement that fails is no lost authority', async () => {
    const keeper = openKeeper();
    await keep(keeper, termsOf({ superuser: 'nobody_at_all', rules: [{ members: ['two'], acks: 1 }] }));
    await says(keeper, 'why it cannot measure', (state) => /nobody_at_all/.test(state?.trouble ?? ''));
    await delay(2000);
    expect(keeper.state()?.unprovenMs).toBe(0);
    expect(findPostmaster(one.dataDirectory)).toBeDefined();
  });

  test('one that is killed is followed by another, which knows the lease, with sentineld and without', async () => {
    const keeper = openKeeper();
    const lease = leaseOf(60_000);
    await keeper.renew(lease);
    const first = await keep(keeper, termsOf({ isLeased: true }));
    process.kill(first, 'SIGKILL');
    const second = await nextGuard(directory, first);
    await says(keeper, 'the lease', (state) => state?.leaseUntilBootMs === lease.untilBootMs);
    keeper.close();
    process.kill(second, 'SIGKILL');
    await nextGuard(directory, second);
    const later = openKeeper();
    await keep(later, termsOf({ isLeased: true }));
    expect(later.state()?.leaseUntilBootMs).toBe(lease.untilBootMs);
    expect(findPostmaster(one.dataDirectory)).toBeDefined();
    expect(device.written()).not.toContain('V');
  });

  test('one that gives way to a promotion comes after a moment, whatever became of sentineld', async () => {
    const keeper = openKeeper();
    const { signal } = new AbortController();
    await keeper.keep(termsOf(), { until: 'started', startAfterMs: 500, timeoutMs: LIMIT_MS, signal });
    expect(await guardPid(directory)).toBeUndefined();
    keeper.close();
    await nextGuard(directory, 0);
  });

  test('one that is frozen is ended and replaced', async () => {
    const keeper = openKeeper();
    const frozen = await keep(keeper, termsOf());
    process.kill(frozen, 'SIGSTOP');
    await nextGuard(directory, frozen);
    await until(
      { what: 'the frozen one to be gone', timeoutMs: LIMIT_MS, everyMs: 20 },
      () => !isAlive(frozen),
    );
  });

  test('one that takes over long after it was started goes by what is written down then, with a full disk below its log', async () => {
    const written = (lengthMs: number) => {
      const lease = leaseOf(lengthMs);
      return writeInstructions(directory, { terms: termsOf({ isLeased: true }), lease }).then(() => lease);
    };
    let latest: Lease | undefined;
    const old = createServer((socket) => {
      readLines<{ readonly id: number; readonly kind: string }>(socket, ({ id, kind }) => {
        if (kind !== 'yield') return;
        // The lease is renewed while the other one waits for the seat.
        written(60_000).then(
          (lease) => {
            latest = lease;
            writeLine(socket, { id, state: { version: 'old' } });
          },
          (error: Error) => socket.destroy(error),
        );
      });
      socket.on('error', () => undefined);
    });
    await takeSeat(directory, old, undefined);
    await written(30_000);
    const full = openSync('/dev/full', 'w');
    const guard = spawn(
      process.execPath,
      [compiled('src/guard/main.js'), directory, `1/${GUARD_PROTOCOL}`, '--replace'],
      {
        stdio: ['ignore', full, full],
      },
    );
    closeSync(full);
    await nextGuard(directory, process.pid);
    const asking = await connectSeat(directory, await highestSeat(directory));
    if (asking === undefined) throw new Error('the guard does not listen');
    // Asked before a keeper comes, which brings the lease along.
    const answered = new Promise<GuardAnswer>((resolve) => readLines<GuardAnswer>(asking, resolve));
    writeLine(asking, { id: 1, kind: 'ask' });
    expect((await answered).state.leaseUntilBootMs).toBe(latest?.untilBootMs);
    asking.destroy();
    old.close();
    const keeper = openKeeper();
    expect(await keep(keeper, termsOf({ isLeased: true }))).toBe(guard.pid);
    // It says something about each signal.
    guard.kill('SIGHUP');
    guard.kill('SIGINT');
    await keeper.renew(leaseOf(60_000));
    expect(await guardPid(directory)).toBe(guard.pid);
  });

  test('a keeper that comes again finds the same guard; one of another version replaces it without a gap', async () => {
    const keeper = openKeeper();
    const first = await keep(keeper, termsOf());
    await says(keeper, 'the watchdog', (state) => state?.watchdog === 'open');
    keeper.close();
    const again = openKeeper();
    expect(await keep(again, termsOf())).toBe(first);
    expect(isAlive(first)).toBe(true);
    again.close();
    const upgraded = openKeeper('2');
    const second = await keep(upgraded, termsOf());
    expect(second).not.toBe(first);
    expect(upgraded.state()).toMatchObject({ version: `2/${GUARD_PROTOCOL}`, pid: second });
    await until({ what: 'the old one to be gone', timeoutMs: LIMIT_MS, everyMs: 20 }, () => !isAlive(first));
    await until({ what: 'the device petted again', timeoutMs: LIMIT_MS, everyMs: 20 }, () =>
      /^\.{3,}$/.test(device.written()),
    );
    const memory = /Rss:\s+(\d+)/.exec(readFileSync(`/proc/${second}/smaps_rollup`, 'utf8'))?.[1];
    console.log(`the guard's memory: ${Math.round(Number(memory) / 1024)} MB resident`);
    await upgraded.dismiss();
    await until({ what: 'the device closed in order', timeoutMs: LIMIT_MS, everyMs: 20 }, () =>
      device.written().endsWith('V'),
    );
    await ended();
  });
});
