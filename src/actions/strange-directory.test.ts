// A copy of the group's database that is not this node's is neither rewound nor replaced; what this node has left half-way is.
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nodeId } from '../base/ids.ts';
import { readMember, removeMember, writeNewMember } from '../postgres/member.ts';
import { carryOutFollow } from './follow-duty.ts';
import { type FakeContext, FOLLOW, fakeContext } from './testing/context.ts';

let dataDirectory: string;
let context: FakeContext;
let conditions: (string | undefined)[];
beforeEach(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-strange-'));
  await writeFile(join(dataDirectory, 'PG_VERSION'), '15\n');
  await writeFile(join(dataDirectory, 'postgresql.conf'), "port = '5432'\n");
  await writeFile(join(dataDirectory, 'pg_hba.conf'), 'local all all peer\n');
  conditions = [];
  context = Object.assign(fakeContext({ dataDirectory }), {
    isRunning: false,
    activity: (condition: string | undefined) => conditions.push(condition),
  });
  const { systemIdentifier } = context;
  Object.assign(context, {
    dataDirectory: async () => ({
      kind: 'ready',
      control: { systemIdentifier },
      member: await readMember({ dataDirectory, node: nodeId('a'), systemIdentifier }),
    }),
  });
});
afterEach(() => rm(dataDirectory, { recursive: true }));

/** Its way back begins, or it would where the upstream were ready. */
const follow = (duty: object = {}): Promise<unknown> =>
  carryOutFollow(
    context,
    { ...FOLLOW, upstream: { ...FOLLOW.upstream, isReady: false }, ...duty },
    new AbortController().signal,
  );
const isMemberOf = (node: string): Promise<unknown> =>
  writeNewMember({
    ...{ dataDirectory, node: nodeId(node), owner: undefined },
    systemIdentifier: context.systemIdentifier,
  });

describe('is left as it is until a person has said what is to become of it', () => {
  test('a database with nothing of ours in it', async () => {
    const before = await readdir(dataDirectory);
    await expect(follow()).rejects.toThrow(
      /cannot make a standby: .* holds a copy of the database that pg-sentinel has not made, .*move it away.*sentinelctl node reinit a /,
    );
    expect([await readdir(dataDirectory), context.stops, conditions]).toEqual([before, [], []]);
  });

  test('one whose member file names another node, though its settings are ours', async () => {
    await isMemberOf('b');
    await writeFile(join(dataDirectory, 'pg_sentinel.conf'), "cluster_name = 'demo'\n");
    await expect(follow()).rejects.toThrow(/is that of node b, or a copy of it, by its pg_sentinel_member/);
    expect([context.stops, conditions]).toEqual([[], []]);
  });

  test('one that runs is stopped, and no more', async () => {
    context.isRunning = true;
    await follow();
    expect(context.stops).toHaveLength(1);
    expect(context.announced).toEqual([expect.stringMatching(/it is stopped, for it has the database/)]);
    await expect(follow()).rejects.toThrow(/pg-sentinel has not made/);
  });
});

describe('comes back by itself', () => {
  test.each<[string, () => Promise<unknown>]>([
    [
      'one whose member id a rewind has taken away',
      async () => {
        await isMemberOf('a');
        await removeMember(dataDirectory);
        await writeFile(join(dataDirectory, 'pg_hba.conf'), '# Written by pg-sentinel; see x\n');
      },
    ],
    ['one with our settings', () => writeFile(join(dataDirectory, 'pg_sentinel.conf'), "port = '1'\n")],
    [
      'one that includes them',
      () => writeFile(join(dataDirectory, 'postgresql.conf'), "include 'pg_sentinel.conf'\n"),
    ],
    [
      'one whose member file is damaged',
      () => writeFile(join(dataDirectory, 'pg_sentinel_member.json'), '{'),
    ],
  ])('%s', async (_, leave) => {
    await leave();
    await follow();
    expect(conditions).toEqual(['stopped']);
  });

  test('one that is being adopted, whatever is in it', async () => {
    await follow({ isAdopted: true });
    expect(conditions).toEqual(['stopped']);
  });

  test('one that is not there', async () => {
    Object.assign(context, { dataDirectory: () => Promise.resolve({ kind: 'absent' }) });
    await follow();
    expect(conditions).toEqual(['absent']);
  });
});
