// A node of a site that asks for its upstream: nothing that is due waits for the answer.
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, type Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeMemberId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { readSettings } from '../postgres/settings.ts';
import type { AgentContext } from './context.ts';
import { carryOutSite } from './site-duty.ts';
import { FOLLOW, fakeContext } from './testing/context.ts';
import { startWalsender } from './testing/walsender.ts';

const MEMBER = makeMemberId(nodeId('a'), '00000001');

let silent: Server;
let directory: string;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'pg-sentinel-site-'));
  silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
  silent.close();
});

/** A running standby that does not stream. */
function standby(more: object, isWithSource = true): AgentContext {
  const { port } = silent.address() as AddressInfo;
  const source = {
    servers: [{ host: '127.0.0.1', port }],
    account: { name: 'second', password: 'secret' },
    ...{ slot: undefined, parameters: {}, applicationName: 'pg_sentinel_site_second' },
  };
  const context = fakeContext({ dataDirectory: directory, instance: isWithSource ? { source } : {} });
  const role = { kind: 'standby', walReceiver: undefined, synchronousStandbyNames: 'nobody' };
  Object.assign(context.instance, { readRole: () => Promise.resolve(role) });
  return Object.assign(context, {
    dataDirectory: () =>
      Promise.resolve({
        kind: 'ready',
        control: { systemIdentifier: context.systemIdentifier },
        member: { memberId: MEMBER },
      }),
    registration: () => ({ member: MEMBER }),
    localMember: () => MEMBER,
    once: () => Promise.resolve(),
    ...more,
  });
}
const DUTY = { ...FOLLOW, upstream: { ...FOLLOW.upstream, site: 'outside' } } as const;

test('a cut that is due does not wait for a server that does not answer', async () => {
  const ending = new AbortController();
  const asked = new Promise((resolve) => silent.once('connection', resolve));
  const pass = carryOutSite(standby({}), DUTY, ending.signal);
  await asked;
  const startedMs = performance.now();
  ending.abort(new Error('the site is promoted'));
  await expect(pass).rejects.toThrow('the site is promoted');
  expect(performance.now() - startedMs).toBeLessThan(1000);
});

test('those that stream from it get their slots, also where its own configuration names no other site any more', async () => {
  const kept: string[] = [];
  const once = (key: string): Promise<void> => Promise.resolve(void kept.push(key));
  const context = standby({ once }, false);
  const receiver = { status: 'streaming', stream: 'one' };
  const role = { kind: 'standby', walReceiver: receiver, synchronousStandbyNames: 'nobody' };
  Object.assign(context.instance, { readRole: () => Promise.resolve(role) });
  const duty = { ...DUTY, slots: [makeMemberId(nodeId('b'), '00000002')] };
  await expect(carryOutSite(context, duty, new AbortController().signal)).rejects.toThrow(
    /no node.follow any more/,
  );
  expect(kept).toEqual(['slots b_00000002']);
});

/** A standby of timeline 2 that does not stream, and another site that answers; what it holds of the history began at `began`. */
async function beside(began: string, isHistoryThere = true) {
  const far = await startWalsender(() => ({
    'SHOW in_hot_standby': { in_hot_standby: 'off' },
    IDENTIFY_SYSTEM: { systemid: '77', timeline: '2', xlogpos: '0/64', dbname: null },
    'TIMELINE_HISTORY 2': isHistoryThere
      ? { filename: '00000002.history', content: '1\t0/32\tno reason\n' }
      : '58P01',
  }));
  const passfiles = `${directory}.passfile`;
  mkdirSync(join(directory, 'pg_wal'));
  mkdirSync(passfiles, { recursive: true });
  writeFileSync(join(directory, 'pg_wal/00000002.history'), `1\t${began}\tno reason\n`);
  writeFileSync(join(directory, 'standby.signal'), '');
  const context = standby({ group: () => ({ systemIdentifier: '77' }) });
  Object.assign(context, { systemIdentifier: '77' });
  const account = { name: 'second', password: 'secret' };
  const servers = [{ host: '127.0.0.1', port: far.port }];
  Object.assign(context.instance.options, {
    source: { ...context.instance.options.source, servers, account },
  });
  const position = { receiveLsn: lsn(0x40n), replayLsn: lsn(0x30n) };
  const role = { kind: 'standby', timeline: timeline(2), walReceiver: undefined, ...position };
  Object.assign(context.instance, {
    readRole: () => Promise.resolve(role),
    setSynchronousStandbys: () => Promise.resolve(),
  });
  return {
    ...{ context, account, role, port: far.port, asked: far },
    // To say where it stands once it is cut off takes a PostgreSQL.
    pass: () => carryOutSite(context, DUTY, new AbortController().signal).catch(() => undefined),
    passwords: () => readdirSync(passfiles).map((name) => readFileSync(join(passfiles, name), 'utf8')),
    close() {
      far.close();
      rmSync(passfiles, { recursive: true });
    },
  };
}

