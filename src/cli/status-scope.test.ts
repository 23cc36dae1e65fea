// `status --group` and `--formation`: what is left of a status, and of many groups a line each.
import { describe, expect, it } from 'vitest';
import type { GroupView, StatusView, WatchedView } from '../transport/types.ts';
import { healthOf } from './health.ts';
import { plain } from './paint.ts';
import { renderStatus } from './render-status.ts';
import { scoped } from './status-scope.ts';
import { fakeAdmin, run } from './testing/fake-context.ts';
import { FENCING, HEALTHY } from './testing/views.ts';

const [MAIN] = HEALTHY.groups;
const named = (group: string, formation?: string, like: GroupView | undefined = MAIN): GroupView => {
  if (like === undefined) throw new Error('no group');
  const of = (node: string): string => `${group}${node.slice(2)}`;
  const nodes = like.nodes.map((node) => ({ ...node, node: of(node.node) }));
  return {
    ...like,
    group,
    nodes,
    primary: of(like.primary ?? ''),
    ...(formation === undefined ? {} : { formation }),
  };
};
const FAR: WatchedView = {
  ...{
    server: 'far',
    address: '10.0.5.1:5432',
    formation: 'abroad',
    state: 'up',
    role: 'standby',
    timeline: 7,
  },
  ...{ lsn: '16/B374D848', lagBytes: 2048, lagMs: 1500, heldDownBy: [], message: undefined },
};
const DOWN: WatchedView = {
  ...FAR,
  state: 'down',
  heldDownBy: ['a: refused', 'b: no-answer'],
  lsn: undefined,
};
const TWO: StatusView = {
  ...HEALTHY,
  groups: [named('main', 'default'), named('orders', 'abroad', FENCING.groups[0])],
  warnings: ['of all', 'of main', 'of orders'],
  warningGroups: ['', 'main', 'orders'],
  watched: [FAR],
};
const MANY: StatusView = {
  ...HEALTHY,
  groups: ['a', 'b', 'c', 'd'].map((name) => named(name)).concat(TWO.groups),
};
const picture = (status: StatusView, width = 100): string =>
  renderStatus(status, { width, paint: plain, events: [] }).join('\n');

describe('of a status is left', () => {
  it('one group, with its warnings and those of the cluster', () => {
    const left = scoped(TWO, { group: 'main' });
    expect(left.groups.map(({ group }) => group)).toEqual(['main']);
    expect(left.warnings).toEqual(['of all', 'of main']);
    expect(left.watched).toEqual([]);
    expect(healthOf(left).word).toBe('degraded');
  });

  it('a formation, with its watched servers', () => {
    const left = scoped(TWO, { formation: 'abroad' });
    expect(left.groups.map(({ group }) => group)).toEqual(['orders']);
    expect(left).toMatchObject({ warnings: ['of all', 'of orders'], watched: [FAR] });
  });

  it('nothing where a name is not there: that is said, with those that are', () => {
    expect(() => scoped(TWO, { group: 'order' })).toThrow(
      'there is no group "order" in shop; there are: main, orders',
    );
    expect(() => scoped(TWO, { formation: 'x' })).toThrow(
      'there is no formation "x" in shop; there are: abroad, default',
    );
    expect(() => scoped(TWO, { group: 'main', formation: 'abroad' })).toThrow(
      'group main is in formation default, not abroad',
    );
  });
});

describe('the picture', () => {
  it('of many groups has a line for each, and in full those in trouble', () => {
    const text = picture(MANY);
    expect(text).toContain(`6 groups; sentinelctl status --group NAME shows one in full
  GROUP   FORMATION  PHASE    PRIMARY  TL  WELL  COMMITS ARE ON`);
    expect(text).toMatch(/\n {2}a +default +running +a1 +3 +3\/3 +1 of pg2, pg3\n/);
    expect(text).toMatch(/\n {2}orders +abroad +fencing /);
    expect(text).toContain('\ngroup orders: fencing, ');
    expect(text).not.toContain('\ngroup a: ');
  });

  it('of servers that are only watched', () => {
    expect(picture({ ...HEALTHY, watched: [FAR] })).toContain(`
only watched: nothing is done to them
  WATCHED  ROLE     STATE  TL  LSN            REPLAY LAG  FORMATION  ADDRESS
  far      standby  up      7  16/B374D848  2.0 kB, 1.5s  abroad     10.0.5.1:5432
`);
    const text = picture({ ...HEALTHY, watched: [DOWN] });
    expect(text).toMatch(/^shop: degraded, [^]*\n {2}- far, which is only watched, is down\n/);
    expect(text).toContain('    ! held for down by a: refused, b: no-answer\n');
  });

  it('tells a witness by its own word', () => {
    const peers = HEALTHY.peers.map((peer) =>
      peer.peer === 'c' ? { ...peer, reachable: false, runs: '' } : peer,
    );
    const [group] = HEALTHY.groups;
    if (group === undefined) throw new Error('no group');
    const nodes = group.nodes.filter(({ peer }) => peer !== 'c');
    expect(picture({ ...HEALTHY, peers, groups: [{ ...group, nodes }] })).toMatch(
      /\n {2}c +\S+ +lost .* witness /,
    );
  });
});

describe('the commands', () => {
  const admin = () => ({ admin: fakeAdmin({ shown: TWO }) });

  it('show what is asked for', async () => {
    const { stdout } = await run(['status', '--group', 'main'], admin());
    expect(stdout).toContain('group main: running');
    expect(stdout).not.toContain('group orders');
    const { stdout: json } = await run(['status', '--formation', 'abroad', '-o', 'json'], admin());
    expect((JSON.parse(json) as StatusView).groups.map(({ group }) => group)).toEqual(['orders']);
    expect(await run(['status', '--group', 'nope'], admin())).toMatchObject({ exitCode: 1, stdout: '' });
  });

  it('check a watched server', async () => {
    const check = async (server: WatchedView) =>
      run(['node', 'check', 'far'], { admin: fakeAdmin({ shown: { ...HEALTHY, watched: [server] } }) });
    expect(await check(FAR)).toMatchObject({
      exitCode: 0,
      stdout: 'OK - far: standby, only watched, 2.0 kB behind | lag=2048B;67108864;1073741824;0\n',
    });
    expect(await check(DOWN)).toMatchObject({
      exitCode: 2,
      stdout: expect.stringContaining('CRITICAL - far: it is down (a: refused, b: no-answer)'),
    });
    expect(await check({ ...FAR, state: 'unknown' })).toMatchObject({ exitCode: 3 });
    expect(await check({ ...FAR, role: 'none', message: 'not let in' })).toMatchObject({
      exitCode: 3,
      stdout: expect.stringContaining('its role is not known: not let in'),
    });
    expect(await check({ ...FAR, lagBytes: 2 ** 31 })).toMatchObject({
      exitCode: 2,
      stdout: expect.stringContaining('it has 2.0 GB to replay'),
    });
  });

  it('refuse two groups at once', async () => {
    expect(await run(['pause', 'main', '--group', 'orders'], admin())).toMatchObject({
      exitCode: 2,
      stderr: 'sentinelctl: main and --group orders are given; name one group\n',
    });
  });
});
