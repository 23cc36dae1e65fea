// `sentinelctl node check` as a program for monitoring calls it: one line for each node on standard output, and the exit code of the worst.
import { describe, expect, it } from 'vitest';
import type { StatusView } from '../transport/types.ts';
import { fakeAdmin, run } from './testing/fake-context.ts';
import { upkept } from './testing/upkept.ts';
import { DEGRADED, HEALTHY } from './testing/views.ts';

function check(line: string, shown: StatusView | Error = upkept(HEALTHY)) {
  return run(['node', 'check', ...line.split(' ').filter(Boolean)], {
    admin: shown instanceof Error ? shown : fakeAdmin({ shown }),
  });
}

it('one node that is well', async () => {
  expect(await check('pg3')).toEqual({
    stdout:
      'OK - pg3: streams from pg1, 328 B behind, 55 % of its disk free | lag=328B;67108864;1073741824;0 data_free=55%;15:;5:;0;100 slots_kept=16777216B;1073741824;10737418240;0\n',
    stderr: '',
    exitCode: 0,
  });
});

it('all nodes: the exit code of the worst, figures with the name of the node', async () => {
  const { stdout, exitCode } = await check('', upkept(DEGRADED));
  expect(exitCode).toBe(1);
  expect(stdout.split('\n').map((line) => line.split(' | ')[0])).toEqual([
    'WARNING - pg1: it is rewinding: rewinding to timeline 4, which left timeline 3 at 16/B374D848',
    'OK - pg2: primary, 55 % of its disk free',
    'UNKNOWN - pg3: its agent does not report',
    '',
  ]);
  expect(stdout).toContain(' pg2_slots_kept=16777216B;');
});

it('what is only not reported yet is waited for; what is wrong already is said at once', async () => {
  const late = (shown: StatusView): StatusView => ({
    ...shown,
    groups: shown.groups.map((group) => ({
      ...group,
      nodes: group.nodes.map((node) => (node.node === 'pg3' ? { ...node, upkeep: undefined } : node)),
    })),
  });
  const showing = async (shown: StatusView): Promise<{ code: number | undefined; asked: number }> => {
    let asked = 0;
    const status = (): Promise<StatusView> => Promise.resolve((asked += 1) < 3 ? late(shown) : shown);
    const { exitCode } = await run(['node', 'check'], { admin: { ...fakeAdmin(), status } });
    return { code: exitCode, asked };
  };
  expect(await showing(upkept(HEALTHY))).toEqual({ code: 0, asked: 3 });
  expect(await showing(upkept(DEGRADED))).toEqual({ code: 1, asked: 1 });
});

it('limits are those that are given', async () => {
  expect((await check('pg3 --warning-lag 327B --critical-lag 1kB')).stdout).toMatch(
    /^WARNING - pg3: it is 328 B behind \| lag=328B;327;1024;0 /,
  );
  expect((await check('pg3 --warning-free 60% --critical-free 56')).stdout).toMatch(
    /^CRITICAL - pg3: its disk has 55 % free \| .*data_free=55%;60:;56:;0;100/,
  );
  expect((await check('pg1 --warning-kept 1MB')).exitCode).toBe(1);
});

it('as JSON', async () => {
  const { stdout, exitCode } = await check('pg2 --json');
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    level: 'OK',
    exitCode: 0,
    nodes: [{ node: 'pg2', group: 'main', level: 'OK', findings: [], figures: [{ label: 'lag' }, {}, {}] }],
  });
});

describe('what cannot be checked is UNKNOWN, on standard output', () => {
  it.each([
    ['pg9', /there is no node pg9; there are pg1, pg2, pg3/],
    ['PG', /"PG" is not the name of a node/],
    ['pg1 --warning-lag 2GB', /--warning-lag 2147483648 is above --critical-lag 1073741824/],
    ['--warning-free 3', /--warning-free 3 is below --critical-free 5/],
  ])('%s', async (line, text) => {
    const { stdout, exitCode } = await check(line);
    expect(stdout).toMatch(/^UNKNOWN - [^|]*\n$/);
    expect([stdout, exitCode]).toEqual([expect.stringMatching(text), 3]);
  });

  it.each(['--warning-lag 5', '--warning-free 101', '--critical-ready x', '--nonsense', 'pg1 pg2'])(
    'wrong use: %s',
    async (line) => {
      const { stdout, exitCode } = await check(line);
      expect([stdout, exitCode]).toEqual([expect.stringMatching(/^UNKNOWN - [^\n]+\n$/), 3]);
    },
  );

  it('no peer answers', async () => {
    const { stdout, exitCode } = await check('', new Error('no peer answers'));
    expect([stdout, exitCode]).toEqual(['UNKNOWN - no peer answers\n', 3]);
  });

  it('help is no trouble', async () => {
    const { exitCode, stdout } = await check('--help');
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining('--critical-lag <bytes>')]);
  });
});

it('a bar or a line end in a message does not begin figures or lines', async () => {
  const shown = upkept(HEALTHY);
  const [group] = shown.groups;
  if (group === undefined) throw new Error('no group');
  const nodes = group.nodes.map((node) => ({ ...node, message: 'a|b\nc' }));
  const { stdout } = await check('pg1', { ...shown, groups: [{ ...group, nodes }] });
  expect(stdout).toMatch(/^WARNING - pg1: a b c \| /);
});
