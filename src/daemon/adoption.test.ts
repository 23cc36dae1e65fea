// What stands against making a group of the servers that were found, and what is proposed where nothing does.
import { describe, expect, test } from 'vitest';
import { type NodeId, timeline } from '../base/ids.ts';
import { ADOPTION_FEATURE_LEVEL } from '../cluster/features.ts';
import type { Command } from '../cluster/commands.ts';
import type { FoundServer } from '../cluster/report.ts';
import { A, B, C, GROUP, newLog, registration, running } from '../cluster/testing/example.ts';
import { viewOf } from '../failover/testing/view.ts';
import { addressesOf, adopt } from './adoption.ts';

const FOUND: FoundServer = {
  ...{ role: 'standby', version: '15.4', timeline: timeline(3), upstream: { host: 'a', port: 5432 } },
  ...{ freeSlots: 5, kept: ["work_mem = '7MB'"], replaced: [], hba: ['host all all all md5'] },
  ...{ notices: ['a notice'], problems: [] },
};
const PRIMARY: FoundServer = { ...FOUND, role: 'primary', upstream: undefined };
type Servers = { readonly [node: string]: Partial<FoundServer> | undefined };
const WELL: Servers = { a: PRIMARY, b: {}, c: {} };

function ask(options: {
  readonly servers?: Servers;
  readonly systems?: { readonly [node: string]: string | undefined };
  readonly silent?: NodeId;
  readonly dryRun?: boolean;
  readonly level?: number;
}) {
  const { servers = WELL, systems = {}, silent, dryRun = false, level = ADOPTION_FEATURE_LEVEL } = options;
  const log = newLog({ ...newLog().state, featureLevel: level });
  for (const node of [A, B, C])
    log.must({ ...registration(node), systemIdentifier: node in systems ? systems[node] : '77' });
  const base = viewOf(log, 0, { a: {}, b: {}, c: {} });
  const reports = new Map(
    [...base.reports].flatMap(([node, seen]) => {
      const server = servers[node];
      const report = server === undefined ? seen.report : { ...seen.report, found: { ...FOUND, ...server } };
      return node === silent ? [] : [[node, { ...seen, report }] as const];
    }),
  );
  const proposed: Command[] = [];
  const outcome = adopt(
    {
      state: () => log.state,
      view: () => ({ ...base, reports }),
      propose: (command) => {
        proposed.push(command);
        const reason = log.commit(command);
        return Promise.resolve(
          reason === undefined ? { kind: 'applied', index: 1 } : { kind: 'refused', reason },
        );
      },
      signal: new AbortController().signal,
    } as Parameters<typeof adopt>[0],
    { kind: 'adopt', group: undefined, dryRun },
    (host) => Promise.resolve([`10.0.0.${host.charCodeAt(0)}`]),
  );
  return outcome.then((answer) => ({ answer, proposed, log }));
}

test('a primary and its standbys become a group', async () => {
  const { answer, proposed, log } = await ask({});
  expect(answer).toMatchObject({
    kind: 'done',
    detail: expect.stringMatching(/a goes on as it is; b, c are/),
  });
  expect(proposed).toMatchObject([{ kind: 'adopt-group', primary: A, standbys: [B, C], timeline: 3 }]);
  expect(log.group.toAdopt).toEqual([B, C, A]);
  // Whoever did not look at a plan has to know as well.
  expect(answer.kind === 'done' && answer.detail).toMatch(/status --watch\n- a: a notice\n- b: a notice\n/);
});

test('a plan shows what was found of each node, and proposes nothing', async () => {
  const { answer, proposed } = await ask({ dryRun: true });
  expect(proposed).toEqual([]);
  const text = answer.kind === 'done' ? answer.detail : '';
  expect(text).toMatch(/^would adopt group main: /);
  expect(text).toContain('b: PostgreSQL 15.4, standby of a:5432, system identifier 77, timeline 3');
  expect(text).toContain("    work_mem = '7MB'");
  expect(text).toContain('    host all all all md5');
  expect(text).toContain('    a notice');
});

test('a standby by another name of its primary, and one of another standby, belong to it', async () => {
  const { answer } = await ask({
    servers: {
      ...WELL,
      b: { upstream: { host: '10.0.0.97', port: 5432 } },
      c: { upstream: { host: 'b', port: 5432 } },
    },
  });
  // The resolver of this test knows a host by its first letter.
  expect(answer).toMatchObject({ kind: 'done' });
});

test('a name server that does not answer is not waited for', async () => {
  expect(await addressesOf('a', () => new Promise(() => undefined), 10)).toEqual([]);
  expect(await addressesOf('a', () => Promise.reject(new Error('no such host')))).toEqual([]);
  expect(await addressesOf('a', () => Promise.resolve([{ address: '10.0.0.1' }]))).toEqual(['10.0.0.1']);
});

describe('it is refused', () => {
  test.each<readonly [string, Parameters<typeof ask>[0], RegExp]>([
    ['two primaries', { servers: { ...WELL, b: PRIMARY } }, /two primaries: a, b/],
    ['no primary', { servers: { ...WELL, a: {} } }, /no primary runs/],
    ['another database', { systems: { c: '78' } }, /c has system identifier 78, a 77: another database/],
    [
      'a standby of something else',
      { servers: { ...WELL, c: { upstream: { host: 'x', port: 5432 } } } },
      /c streams from x:5432, which is the address of no node/,
    ],
    [
      'another major version',
      { servers: { ...WELL, c: { version: '14.9' } } },
      /c is version 14.9, a is 15.4/,
    ],
    ['what an agent says', { servers: { ...WELL, b: { problems: ['repmgrd runs'] } } }, /b: repmgrd runs/],
    ['an agent that is silent', { silent: B }, /the agent of b does not answer/],
    [
      'data without a server',
      { servers: { ...WELL, c: undefined } },
      /c has a data directory, and no server/,
    ],
    [
      'too few slots',
      { servers: { ...WELL, a: { ...PRIMARY, freeSlots: 1 } } },
      /a has 1 free replication slots/,
    ],
    ['too few slots on a standby', { servers: { ...WELL, c: { freeSlots: 1 } } }, /c has 1 free replication/],
    ['an older peer', { level: ADOPTION_FEATURE_LEVEL - 1 }, /upgrade all of them/],
  ])('for %s', async (_, options, reason) => {
    for (const dryRun of [false, true]) {
      const { answer, proposed } = await ask({ ...options, dryRun });
      expect(answer).toMatchObject({ kind: 'refused', reason: expect.stringMatching(reason) });
      expect(proposed).toEqual([]);
    }
  });

  test('for a node without data there is no need: it is cloned', async () => {
    const { answer } = await ask({ servers: { ...WELL, c: undefined }, systems: { c: undefined } });
    expect(answer).toMatchObject({ kind: 'done' });
  });

  test('for a group that exists, by name or not', async () => {
    const log = newLog({ ...running().state, featureLevel: ADOPTION_FEATURE_LEVEL });
    const options = { state: () => log.state } as Parameters<typeof adopt>[0];
    for (const [group, reason] of [
      [GROUP, /exists already/],
      [undefined, /^group main exists already; there is nothing to adopt$/],
    ] as const)
      expect(await adopt(options, { kind: 'adopt', group, dryRun: false })).toMatchObject({
        kind: 'refused',
        reason: expect.stringMatching(reason),
      });
  });
});
