import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { Upkeep } from '../cluster/report.ts';
import type { StatusView } from '../transport/types.ts';
import { healthOf, NAGIOS } from './health.ts';
import { coloured, plain, wantsColour } from './paint.ts';
import { phaseTrail } from './phase-trail.ts';
import { renderStatus } from './render-status.ts';
import { DEGRADED, EVENTS, FENCING, HEALTHY, PROMOTING } from './testing/views.ts';

process.env['TZ'] = 'UTC';

const picture = (status: StatusView, width = 80, events = [] as typeof EVENTS): string =>
  renderStatus(status, { width, paint: plain, events }).join('\n');

describe('the picture', () => {
  it('of a healthy cluster', () => {
    expect(`\n${picture(HEALTHY, 100)}\n`).toMatchInlineSnapshot(`
      "
      shop: healthy, leader b (term 4), answered by a at 04:12:31

      group main: running, epoch 17, timeline 3, durability quorum
        every commit is on 1 of pg2, pg3
        NODE  ROLE     STATE      TL  LSN            LAG  SYNC    PEER  ADDRESS
        pg1   primary  running     3  16/B374D848      -  -       a     10.0.0.1:5432
        pg2   standby  streaming   3  16/B374D848    0 B  quorum  b     10.0.0.2:5432
        pg3   standby  streaming   3  16/B374D700  328 B  quorum  c     10.0.0.3:5432

      peers: 3 of 3 in contact, 2 decide, log at 421
        PEER  RAFT      CONTACT       LOG  NODES  ADDRESS
        a     follower  answered  current  pg1    10.0.0.1:7432
        b     leader    ok        current  pg2    10.0.0.2:7432
        c     follower  ok        current  pg3    10.0.0.3:7432
      "
    `);
  });

  it('of a healthy cluster in 80 columns', () => {
    expect(`\n${picture(HEALTHY)}\n`).toMatchInlineSnapshot(`
      "
      shop: healthy, leader b (term 4), answered by a at 04:12:31

      group main: running, epoch 17, timeline 3, durability quorum
        every commit is on 1 of pg2, pg3
        NODE  ROLE     STATE      TL  LSN            LAG  SYNC    PEER  ADDRESS
        pg1   primary  running     3  16/B374D848      -  -       a     10.0.0.1:5432
        pg2   standby  streaming   3  16/B374D848    0 B  quorum  b     10.0.0.2:5432
        pg3   standby  streaming   3  16/B374D700  328 B  quorum  c     10.0.0.3:5432

      peers: 3 of 3 in contact, 2 decide, log at 421
        PEER  RAFT      CONTACT       LOG  NODES  ADDRESS
        a     follower  answered  current  pg1    10.0.0.1:7432
        b     leader    ok        current  pg2    10.0.0.2:7432
        c     follower  ok        current  pg3    10.0.0.3:7432
      "
    `);
  });

  it('while the primary is cut off', () => {
    expect(`\n${picture(FENCING)}\n`).toMatchInlineSnapshot(`
      "
      shop: failing over, leader b (term 4), answered by a at 04:12:31
        - pg1 is being cut off (group main)

      group main: fencing, epoch 424, timeline 3, durability quorum
        cutting pg1 off; writes wait until a node that has every acknowledged commit
        is chosen
        NODE  ROLE     STATE    TL  LSN          LAG  SYNC  PEER  ADDRESS
        pg1   -        stopped   3  16/B374D848    ?  -     a     10.0.0.1:5432
          ! held for down by a: processes-gone, b: refused
        pg2   standby  cut       3  16/B374D848    ?  -     b     10.0.0.2:5432
        pg3   standby  running   3  16/B374D848    ?  -     c     10.0.0.3:5432

      peers: 3 of 3 in contact, 2 decide, log at 424
        PEER  RAFT      CONTACT       LOG  NODES  ADDRESS
        a     follower  answered  current  pg1    10.0.0.1:7432
        b     leader    ok        current  pg2    10.0.0.2:7432
        c     follower  ok        current  pg3    10.0.0.3:7432
      "
    `);
  });

  it('while a standby is promoted', () => {
    expect(`\n${picture(PROMOTING)}\n`).toMatchInlineSnapshot(`
      "
      shop: failing over, leader b (term 4), answered by a at 04:12:31
        - pg2 is being promoted (group main)

      group main: promoting, epoch 424, timeline 3, durability quorum
        promoting pg2; writes wait until it is open
        NODE  ROLE     STATE      TL  LSN          LAG  SYNC  PEER  ADDRESS
        pg1   -        stopped     3  16/B374D848    ?  -     a     10.0.0.1:5432
          ! held for down by a: processes-gone, b: refused
        pg2   standby  promoting   3  16/B374D848    ?  -     b     10.0.0.2:5432
        pg3   standby  cut         3  16/B374D848    ?  -     c     10.0.0.3:5432

      peers: 3 of 3 in contact, 2 decide, log at 427
        PEER  RAFT      CONTACT       LOG  NODES  ADDRESS
        a     follower  answered  current  pg1    10.0.0.1:7432
        b     leader    ok        current  pg2    10.0.0.2:7432
        c     follower  ok        current  pg3    10.0.0.3:7432
      "
    `);
  });

  it('after a failover, with the trail of phases and warnings', () => {
    expect(`\n${picture(DEGRADED, 100, EVENTS)}\n`).toMatchInlineSnapshot(`
      "
      shop: degraded, leader b (term 4), answered by a at 04:12:33
        - pg1 is rewinding
        - the agent of pg3 does not report
        - peer c cannot be reached from a

      group main: running, epoch 424, timeline 4, durability quorum
        every commit is on 1 of pg1, pg3; changing to alone
        NODE  ROLE     STATE      TL  LSN          LAG  SYNC  PEER  ADDRESS
        pg1   -        rewinding   3  16/B374D848    ?  -     a     10.0.0.1:5432
          ! rewinding to timeline 4, which left timeline 3 at 16/B374D848
        pg2   primary  running     4  16/B374D848    -  -     b     10.0.0.2:5432
        pg3   -        unknown     ?  ?              ?  -     c     10.0.0.3:5432

      peers: 2 of 3 in contact, 2 decide, log at 430
        PEER  RAFT      CONTACT        LOG  NODES  ADDRESS
        a     follower  answered   current  pg1    10.0.0.1:7432
        b     leader    ok         current  pg2    10.0.0.2:7432
        c     ?         lost      9 behind  pg3    10.0.0.3:7432

      latest phases
        04:12:31.012    +0ms  fencing    failover of group main begins: a quorum of peers holds the prima~
        04:12:31.062   +50ms  promoting  pg2 chosen for promotion to timeline 4; commits: 1 of pg1, pg3
        04:12:31.121  +109ms  running    pg2 is primary on timeline 4 from 16/B374D848

      warnings
        ! group main could not fail over now: only 1 of the 2 members that step 3 needs can be reached
      "
    `);
  });

  it.each([40, 60, 72, 80, 100, 132])('is never wider than %i columns', (width) => {
    for (const status of [HEALTHY, FENCING, PROMOTING, DEGRADED]) {
      for (const line of renderStatus(status, { width, paint: plain, events: EVENTS })) {
        expect(line.length).toBeLessThanOrEqual(width);
        expect(line).toBe(line.trimEnd());
      }
    }
  });

  it('of long names keeps role, state and LSN in 80 columns', () => {
    const long = 'a-very-long-node-name-of-31-chr';
    const [group] = HEALTHY.groups;
    const nodes = group!.nodes.map((node) => ({
      ...node,
      node: node.node === 'pg1' ? long : node.node,
      address: 'database-1.eu-central-1.example.com:5432',
    }));
    const text = picture({ ...HEALTHY, groups: [{ ...group!, primary: long, nodes }] });
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(text).toMatch(/primary +running +3 +16\/B374D848/);
  });

  it('says of a node which probes it does not let in, and is degraded', () => {
    const probeRefusals = [{ peer: 'b', why: 'no pg_hba.conf entry for host "10.0.0.2" (28000)' }];
    const groups = HEALTHY.groups.map((group) => ({
      ...group,
      nodes: group.nodes.map((node) => (node.node === 'pg1' ? { ...node, probeRefusals } : node)),
    }));
    const shown = picture({ ...HEALTHY, groups });
    expect(shown).toMatch(/! it does not let in the probes of peer b: no pg_hba\.conf entry/);
    expect(shown).toMatch(/- pg1 does not let in the probes of b/);
    expect(healthOf({ ...HEALTHY, groups }).word).toBe('degraded');
  });

  it('says beside a message what waits for a restart', () => {
    const groups = HEALTHY.groups.map((group) => ({
      ...group,
      nodes: group.nodes.map((node) => ({ ...node, message: 'busy', pendingRestart: ['jit', 'port'] })),
    }));
    expect(picture({ ...HEALTHY, groups }).match(/! busy\n +! pending restart: jit, port\n/g)).toHaveLength(
      3,
    );
  });

  it('says which disks run full, and shows such a group in full among many', () => {
    const room = (percent: number) => ({ freeBytes: percent * 2 ** 30, totalBytes: 100 * 2 ** 30 });
    const upkeep = (data: number, wal: number): Upkeep => ({
      ...{ dataDisk: room(data), walDisk: room(wal) },
      ...{ slots: undefined, archiver: undefined, readyCount: undefined, pendingRestart: undefined },
    });
    const groups = HEALTHY.groups.map((group) => ({
      ...group,
      nodes: group.nodes.map((node) => ({
        ...node,
        upkeep: node.node === 'pg1' ? upkeep(30, 4.9) : node.node === 'pg2' ? upkeep(12, 12) : upkeep(15, 5),
      })),
    }));
    const text = picture({ ...HEALTHY, groups });
    expect(text.match(/ ! .*/g)).toEqual([
      ' ! its disk of pg_wal has 4.9 % free (5017 MB)',
      ' ! its disk has 12 % free (12288 MB)',
      ' ! its disk of pg_wal has 5 % free (5120 MB)',
    ]);
    expect(text).toMatch(/^shop: healthy/);
    const others = ['b', 'c', 'd', 'e'].flatMap((name) =>
      HEALTHY.groups.map((group) => ({ ...group, group: name })),
    );
    const many = picture({ ...HEALTHY, groups: [...others, ...groups] });
    expect(many.match(/group \w+: running/g)).toEqual(['group main: running']);
  });

  it('differs in nothing but colour on a terminal', () => {
    const lines = renderStatus(DEGRADED, { width: 80, paint: coloured, events: EVENTS }).join('\n');
    expect(lines).toContain('\u001b[33mdegraded\u001b[39m');
    expect(stripVTControlCharacters(lines)).toBe(picture(DEGRADED, 80, EVENTS));
  });

  it('leaves out how far the logs of peers are where the peer that answers does not know', () => {
    const peers = HEALTHY.peers.map((peer) =>
      peer.peer === 'a' ? peer : { ...peer, matchIndex: undefined },
    );
    expect(picture({ ...HEALTHY, peers })).toMatch(/PEER  RAFT      CONTACT   NODES  ADDRESS\n/);
  });

  it('calls a peer without a node a witness only where it is in contact and the group is set up', () => {
    const without = HEALTHY.groups.map((group) => ({ ...group, nodes: group.nodes.slice(0, 2) }));
    const peers = HEALTHY.peers.map((peer) => ({ ...peer, reachable: peer.peer !== 'c' }));
    expect(picture({ ...HEALTHY, groups: without })).toMatch(/\n  c .* witness /);
    expect(picture({ ...HEALTHY, groups: without, peers })).toMatch(/\n  c .* lost .* -  /);
    expect(picture({ ...HEALTHY, groups: [] })).not.toContain('witness');
  });

  it('of a cluster without a group says what is missing', () => {
    expect(picture({ ...HEALTHY, groups: [] })).toContain(
      'shop: starting, leader b (term 4), answered by a at 04:12:31\n  - no group has been created yet\n',
    );
  });
});

