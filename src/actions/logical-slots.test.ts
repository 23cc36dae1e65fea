// Logical slots of a node as its part changes: before a promotion, on a cascading standby, at a start. Nothing of it holds a failover up.
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, rmdir } from 'node:fs/promises';
import { type Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { logIndex, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { Duty } from '../failover/duties.ts';
import type { KnownSlot } from './logical-slot-memory.ts';
import { openSlotMemory } from './logical-slot-memory.ts';
import { roomForCopies } from './logical-slot-copy.ts';
import { type LogicalSlots, createLogicalSlots } from './logical-slots.ts';
import { FOLLOW, PRIMARY, STANDBY, fakeContext } from './testing/context.ts';

const MEMBER = STANDBY;
const SLOT: LogicalSlot = {
  ...{ name: 'cdc', database: 'app', plugin: 'pgoutput', isTwoPhase: false, setAt: logIndex(7) },
  ...{ standing: 'made', isOurs: true, reason: undefined },
};
const KNOWN: KnownSlot = {
  name: 'cdc',
  setAt: 7,
  text: 'app:pgoutput',
  standing: 'fit',
  timeline: 1,
  incarnation: 1,
  isOurs: true,
};
const PROMOTE: Extract<Duty, { readonly kind: 'promote' }> = {
  ...PRIMARY,
  ...{ kind: 'promote', timeline: timeline(2), from: { timeline: timeline(1), position: lsn(0x100n) } },
};
const row = {
  ...{
    name: 'cdc',
    type: 'logical',
    database: 'app',
    plugin: 'pgoutput',
    two_phase: false,
    temporary: false,
  },
  ...{ active_pid: null, catalog_xmin: 700, confirmed: '0/70', lost: false, failover: true, synced: false },
};
const signal = (): AbortSignal => new AbortController().signal;

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-logical-'));
});
afterEach(() => rm(root, { recursive: true }));

interface Scene {
  readonly slots: LogicalSlots;
  readonly dropped: unknown[];
  readonly proposed: string[];
  readonly known: () => Promise<readonly KnownSlot[]>;
}

async function scene(
  known: readonly KnownSlot[],
  options: {
    readonly version?: number;
    readonly opened?: readonly number[];
    readonly primary?: string;
    readonly found?: readonly object[];
    readonly hangs?: boolean;
    /** Called with each drop, which never ends by itself. */
    readonly onDrop?: () => void;
    readonly stream?: string;
    /** Somebody else has started the server, which is of that kind. */
    readonly foreign?: 'primary' | 'standby';
    readonly slot?: LogicalSlot;
    /** What was asked of it, from then on. */
    readonly asked?: string[];
    readonly failing?: { readonly isFailing: boolean };
  } = {},
): Promise<Scene> {
  const [dropped, proposed]: [unknown[], string[]] = [[], []];
  const file = join(root, 'slots.json');
  const dataDirectory = join(root, 'data');
  const context = fakeContext({
    dataDirectory,
    instance: {
      ...{ logicalSlots: () => [options.slot ?? SLOT], logicalSlotsFile: file },
      isCascading: () => options.primary === 'c',
      binaries: { version: options.version ?? 15, directory: '/nowhere', has: {} } as never,
    },
    query: (text, values, given) => {
      options.asked?.push(text);
      if (options.failing?.isFailing === true) throw new Error('it fails');
      if (options.hangs === true) return new Promise(() => undefined);
      if (text.includes('pg_drop_replication_slot')) {
        dropped.push(values[0]);
        if (options.onDrop === undefined) return [{}];
        return new Promise((_, reject) => {
          given?.addEventListener('abort', () => reject(given.reason as Error));
          options.onDrop?.();
        });
      }
      return text.includes('json_build_object')
        ? [{ found: { wal_level: 'logical', wal_end: null, receiver: null, slots: options.found ?? [row] } }]
        : [];
    },
  });
  const group = { phase: { primary: nodeId(options.primary ?? 'b') } };
  Object.assign(context, {
    localMember: () => MEMBER,
    group: () => ({
      ...group,
      branches: (options.opened ?? []).map((each) => ({ timeline: each, parent: each - 1 })),
    }),
    propose: ({ outcome }: { outcome: string }) => Promise.resolve(proposed.push(outcome) > 0),
  });
  if (options.stream !== undefined) context.notes.streaming = { stream: options.stream, sinceMs: 0 };
  if (options.foreign !== undefined)
    Object.assign(context.instance, {
      isForeign: () => true,
      readRole: () => {
        options.asked?.push('its role');
        return Promise.resolve({ kind: options.foreign });
      },
    });
  await openSlotMemory(file).note(MEMBER, ...known);
  return {
    slots: createLogicalSlots(context),
    dropped,
    proposed,
    known: () => openSlotMemory(file).all(MEMBER),
  };
}

