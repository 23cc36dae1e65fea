// What a person asks of a node's PostgreSQL is not done where its part in the log is another than was seen, nor where the log does not answer.
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nodeId } from '../base/ids.ts';
import type { Duty } from '../failover/duties.ts';
import { inspectDataDirectory } from './data-directory.ts';
import { type NodeRequest, carryOutNodeRequest } from './node-requests.ts';
import { FOLLOW, PRIMARY, fakeContext } from './testing/context.ts';

let dataDirectory: string;
beforeEach(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'requests-'));
});
afterEach(() => rm(dataDirectory, { recursive: true }));

const { kind: _kind, upstream: _upstream, branches: _branches, isCounted: _isCounted, ...BASE } = FOLLOW;
const ASIDE: Duty = { ...BASE, kind: 'hands-off', reason: 'paused' };
const PAUSED: Duty = { ...PRIMARY, isPaused: true };
const RESTART: NodeRequest = { kind: 'restart', as: 'standby' };
const IN_PLACE: NodeRequest = { kind: 'restart', as: 'primary' };
const REINIT: NodeRequest = { kind: 'reinit', obstacle: () => undefined };

function example(duty: Duty, role: 'primary' | 'standby' = 'standby') {
  const context = fakeContext({ dataDirectory });
  const scene = { duty };
  Object.assign(context, { duty: () => scene.duty, clearUnexpectedEnd: () => undefined });
  Object.assign(context.instance, { readRole: () => Promise.resolve({ kind: role }) });
  let dutyCount = 0;
  const ask = (request: NodeRequest): Promise<string> =>
    carryOutNodeRequest(
      context,
      request,
      () => {
        dutyCount += 1;
        context.isRunning = true;
        return Promise.resolve();
      },
      new AbortController().signal,
    );
  return { context, scene, ask, dutyCount: () => dutyCount };
}

describe('restart of a standby', () => {
  test('stops it while it is aside', async () => {
    const { context, ask } = example(ASIDE);
    expect(await ask(RESTART)).toBe('its PostgreSQL was stopped');
    expect(context.stops).toEqual([60_000]);
  });

  test.each<[string, Duty, boolean, 'primary' | 'standby', RegExp]>([
    ['has come back into the rule', FOLLOW, true, 'standby', /another by now \(follow\)/],
    ['has become the primary', PAUSED, true, 'primary', /another by now \(primary\)/],
    ['is promoted', { ...BASE, kind: 'cut', wasPrimary: false }, true, 'standby', /another by now \(cut\)/],
    ['cannot ask the log', ASIDE, false, 'standby', /the log cannot be read/],
    ['runs as a primary', ASIDE, true, 'primary', /runs as a primary/],
  ])('not of one that %s', async (_what, duty, isConfirmed, role, reason) => {
    const { context, ask } = example(duty, role);
    context.isConfirmed = isConfirmed;
    await expect(ask(RESTART)).rejects.toThrow(reason);
    await expect(ask(REINIT)).rejects.toThrow(reason);
    expect(context.stops).toEqual([]);
    expect(await readdir(dataDirectory)).toEqual([]);
  });
});

describe('restart of a primary', () => {
  test('stops it and has its duty start it again, while its group is paused', async () => {
    const { context, ask, dutyCount } = example(PAUSED, 'primary');
    expect(await ask(IN_PLACE)).toBe('its PostgreSQL was restarted');
    expect([context.stops, dutyCount()]).toEqual([[60_000], 1]);
  });

  test.each<[string, Duty, boolean, RegExp]>([
    ['whose group would fail over', PRIMARY, true, /its group is not paused/],
    ['that is none any more', FOLLOW, true, /another by now \(follow\)/],
    ['that cannot ask the log', PAUSED, false, /the log cannot be read/],
  ])('not of one %s', async (_what, duty, isConfirmed, reason) => {
    const { context, ask, dutyCount } = example(duty, 'primary');
    context.isConfirmed = isConfirmed;
    await expect(ask(IN_PLACE)).rejects.toThrow(reason);
    expect([context.stops, dutyCount()]).toEqual([[], 0]);
  });
});

describe('reinit', () => {
  test('stops it and leaves its data directory fit only for a clone', async () => {
    const { context, ask } = example(ASIDE);
    expect(await ask(REINIT)).toBe('its data directory is replaced by a clone');
    expect(context.stops).toEqual([60_000]);
    expect(await readdir(dataDirectory)).toEqual(['pg_sentinel_reinit']);
  });

  test('what lies in the directory is ours, and to be replaced', async () => {
    const { ask } = example(ASIDE);
    await ask(REINIT);
    await writeFile(join(dataDirectory, 'PG_VERSION'), '15\n');
    expect(await inspectDataDirectory(dataDirectory, nodeId('a'))).toEqual({
      kind: 'unfit',
      reason: 'sentinelctl node reinit was asked for',
    });
  });

  test('the primary is asked for before the stop and after it', async () => {
    const { context, ask } = example(ASIDE);
    const none: NodeRequest = { kind: 'reinit', obstacle: () => 'its primary a is not known to run' };
    await expect(ask(none)).rejects.toThrow('its data directory was left as it is');
    expect(context.stops).toEqual([]);
    const gone: NodeRequest = {
      kind: 'reinit',
      obstacle: () => (context.isRunning ? undefined : 'its primary a is not known to run'),
    };
    await expect(ask(gone)).rejects.toThrow('its data directory was left as it is');
    expect(context.stops).toHaveLength(1);
    expect(await readdir(dataDirectory)).toEqual([]);
  });

  test('not of one whose part changes while it stops', async () => {
    const { context, scene, ask } = example(ASIDE);
    const { stop } = context.instance;
    Object.assign(context.instance, {
      stop(options: Parameters<typeof stop>[0]) {
        scene.duty = FOLLOW;
        return stop(options);
      },
    });
    await expect(ask(REINIT)).rejects.toThrow(/another by now \(follow\)/);
    expect(await readdir(dataDirectory)).toEqual([]);
  });
});

test('a site leader is not given up while the other site does not answer', async () => {
  const { context, ask } = example({ ...FOLLOW, upstream: { ...FOLLOW.upstream, site: 'outside' } });
  const source = {
    servers: [{ host: '127.0.0.1', port: 1 }],
    account: { name: 'second', password: 'secret' },
    ...{ slot: undefined, parameters: {}, applicationName: 'second' },
  };
  Object.assign(context.instance.options, { source });
  await expect(ask(REINIT)).rejects.toThrow(/no server of the other site takes writes .* left as it is/);
  expect(context.stops).toEqual([]);
  expect(await readdir(dataDirectory)).toEqual([]);
});