test.each([
  ['is set up for the other site where its timeline began as there', '0/32', true],
  ['is never set up for it where only the number of its timeline is the same', '0/31', false],
])('a standby %s', async (_, began, isSetUp) => {
  const { context, pass, port, close } = await beside(began);
  try {
    await pass();
    const { primary_conninfo = '' } = Object.fromEntries(await readSettings(directory));
    expect(primary_conninfo.includes(String(port))).toBe(isSetUp);
    expect(context.notes.site !== undefined).toBe(isSetUp);
  } finally {
    close();
  }
});

test('one that is set up and does not stream gets a changed password, and is not stuck while it replays', async () => {
  const { context, account, role, pass, passwords, close } = await beside('0/32');
  const { notes } = context;
  /** As if it had been so for long. */
  const later = async (): Promise<boolean> => {
    if (notes.site === undefined) throw new Error('it is not set up');
    notes.site = { ...notes.site, askedMs: -1e9, sinceMs: -1000 };
    await pass();
    return notes.site.sinceMs === -1000;
  };
  try {
    await pass();
    expect(passwords()).toEqual(['*:*:*:second:secret\n']);
    account.password = 'changed';
    await later();
    expect(passwords()).toEqual(['*:*:*:second:changed\n']);
    expect(await later()).toBe(true);
    role.replayLsn = lsn(0x31n);
    expect(await later()).toBe(false);
    expect(await later()).toBe(true);
  } finally {
    close();
  }
});

test('one that is stray asks the other site again only after a while, and says why it does not stream', async () => {
  const { context, close, asked } = await beside('0/31');
  const pass = () => carryOutSite(context, DUTY, new AbortController().signal);
  // To say where it stands once it is cut off takes a PostgreSQL.
  const from = `127.0.0.1 ${asked.port}  {}`;
  context.notes.siteStray = { from, text: 'cannot go on; sentinelctl node reinit a', askedMs: -1e9 };
  try {
    await expect(pass()).rejects.toThrow(/its timeline 2 is another one.*sentinelctl node reinit a/);
    const count = asked.commands.length;
    expect(count).toBeGreaterThan(0);
    for (let each = 0; each < 3; each += 1)
      await expect(pass()).rejects.toThrow(/its timeline 2 is another one.*sentinelctl node reinit a/);
    expect(asked.commands.length).toBe(count);
  } finally {
    close();
  }
});