describe('before a promotion', () => {
  test('what was found fit under the last primary stays, and what is not ours', async () => {
    const fit = await scene([KNOWN]);
    await fit.slots.beforePromotion(PROMOTE, signal());
    const theirs = await scene([{ ...KNOWN, standing: 'unfit', isOurs: false }]);
    await theirs.slots.beforePromotion(PROMOTE, signal());
    expect([...fit.dropped, ...theirs.dropped]).toEqual([]);
  });

  test.each<[string, KnownSlot, Parameters<typeof scene>[1]]>([
    ['a copy that was not fit', { ...KNOWN, standing: 'unfit' }, {}],
    ['the own slot of a former primary, after which another one reigned', KNOWN, { opened: [1, 2] }],
    [
      'one of which nobody knows what a later stream brought',
      // By a process of the same id, as after the restart of a container.
      { ...KNOWN, stream: '2 1000.5' },
      { stream: '2 1000.6' },
    ],
    ['one of a stream that this process has not seen', { ...KNOWN, stream: '2 1000.5' }, {}],
  ])('%s is dropped, and known as unfit', async (_, known, options) => {
    const { slots, dropped, known: after } = await scene([known], options);
    await slots.beforePromotion({ ...PROMOTE, timeline: timeline(3) }, signal());
    expect(dropped).toEqual(['cdc']);
    expect(await after()).toEqual([{ ...known, standing: 'unfit' }]);
  });

  test('once that has gone on or was broken off, nothing more is asked on the session that it needs', async () => {
    const abort = new AbortController();
    const onDrop = (): void => abort.abort(new Error('the duty has changed'));
    const unfit = { ...KNOWN, standing: 'unfit' } as const;
    const { slots, dropped } = await scene([unfit, { ...unfit, name: 'other' }], { onDrop });
    await expect(slots.beforePromotion(PROMOTE, abort.signal)).rejects.toThrow('the duty has changed');
    expect(dropped).toEqual(['cdc']);
  });

  test('what is fit is said to be so for the promotion, and once: nothing else counts on the primary', async () => {
    const copy = { ...KNOWN, stream: '2 1000.5' };
    const { slots, known } = await scene([copy], { stream: '2 1000.5' });
    await slots.beforePromotion(PROMOTE, signal());
    expect(await known()).toEqual([{ ...copy, timeline: 2 }]);
    // Begun again by another sentineld, which has seen no stream.
    const again = await scene(await known(), {});
    await again.slots.beforePromotion(PROMOTE, signal());
    expect({ known: await again.known(), dropped: again.dropped }).toEqual({
      ...{ known: [{ ...copy, timeline: 2 }], dropped: [] },
    });
    const unasked = await scene([KNOWN]);
    await unasked.slots.look({ ...PRIMARY, timeline: timeline(2) }, signal());
    await until({ what: 'a report', timeoutMs: 10_000, everyMs: 5 }, () => unasked.slots.report().length > 0);
    expect(unasked.proposed).toEqual(['lost']);
  });

  test('what is unfit is dropped, and lost on the primary, also where that cannot be written anywhere', async () => {
    const outdated = { ...KNOWN, stream: '2 1000.5' };
    const { slots, dropped, proposed, known } = await scene([outdated], { stream: '2 1000.6' });
    await mkdir(join(root, 'slots.json.new'));
    await slots.beforePromotion(PROMOTE, signal());
    expect(dropped).toEqual(['cdc']);
    await slots.look({ ...PRIMARY, timeline: timeline(2) }, signal());
    await until({ what: 'a report', timeoutMs: 10_000, everyMs: 5 }, () => slots.report().length > 0);
    expect({ proposed, known: await known() }).toEqual({ proposed: ['lost'], known: [outdated] });
  });

  test('what was fit stays so where that cannot be written, and is written as soon as it can', async () => {
    const { slots, dropped, proposed, known } = await scene([KNOWN]);
    await mkdir(join(root, 'slots.json.new'));
    await slots.beforePromotion(PROMOTE, signal());
    await rmdir(join(root, 'slots.json.new'));
    await slots.look({ ...PRIMARY, timeline: timeline(2) }, signal());
    await until({ what: 'a report', timeoutMs: 10_000, everyMs: 5 }, () => slots.report().length > 0);
    expect({ dropped, proposed }).toEqual({ dropped: [], proposed: [] });
    expect(await known()).toEqual([{ ...KNOWN, timeline: 2 }]);
  });

  test('a primary that cannot look after its slots says so: what it found as a standby says nothing of them', async () => {
    const failing = { isFailing: false };
    const { slots } = await scene([KNOWN], { failing, found: [{ ...row, synced: true }], version: 17 });
    const look = async (duty: Duty): Promise<unknown> => {
      await slots.look(duty, signal());
      await until({ what: 'a report', timeoutMs: 10_000, everyMs: 5 }, () => slots.report().length > 0);
      return slots.report();
    };
    await look(FOLLOW);
    slots.stop();
    expect(slots.report()).toEqual([]);
    failing.isFailing = true;
    expect(await look({ ...PRIMARY, timeline: timeline(2) })).toEqual([
      { name: 'cdc', isReady: false, note: 'cannot be looked after: it fails' },
    ]);
  });

  test('what cannot be noted as unfit then is so before anything counts on the primary', async () => {
    const outdated = { ...KNOWN, stream: '2 1000.5' };
    const { slots, dropped, proposed } = await scene([outdated], { stream: '2 1000.6', opened: [2] });
    const file = join(root, 'slots.json');
    await rename(file, `${file}.aside`);
    await mkdir(file);
    await slots.beforePromotion(PROMOTE, signal());
    await rmdir(file);
    await rename(`${file}.aside`, file);
    await slots.look({ ...PRIMARY, timeline: timeline(2) }, signal());
    await until({ what: 'a report', timeoutMs: 10_000, everyMs: 5 }, () => slots.report().length > 0);
    expect({ dropped, proposed }).toEqual({ dropped: ['cdc'], proposed: ['lost'] });
  });

  test('it does not wait for a PostgreSQL that does not answer', { timeout: 20_000 }, async () => {
    const { slots, known } = await scene([{ ...KNOWN, timeline: 9 }], { hangs: true });
    const startedMs = performance.now();
    await slots.beforePromotion(PROMOTE, signal());
    expect(performance.now() - startedMs).toBeLessThan(5000);
    // The primary drops it, or says that it is lost.
    expect(await known()).toMatchObject([{ standing: 'unfit' }]);
  });
});

