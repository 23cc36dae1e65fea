// What the agent does about leases and the guard, with a keeper that only notes what it is told.
import { afterEach, describe, expect, test, vi } from 'vitest';
import { epoch, groupId, nodeId, timeline } from '../base/ids.ts';
import { DEFAULT_GROUP_SETTINGS } from '../cluster/apply-settings.ts';
import type { SyncRule } from '../cluster/commands.ts';
import type { GroupState } from '../cluster/state.ts';
import type { Duty } from '../failover/duties.ts';
import { type Lease, lengthOf } from '../guard/authority.ts';
import { readMoment } from '../guard/boot-clock.ts';
import type { GuardKeeper } from '../guard/keeper.ts';
import type { GuardState } from '../guard/wire.ts';
import { type GuardedDuty, type Guarding, createGuarding, keepGuarded } from './guarding.ts';

const RULE: SyncRule = { members: [], acks: 1 };
const LEASED: SyncRule = { members: [], acks: 0, leased: true };
const PROOF_MS = 30_000;
const SETTINGS = DEFAULT_GROUP_SETTINGS;
const { signal } = new AbortController();

const dutyWith = (rule: SyncRule): Extract<Duty, { kind: 'primary' }> => ({
  kind: 'primary',
  group: groupId('main'),
  incarnation: 1,
  epoch: epoch(7),
  slots: [],
  timeline: timeline(1),
  rule,
  next: undefined,
  floor: undefined,
  isPaused: false,
});

const handingOver = (rule: SyncRule, at: number): Extract<Duty, { kind: 'hand-over' }> => {
  const { next: _, floor: __, ...base } = dutyWith(rule);
  return { ...base, kind: 'hand-over', epoch: epoch(at) };
};

const STATE: GuardState = {
  version: '1',
  pid: 1,
  node: 'pg1',
  role: 'primary',
  enforced: undefined,
  provenBootMs: undefined,
  provenPostmaster: undefined,
  unprovenMs: 0,
  isLeased: true,
  leaseUntilBootMs: undefined,
  stopped: undefined,
  watchdog: 'off',
  trouble: undefined,
};

const opened: Guarding[] = [];
afterEach(() => {
  for (const guarding of opened.splice(0)) guarding.close();
});

function example(watchdog?: string) {
  const host = {
    duty: dutyWith(RULE) as GuardedDuty,
    leaseMs: SETTINGS.leaseMs,
    confirm: (): Promise<boolean> => Promise.resolve(true),
    asked: 0,
    /** Kind and epoch that the log was asked about last. */
    askedFor: '',
    guard: undefined as GuardState | undefined,
    failsToKeep: false,
    leases: [] as Lease[],
    startAfterMs: [] as (number | undefined)[],
    stops: 0,
    dismissals: [] as (string | undefined)[],
  };
  const keeper: GuardKeeper = {
    keep(_, { startAfterMs }) {
      host.startAfterMs.push(startAfterMs);
      return host.failsToKeep ? Promise.reject(new Error('the disk is full')) : Promise.resolve();
    },
    place: () => Promise.resolve(undefined),
    attach: () => Promise.resolve(),
    renew: (lease) => Promise.resolve(void host.leases.push(lease)),
    state: () => host.guard,
    dismiss: (dataDirectory) => Promise.resolve(void host.dismissals.push(dataDirectory)),
    close: () => undefined,
  };
  const guarding = createGuarding({
    guard: { directory: '/none', program: '', version: '1', proofTimeoutMs: PROOF_MS, watchdog },
    isProtected: true,
    instance: {
      node: nodeId('pg1'),
      dataDirectory: '/none',
      socketDirectory: '/none',
      port: 1,
      superuser: 'sentinel',
    },
    duty: () => host.duty,
    group: () => ({ settings: { ...SETTINGS, leaseMs: host.leaseMs } }) as GroupState,
    confirms: (kind, token) => {
      host.asked += 1;
      host.askedFor = `${kind} ${token.epoch}`;
      return host.confirm();
    },
    log: () => undefined,
    onChange: () => undefined,
    openKeeper: () => keeper,
  });
  opened.push(guarding);
  const context = {
    guarding,
    instance: { stop: () => Promise.resolve(void (host.stops += 1)) } as never,
  };
  return { host, guarding, keep: () => keepGuarded(context, host.duty, signal) };
}

describe('a lease that stood in for proof', () => {
  test('is none that a leased primary may go by: it may outlast what a leader waits for', async () => {
    const { host, keep } = example();
    host.guard = { ...STATE, unprovenMs: PROOF_MS / 2 };
    await expect.poll(() => host.leases.length, { timeout: 20_000 }).toBe(1);
    expect(lengthOf(host.leases[0] as Lease)).toBe(PROOF_MS);
    host.duty = dutyWith(LEASED);
    host.confirm = () => Promise.resolve(false);
    expect(await keep()).toBe(false);
    host.confirm = () => Promise.resolve(true);
    expect(await keep()).toBe(true);
    expect(lengthOf(host.leases.at(-1) as Lease)).toBe(SETTINGS.leaseMs);
    const { asked } = host;
    expect(await keep()).toBe(true);
    expect(host.asked).toBe(asked);
  });

  test('is got for one that goes on in the data directory of an earlier configuration too', async () => {
    const { host } = example();
    host.guard = { ...STATE, dataDirectory: '/elsewhere', unprovenMs: PROOF_MS / 2 };
    await expect.poll(() => host.leases.length, { timeout: 20_000 }).toBe(1);
  });

  test('gets the shorter length where the duty became a leased one while the log was asked', async () => {
    const { host } = example();
    let answer: (says: boolean) => void = () => undefined;
    host.confirm = () => new Promise((resolve) => (answer = resolve));
    host.guard = { ...STATE, unprovenMs: PROOF_MS / 2 };
    await expect.poll(() => host.asked, { timeout: 20_000 }).toBe(1);
    host.duty = dutyWith(LEASED);
    answer(true);
    await expect.poll(() => host.leases.length, { timeout: 20_000 }).toBe(1);
    expect(lengthOf(host.leases[0] as Lease)).toBe(SETTINGS.leaseMs);
  });
});

