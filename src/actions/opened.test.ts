// A node that somebody has opened while its group followed another site is known by that for as long as its data directory is the same member.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { epoch, makeMemberId, nodeId } from '../base/ids.ts';
import { writeNewMember } from '../postgres/member.ts';
import type { AgentContext } from './context.ts';
import { carryOutCut } from './failover-duties.ts';
import { wasOpened } from './opened.ts';
import { PRIMARY, fakeContext } from './testing/context.ts';
import { IN_ARCHIVE_RECOVERY, IN_PRODUCTION, writeControl } from './testing/control-file.ts';

const MEMBER = makeMemberId(nodeId('a'), '00000001');

let dataDirectory: string;
beforeEach(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-opened-'));
});
afterEach(() => rm(dataDirectory, { recursive: true }));

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

test('when its site is promoted it is neither started nor reported', async () => {
  const context = fakeContext({ dataDirectory });
  const done: string[] = [];
  await writeControl(dataDirectory, IN_PRODUCTION);
  await writeFile(join(dataDirectory, 'PG_VERSION'), '15');
  const { memberId: member } = await writeNewMember({
    ...{ dataDirectory, node: context.instance.options.node, owner: undefined },
    systemIdentifier: '1',
  });
  context.isRunning = false;
  Object.assign(context, {
    fence: { raise: () => Promise.resolve() },
    group: () => ({ toAdopt: [], phase: { kind: 'fencing', cause: { kind: 'followed' }, reports: [] } }),
    registration: () => ({ member }),
    localMember: () => member,
    propose: ({ kind }: { readonly kind: string }) => Promise.resolve(done.push(kind)),
    activity: (_: string, message: string) => done.push(message),
  });
  Object.assign(context.instance, { startAs: () => Promise.reject(new Error('it was started')) });
  const { group, incarnation, slots } = PRIMARY;
  const duty = { kind: 'cut', wasPrimary: false, group, incarnation, epoch: epoch(9), slots } as const;
  await carryOutCut(context as unknown as AgentContext, duty, new AbortController().signal);
  expect(done).toEqual([expect.stringContaining('somebody opened it for writes')]);
});