test('a cascading standby keeps none, and never counts as one that a failover keeps it on', async () => {
  const { slots, dropped, known } = await scene([KNOWN], { primary: 'c' });
  await slots.look(FOLLOW, signal());
  await until({ what: 'a report', timeoutMs: 10_000, everyMs: 5 }, () =>
    Promise.resolve(slots.report().length > 0),
  );
  expect(slots.report()).toEqual([{ name: 'cdc', isReady: false, note: 'it follows b, which is a standby' }]);
  expect(dropped).toEqual(['cdc']);
  expect(await known()).toEqual([]);
});

test('a file of what is known that cannot be read is said, and does not make slots unknown', async () => {
  const { slots, known } = await scene([KNOWN]);
  const file = join(root, 'slots.json');
  await rename(file, `${file}.aside`);
  await mkdir(file);
  await slots.look(FOLLOW, signal());
  await until({ what: 'a report', timeoutMs: 10_000, everyMs: 5 }, () => slots.report().length > 0);
  expect(slots.report()).toMatchObject([
    {
      name: 'cdc',
      isReady: false,
      note: expect.stringMatching(/cannot be looked after: .* is no regular file/) as unknown,
    },
  ]);
  await rmdir(file);
  await rename(`${file}.aside`, file);
  expect(await known()).toEqual([KNOWN]);
});