describe('a leased primary', () => {
  test('without a lease is left to its guard, and stopped where none answers', async () => {
    const { host, keep } = example();
    host.duty = dutyWith(LEASED);
    host.confirm = () => Promise.resolve(false);
    host.guard = STATE;
    expect(await keep()).toBe(false);
    expect(host.stops).toBe(0);
    host.guard = undefined;
    await expect(keep()).rejects.toThrow(/no guard comes up/);
    expect(host.stops).toBe(1);
  });

  test('has a lease from the moment at which the log was asked, however late the answer is', async () => {
    const { host, keep } = example();
    host.duty = dutyWith(LEASED);
    host.guard = STATE;
    let answer: (says: boolean) => void = () => undefined;
    host.confirm = () => new Promise((resolve) => (answer = resolve));
    const keeping = keep();
    await expect.poll(() => host.asked).toBe(1);
    const askedMs = readMoment().bootMs;
    await expect.poll(() => readMoment().bootMs).toBeGreaterThan(askedMs);
    answer(true);
    expect(await keeping).toBe(true);
    expect(host.leases[0]?.untilBootMs).toBeLessThanOrEqual(askedMs + SETTINGS.leaseMs);
  });

  test('whose lease has ended and whose guard is gone is stopped before the log is asked again', async () => {
    const { host, keep } = example();
    host.duty = dutyWith(LEASED);
    host.leaseMs = 200;
    expect(await keep()).toBe(true);
    host.leaseMs = 0;
    const { asked } = host;
    await expect(keep()).rejects.toThrow(/no guard comes up/);
    expect(host.stops).toBe(1);
    expect(host.asked).toBe(asked);
  });

  test('goes on for the moment in which another guard is started, and while that fails for a moment', async () => {
    const { host, keep } = example();
    host.duty = dutyWith(LEASED);
    expect(await keep()).toBe(true);
    host.failsToKeep = true;
    await expect(keep()).rejects.toThrow('the disk is full');
    expect(host.stops).toBe(0);
  });
});

describe('a leased primary that is switched over on purpose', () => {
  test('has its lease renewed by the epoch of the switchover', async () => {
    const { host, keep } = example();
    host.leaseMs = 500;
    host.duty = dutyWith(LEASED);
    expect(await keep()).toBe(true);
    host.duty = handingOver(LEASED, 8);
    const before = host.leases.length;
    await expect.poll(() => host.leases.length, { timeout: 20_000 }).toBeGreaterThan(before + 1);
    expect(host.askedFor).toBe('hand-over 8');
  });

  test('takes no lease of the epoch before for one of its own', async () => {
    const { host, keep } = example();
    host.guard = STATE;
    host.duty = dutyWith(LEASED);
    expect(await keep()).toBe(true);
    host.duty = handingOver(LEASED, 8);
    host.confirm = () => Promise.resolve(false);
    expect(await keep()).toBe(false);
    host.confirm = () => Promise.resolve(true);
    expect(await keep()).toBe(true);
    expect(host.askedFor).toBe('hand-over 8');
  });
});

test('whether a guard watches is not known while the first is being started', async () => {
  const { host, guarding, keep } = example();
  expect(await keep()).toBe(true);
  expect(guarding.isGuarded()).toBeUndefined();
  host.guard = STATE;
  expect(guarding.isGuarded()).toBe(true);
  // Which an earlier configuration had.
  host.guard = { ...STATE, dataDirectory: '/other' };
  expect(guarding.isGuarded()).toBeUndefined();
  expect(guarding.state()).toBeUndefined();
  host.guard = { ...STATE, dataDirectory: '/none' };
  expect(guarding.isGuarded()).toBe(true);
  host.guard = undefined;
  await keep();
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 60_000);
  expect(guarding.isGuarded()).toBe(false);
  vi.restoreAllMocks();
});

test('a guard is dismissed for this data directory, lest it leaves a primary in another one', async () => {
  const { host, guarding } = example();
  await guarding.dismiss();
  expect(host.dismissals).toEqual(['/none']);
});

test('a primary whose standbys prove it needs neither', async () => {
  const { host, keep } = example();
  host.confirm = () => Promise.resolve(false);
  expect(await keep()).toBe(true);
  expect(host.stops).toBe(0);
});

describe('for a promotion that clients wait for', () => {
  const promote = async (rule: SyncRule, watchdog?: string): Promise<number | undefined> => {
    const { host, guarding } = example(watchdog);
    host.duty = dutyWith(rule);
    expect(await guarding.prepare(host.duty, { until: 'started', isUrgent: true, signal })).toBe(true);
    return host.startAfterMs.at(-1);
  };

  test('the guard starts a second later where it bounds stale reads only', async () => {
    expect(await promote(RULE)).toBe(1000);
  });

  test('it starts at once under a lease, and with a watchdog device', async () => {
    expect(await promote(LEASED)).toBe(0);
    expect(await promote(RULE, '/dev/watchdog')).toBe(0);
  });

  test('any other start of a guard is at once', async () => {
    const { host, keep } = example();
    await keep();
    expect(host.startAfterMs).toEqual([0]);
  });
});