test('the site leader tells which timelines the other site has come through, once', async () => {
  const { context, role, port, close } = await beside('0/32');
  const proposed: object[] = [];
  const group = { systemIdentifier: '77', site: { history: undefined as unknown, opened: undefined } };
  Object.assign(context, {
    group: () => group,
    propose: (command: { readonly history: unknown }) => {
      proposed.push(command);
      group.site.history = command.history;
      return Promise.resolve(true);
    },
  });
  const receiver = {
    ...{ status: 'streaming', stream: 'one', receivedTimeline: timeline(2) },
    ...{ senderHost: '127.0.0.1', senderPort: port },
  };
  Object.assign(role, { walReceiver: receiver });
  const pass = () => carryOutSite(context, DUTY, new AbortController().signal).catch(() => undefined);
  try {
    await pass();
    await pass();
    Object.assign(role, { walReceiver: { ...receiver, stream: 'two' } });
    await pass();
    expect(proposed).toEqual([
      {
        ...{ kind: 'tell-site', group: DUTY.group, epoch: DUTY.epoch, node: 'a' },
        history: { timeline: 2, branches: [{ timeline: 2, parent: 1, switchLsn: 0x32n }] },
      },
    ]);
  } finally {
    close();
  }
});

test('it tells the timeline also where the other site cannot say how that came about, unless it is known', async () => {
  const { context, role, close, port } = await beside('0/32', false);
  const proposed: object[] = [];
  const group = {
    ...{ systemIdentifier: '77', phase: { kind: 'following' } },
    site: { history: undefined as unknown, opened: undefined },
  };
  const propose = (command: object) => Promise.resolve(proposed.push(command));
  Object.assign(context, { group: () => group, propose });
  const receiver = { status: 'streaming', receivedTimeline: timeline(2), senderHost: '127.0.0.1' };
  const pass = (stream: string) => {
    Object.assign(role, { walReceiver: { ...receiver, stream, senderPort: port } });
    return carryOutSite(context, DUTY, new AbortController().signal).catch(() => undefined);
  };
  try {
    await pass('one');
    const history = { timeline: timeline(2), branches: [] };
    expect(proposed).toMatchObject([{ kind: 'tell-site', history }]);
    group.site.history = { ...history, branches: [{ timeline: 2, parent: 1, switchLsn: 0x32n }] };
    await pass('two');
    expect(proposed).toHaveLength(1);
    // One that has come back says less than its successor has.
    group.site.history = { timeline: timeline(4), branches: [] };
    await pass('three');
    expect(proposed).toHaveLength(1);
  } finally {
    close();
  }
});

test('a node does not go along with a site leader whose timeline the other site is not known to have', async () => {
  const { context, role, close } = await beside('0/32');
  const far = await startWalsender(() => ({
    'SHOW in_hot_standby': { in_hot_standby: 'on' },
    IDENTIFY_SYSTEM: { systemid: '77', timeline: '2', xlogpos: '0/64', dbname: null },
    'TIMELINE_HISTORY 2': { filename: '00000002.history', content: '1\t0/32\tno reason\n' },
  }));
  const said: string[] = [];
  const site = { history: { timeline: timeline(1), branches: [] as object[] }, opened: undefined };
  Object.assign(context, {
    group: () => ({ systemIdentifier: '77', site, phase: { kind: 'following' } }),
    activity: (_: string, message: string) => said.push(message),
  });
  const upstream = { ...FOLLOW.upstream, port: far.port, site: 'inside' } as const;
  const pass = () => carryOutSite(context, { ...FOLLOW, upstream }, new AbortController().signal);
  try {
    await pass();
    expect(said.at(-1)).toMatch(/stands on timeline 2, which the other site is not known to have/);
    expect(context.notes.site).toBeUndefined();
    site.history = { timeline: timeline(2), branches: [] };
    await pass().catch(() => undefined);
    expect(said.at(-1)).not.toMatch(/not known to have/);
    const isSetUp = async () =>
      Object.fromEntries(await readSettings(directory))['primary_conninfo']?.includes(String(far.port)) ===
      true;
    expect(await isSetUp()).toBe(true);
    // It streams from elsewhere still, with a slot that the site leader may need.
    site.history = { timeline: timeline(1), branches: [] };
    delete context.notes.site;
    Object.assign(role, { walReceiver: { status: 'streaming', stream: 'one', senderPort: 1 } });
    await pass().catch(() => undefined);
    expect(await isSetUp()).toBe(false);
  } finally {
    far.close();
    close();
  }
});
