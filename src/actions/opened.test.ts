// A node that somebody has opened while its group followed another site is known by that for as long as its data directory is the same member.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { epoch, makeMemberId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { writeNewMember } from '../postgres/member.ts';
import type { AgentContext } from './context.ts';
import { carryOutCut } from './failover-duties.ts';
import { forgetOpened, markOpened } from '../postgres/opened-marker.ts';
import { strangeReason, wasOpened } from './opened.ts';
import { PRIMARY, fakeContext } from './testing/context.ts';
import { IN_ARCHIVE_RECOVERY, IN_PRODUCTION, writeControl } from '../postgres/testing/control-file.ts';

const MEMBER = makeMemberId(nodeId('a'), '00000001');

let dataDirectory: string;
beforeEach(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-opened-'));
});
afterEach(async () => {
  await rm(dataDirectory, { recursive: true });
  await rm(`${dataDirectory}.passfile`, { recursive: true, force: true });
});

test('it is remembered where PostgreSQL has run as a standby since', async () => {
  const context = fakeContext({ dataDirectory });
  context.isRunning = false;
  await writeControl(dataDirectory, IN_ARCHIVE_RECOVERY);
  expect(await wasOpened(context, MEMBER)).toBe(false);
  await writeControl(dataDirectory, IN_PRODUCTION);
  expect(await wasOpened(context, MEMBER)).toBe(true);
  await writeControl(dataDirectory, IN_ARCHIVE_RECOVERY);
  expect(await wasOpened(context, MEMBER)).toBe(true);
  context.isRunning = true;
  expect(await wasOpened(context, MEMBER)).toBe(true);
});

test('of another copy nothing is remembered, and a clone that was not started yet was opened by nobody here', async () => {
  const context = fakeContext({ dataDirectory });
  context.isRunning = false;
  await writeControl(dataDirectory, IN_PRODUCTION);
  for (const name of ['backup_label', 'standby.signal']) await writeFile(join(dataDirectory, name), '');
  expect(await wasOpened(context, MEMBER)).toBe(false);
  await rm(join(dataDirectory, 'backup_label'));
  expect(await wasOpened(context, MEMBER)).toBe(true);
  await writeControl(dataDirectory, IN_ARCHIVE_RECOVERY);
  expect(await wasOpened(context, makeMemberId(nodeId('a'), '00000002'))).toBe(false);
});

/** Its group has begun by following, and is being cut off; `cause` as the log has it. */
async function cutting(cause: object, control: typeof IN_PRODUCTION) {
  const context = fakeContext({ dataDirectory });
  const proposed: object[] = [];
  const said: string[] = [];
  await writeControl(dataDirectory, control);
  await writeFile(join(dataDirectory, 'PG_VERSION'), '15');
  await mkdir(`${dataDirectory}.passfile`, { recursive: true });
  await mkdir(join(dataDirectory, 'pg_wal'), { recursive: true });
  const { memberId: member } = await writeNewMember({
    ...{ dataDirectory, node: context.instance.options.node, owner: undefined },
    systemIdentifier: '1',
  });
  context.isRunning = false;
  const site = { history: { timeline: timeline(1), branches: [] }, opened: undefined };
  Object.assign(context, {
    fence: { raise: () => Promise.resolve() },
    group: () => ({ toAdopt: [], site, phase: { kind: 'fencing', cause, reports: [] } }),
    registration: () => ({ member }),
    localMember: () => member,
    propose: (command: object) => Promise.resolve(proposed.push(command)),
    activity: (_: string, message: string) => said.push(message),
  });
  Object.assign(context.instance, { startAs: () => Promise.reject(new Error('it was started')) });
  const { group, incarnation, slots } = PRIMARY;
  const duty = { kind: 'cut', wasPrimary: false, group, incarnation, epoch: epoch(9), slots } as const;
  return {
    ...{ proposed, said, member },
    cut: () => carryOutCut(context as unknown as AgentContext, duty, new AbortController().signal),
  };
}

test('when its site is promoted it is not started, and reports apart from the others', async () => {
  const { proposed, said, cut } = await cutting({ kind: 'followed' }, IN_PRODUCTION);
  await cut();
  expect(proposed).toMatchObject([{ kind: 'cut-report', isStrange: true, stopped: true }]);
  expect(said.at(-1)).toMatch(/somebody opened it for writes/);
});

test.each(['down', 'promotion-failed', 'forced', 'recovered'])(
  'a mark counts in every cut of that group, also in one for %s, and only a mark does there',
  async (kind) => {
    const { proposed, member, cut } = await cutting({ kind }, IN_PRODUCTION);
    await expect(cut()).rejects.toThrow('it was started');
    await markOpened({ dataDirectory, member, owner: undefined });
    await cut();
    expect(proposed).toMatchObject([{ kind: 'cut-report', isStrange: true }]);
  },
);

test.each(['followed', 'forced'])(
  'a node that a person names is started and cut as any other (%s)',
  async (kind) => {
    const { cut } = await cutting({ kind, to: nodeId('a') }, IN_PRODUCTION);
    await expect(cut()).rejects.toThrow('it was started');
  },
);

describe('what a node stands on', () => {
  const branch = (on: number, parent: number, at: bigint) => ({
    ...{ timeline: timeline(on), parent: timeline(parent), switchLsn: lsn(at) },
  });
  const history = { timeline: timeline(3), branches: [branch(2, 1, 0x64n), branch(3, 2, 0x96n)] };
  const phase = { kind: 'following', primary: nodeId('a'), isDoubtful: false } as const;
  const reason = (on: number, site: object = {}, more: object = {}) =>
    strangeReason({ site: { history, opened: undefined, ...site }, phase, ...more }, dataDirectory, {
      member: MEMBER,
      timeline: timeline(on),
    });
  beforeEach(() => mkdir(join(dataDirectory, 'pg_wal')));

  test('is known by what the other site has told, and began as there', async () => {
    await writeFile(join(dataDirectory, 'pg_wal/00000002.history'), '1\t0/64\tno reason\n');
    expect(await reason(1)).toBeUndefined();
    expect(await reason(2)).toBeUndefined();
    expect(await reason(4)).toMatch(/timeline 4, which the other site is not known to have/);
    expect(await reason(1, { history: undefined })).toMatch(/timeline 1, which/);
    await writeFile(join(dataDirectory, 'pg_wal/00000002.history'), '1\t0/65\tno reason\n');
    expect(await reason(2)).toMatch(/timeline 2 is another one/);
  });

  test('is the business of the log where that assigned it, and where the log was recovered', async () => {
    expect(await reason(20, { opened: timeline(20) })).toBeUndefined();
    expect(await reason(19, { opened: timeline(20) })).toMatch(/timeline 19, which/);
    const fencing = { kind: 'fencing', cause: { kind: 'recovered' } };
    expect(await reason(7, {}, { phase: fencing })).toBeUndefined();
  });

  test('is not asked in a group that never followed', async () => {
    await markOpened({ dataDirectory, member: MEMBER, owner: undefined });
    expect(
      await strangeReason({ phase }, dataDirectory, { member: MEMBER, timeline: timeline(9) }),
    ).toBeUndefined();
    expect(await reason(1)).toMatch(/opened it for writes/);
  });

  test('a mark is gone once it is to be promoted on a person\u2019s word', async () => {
    await markOpened({ dataDirectory, member: MEMBER, owner: undefined });
    await forgetOpened(dataDirectory);
    expect(await reason(1)).toBeUndefined();
  });
});