test('a file of what is known that is a pipe holds no pass up', { timeout: 20_000 }, async () => {
  const { slots } = await scene([]);
  await rm(join(root, 'slots.json'), { force: true });
  execFileSync('mkfifo', [join(root, 'slots.json')]);
  await slots.look(FOLLOW, signal());
  await until({ what: 'a report', timeoutMs: 10_000, everyMs: 5 }, () => slots.report().length > 0);
});

test('a round does not begin for a duty that has passed', async () => {
  const { slots, dropped } = await scene([{ ...KNOWN, setAt: 6 }]);
  const abort = new AbortController();
  const looking = slots.look(FOLLOW, abort.signal);
  abort.abort(new Error('the duty has changed'));
  await expect(looking).rejects.toThrow('the duty has changed');
  expect(dropped).toEqual([]);
});

describe('copying at a start', () => {
  test('leaves room for the slots of members that are made once it runs', () => {
    const names = (count: number): string[] => Array.from({ length: count }, (_, at) => `slot${at}`);
    expect(roomForCopies(names(10), [])).toBe(6);
    expect(roomForCopies(names(10), ['slot9', 'b_00000001', 'c_00000001'])).toBe(4);
    expect(roomForCopies(names(15), ['b_00000001'])).toBe(0);
  });

  let silent: Server;
  beforeEach(async () => {
    silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    await mkdir(join(root, 'data', 'pg_replslot'), { recursive: true });
    await mkdir(join(root, 'data', 'pg_wal'));
  });
  afterEach(() => void silent.close());

  test('is broken off with the duty, while its upstream says nothing', { timeout: 20_000 }, async () => {
    const { port } = silent.address() as { port: number };
    const { slots } = await scene([]);
    const abort = new AbortController();
    const duty = { ...FOLLOW, upstream: { ...FOLLOW.upstream, port } };
    const starting = slots.beforeStart(duty, abort.signal);
    silent.once('connection', () => abort.abort(new Error('the duty has changed')));
    const startedMs = performance.now();
    await expect(starting).rejects.toThrow('the duty has changed');
    // Long before the connection is given up.
    expect(performance.now() - startedMs).toBeLessThan(2000);
  });
});

describe('on a primary that is being adopted', () => {
  const WANTED: LogicalSlot = { ...SLOT, standing: 'wanted', isOurs: false };
  const ADOPTED = { ...PRIMARY, isUnprotected: true } as const;

  test('a slot that is there and is named is found, before anybody is promoted who would make another one', async () => {
    const { slots, proposed, known } = await scene([], { slot: WANTED, foreign: 'primary' });
    await slots.look(ADOPTED, signal());
    await until({ what: 'it to be found', timeoutMs: 10_000, everyMs: 5 }, () => slots.report().length > 0);
    expect(proposed).toEqual(['found']);
    expect(await known()).toMatchObject([{ name: 'cdc', standing: 'fit', isOurs: false }]);
  });

  test('where it cannot be looked at nothing is said of its slots: a switchover waits for that', async () => {
    const { slots } = await scene([], { slot: WANTED, foreign: 'primary', failing: { isFailing: true } });
    await slots.look(ADOPTED, signal());
    for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(slots.report()).toEqual([]);
  });

  test.each<[string, Duty, 'primary' | 'standby', number]>([
    ['a server that its owner has made a standby', ADOPTED, 'standby', 1],
    ['a server of somebody else in a group that is not adopted', PRIMARY, 'primary', 0],
    ['a standby that is not taken over yet', FOLLOW, 'standby', 0],
  ])('%s is left alone', async (_, duty, foreign, lookCount) => {
    const asked: string[] = [];
    const { slots, proposed } = await scene([], { slot: WANTED, foreign, asked });
    await slots.look(duty, signal());
    // What a round does beyond that it does at once.
    for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    expect({ asked, proposed }).toEqual({ asked: Array(lookCount).fill('its role'), proposed: [] });
  });
});