describe('health', () => {
  const [group] = HEALTHY.groups;
  const withNode = (at: number, change: object): StatusView => ({
    ...HEALTHY,
    groups: [
      {
        ...group!,
        nodes: group!.nodes.map((node, number) => (number === at ? { ...node, ...change } : node)),
      },
    ],
  });

  it.each<[string, StatusView, string, string[]]>([
    ['all is well', HEALTHY, 'healthy', []],
    ['a standby is not streaming', withNode(1, { state: 'cloning' }), 'degraded', ['pg2 is cloning']],
    [
      'an agent is silent',
      withNode(0, { state: 'unknown', role: 'none' }),
      'degraded',
      ['the agent of pg1 (primary) does not report'],
    ],
    [
      'the primary is stopped',
      withNode(0, { state: 'stopped', role: 'none' }),
      'down',
      ['pg1 (primary) is stopped'],
    ],
    [
      'a peer holds the primary for down',
      withNode(0, { heldDownBy: ['a: no-answer'] }),
      'down',
      ['pg1 (primary) is held for down by a peer'],
    ],
    ['the group fails over', FENCING, 'failing over', ['pg1 is being cut off (group main)']],
    [
      'a peer sees no leader',
      { ...HEALTHY, leader: undefined },
      'no leader',
      ['peer a knows of no leader, so what it shows may be old'],
    ],
    [
      'commits are on one node',
      { ...HEALTHY, groups: [{ ...group!, rule: 'alone' }] },
      'degraded',
      [expect.stringContaining('on pg1 alone') as unknown as string],
    ],
    [
      'a node is in maintenance',
      withNode(1, { state: 'maintenance' }),
      'degraded',
      ['pg2 is in maintenance'],
    ],
    [
      'the group is paused',
      { ...HEALTHY, groups: [{ ...group!, paused: { untilMs: undefined, maintenance: false } }] },
      'degraded',
      ['it is paused, and does not fail over by itself (group main)'],
    ],
    ['the daemon warns', { ...HEALTHY, warnings: ['x'] }, 'degraded', ['see the warnings']],
    [
      'the group is being created',
      { ...HEALTHY, groups: [{ ...group!, phase: 'creating' }] },
      'starting',
      ['the first primary, pg1, is being made (group main)'],
    ],
    [
      'the group goes on with another database',
      { ...HEALTHY, groups: [{ ...group!, phase: 'creating', isReplacingDatabase: true }] },
      'down',
      ['it goes on with another database, and all writes wait until that runs (group main)'],
    ],
  ])('where %s', (_, status, word, reasons) => {
    expect(healthOf(status)).toEqual({ word, reasons });
  });

  it('is worse the worse the check', () => {
    expect([HEALTHY, DEGRADED, FENCING].map((status) => NAGIOS[healthOf(status).word])).toEqual([0, 1, 2]);
  });
});

it('the trail of phases is that of the latest failover, without what was refused', () => {
  const trail = (events: typeof EVENTS) =>
    phaseTrail(events, 6).map(({ phase, sinceMs }) => [phase, sinceMs]);
  expect(trail(EVENTS)).toEqual([
    ['fencing', 0],
    ['promoting', 50],
    ['running', 109],
  ]);
  expect(trail(EVENTS.slice(0, 3))).toEqual([['running', undefined]]);
  expect(trail([])).toEqual([]);
});

it('colour is for terminals, unless the environment says otherwise', () => {
  expect(wantsColour({}, true)).toBe(true);
  expect(wantsColour({}, false)).toBe(false);
  expect(wantsColour({ NO_COLOR: '1' }, true)).toBe(false);
  expect(wantsColour({ NO_COLOR: '' }, true)).toBe(true);
  expect(wantsColour({ TERM: 'dumb' }, true)).toBe(false);
  expect(wantsColour({ FORCE_COLOR: '1', NO_COLOR: '1' }, false)).toBe(true);
  expect(wantsColour({ FORCE_COLOR: '0' }, true)).toBe(false);
});
