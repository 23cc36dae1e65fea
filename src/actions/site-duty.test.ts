// A node of a site that asks for its upstream: nothing that is due waits for the answer.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
  const receiver = { status: 'streaming', pid: 1 };
  const role = { kind: 'standby', walReceiver: receiver, synchronousStandbyNames: 'nobody' };
  Object.assign(context.instance, { readRole: () => Promise.resolve(role) });
  const duty = { ...DUTY, slots: [makeMemberId(nodeId('b'), '00000002')] };
  await expect(carryOutSite(context, duty, new AbortController().signal)).rejects.toThrow(
    /no node.follow any more/,
  );
  expect(kept).toEqual(['slots b_00000002']);
});

test.each([
  ['is set up for the other site where its timeline began as there', '0/32', true],
  ['is never set up for it where only the number of its timeline is the same', '0/31', false],
])('a standby %s', async (_, began, isSetUp) => {
  const far = await startWalsender(() => ({
    'SHOW in_hot_standby': { in_hot_standby: 'off' },
    IDENTIFY_SYSTEM: { systemid: '77', timeline: '2', xlogpos: '0/64', dbname: null },
    'TIMELINE_HISTORY 2': { filename: '00000002.history', content: '1\t0/32\tno reason\n' },
  }));
  mkdirSync(join(directory, 'pg_wal'));
  mkdirSync(`${directory}.passfile`, { recursive: true });
  writeFileSync(join(directory, 'pg_wal/00000002.history'), `1\t${began}\tno reason\n`);
  writeFileSync(join(directory, 'standby.signal'), '');
  try {
    const context = standby({ group: () => ({ systemIdentifier: '77' }) });
    Object.assign(context, { systemIdentifier: '77' });
    const source = { ...context.instance.options.source, servers: [{ host: '127.0.0.1', port: far.port }] };
    Object.assign(context.instance.options, { source });
    const lsns = { receiveLsn: lsn(0x40n), replayLsn: lsn(0x40n) };
    const role = { kind: 'standby', timeline: timeline(2), walReceiver: undefined, ...lsns };
    Object.assign(context.instance, {
      readRole: () => Promise.resolve(role),
      setSynchronousStandbys: () => Promise.resolve(),
    });
    // To say where it stands once it is cut off takes a PostgreSQL.
    await carryOutSite(context, DUTY, new AbortController().signal).catch(() => undefined);
    const { primary_conninfo = '' } = Object.fromEntries(await readSettings(directory));
    expect(primary_conninfo.includes(String(far.port))).toBe(isSetUp);
    expect(context.notes.site !== undefined).toBe(isSetUp);
  } finally {
    far.close();
    rmSync(`${directory}.passfile`, { recursive: true });
  }
});
