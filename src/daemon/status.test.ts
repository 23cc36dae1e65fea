// What `sentinelctl status` says: the log's state, the agents' live word over it, and what a person should look at.
import { describe, expect, test } from 'vitest';
import { logIndex, nodeId, peerId, term, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { CASCADE_FEATURE_LEVEL, FORMATIONS_FEATURE_LEVEL, PAUSE_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  ALONE,
  A,
  B,
  C,
  GROUP,
  type Log,
  MB,
  MC,
  P1,
  P2,
  P3,
  at,
  creating,
  fencing,
  newLog,
  opening,
  promoting,
  registration,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { replaced } from '../cluster/testing/replaced.ts';
import { ALL_WELL, type SeenNodes, reportOf, viewOf } from '../failover/testing/view.ts';
import { decodeStatus, encodeStatus } from '../transport/admin-codec.ts';
import type { StatusView } from '../transport/types.ts';
import type { Membership } from '../raft/types.ts';
import type { ConsensusStatus } from './consensus.ts';
import { type StatusOptions, buildStatus } from './status.ts';

const MEMBERSHIP: Membership = {
  voters: [P1, P2, P3],
  learners: [],
  addresses: new Map([P1, P2, P3].map((peer, place) => [peer, `host${place}:7000`])),
  incarnation: 1,
};

const LEADER: ConsensusStatus = {
  role: 'leader',
  term: term(3),
  leader: P1,
  commitIndex: logIndex(40),
  lastIndex: logIndex(40),
  snapshotIndex: logIndex(20),
  membership: MEMBERSHIP,
  membershipIndex: logIndex(20),
  committed: { membership: MEMBERSHIP, index: logIndex(20) },
  pending: [],
  isDiskStalled: false,
  matchIndex: (peer) => (peer === P2 ? logIndex(39) : undefined),
};

const LEADERLESS: ConsensusStatus = {
  ...LEADER,
  role: 'follower',
  leader: undefined,
  matchIndex: () => undefined,
};

test('of a cascading standby it is said whether it streams from its upstream', () => {
  const log = running({ members: [MB], acks: 1 });
  log.state = { ...log.state, featureLevel: CASCADE_FEATURE_LEVEL };
  const options = { noFailover: false, noSync: false, applyDelayMs: 0, upstream: B };
  log.must({ ...registration(C, MC), options });
  const shown = () => statusOf(log).groups[0]?.nodes.find(({ node }) => node === C);
  expect(shown()).toMatchObject({ upstream: B, upstreamUsed: false });
  expect(shown()?.notCounted).toMatch(/cascading standby/);
  log.must({ kind: 'use-upstream', group: GROUP, epoch: log.epoch, node: C, upstream: B });
  expect(shown()).toMatchObject({ upstream: B, upstreamUsed: true });
});

function statusOf(log: Log, seen: SeenNodes = ALL_WELL, more: Partial<StatusOptions> = {}): StatusView {
  const view = viewOf(log, 10_000, seen);
  return buildStatus({
    cluster: 'shop',
    self: P1,
    atMs: 5,
    nowMs: 10_000,
    state: log.state,
    consensus: LEADER,
    ownAddress: 'host0:7000',
    leftBehind: undefined,
    obstacle: undefined,
    isReachable: (peer) => peer !== P3,
    reports: view.reports,
    disowned: new Map(),
    view,
    ...more,
  });
}

const nodes = (log: Log, seen?: SeenNodes) => statusOf(log, seen).groups[0]?.nodes ?? [];

test('a healthy group', () => {
  const status = statusOf(running());
  expect(status).toMatchObject({
    cluster: 'shop',
    answeredBy: 'p1',
    leader: 'p1',
    term: 3,
    commitIndex: 40,
    warnings: [],
  });
  expect(status.groups).toMatchObject([
    { group: 'main', phase: 'running', primary: 'a', rule: '1 of b, c', ruleChange: undefined },
  ]);
  expect(status.groups[0]?.nodes).toMatchObject([
    {
      node: 'a',
      role: 'primary',
      state: 'running',
      timeline: 1,
      lsn: '0/64',
      sync: undefined,
      lagBytes: undefined,
    },
    { node: 'b', role: 'standby', state: 'streaming', sync: 'quorum', lagBytes: 0 },
    { node: 'c', role: 'standby', state: 'streaming', sync: 'quorum', lagBytes: 0 },
  ]);
});

test('a group that goes on with another database says so, over the wire as well', () => {
  const received = (log: Log) => decodeStatus(encodeStatus(statusOf(log))).groups[0];
  expect(received(replaced())).toMatchObject({ phase: 'creating', isReplacingDatabase: true });
  expect(received(creating())).not.toHaveProperty('isReplacingDatabase');
  expect(received(running())).not.toHaveProperty('isReplacingDatabase');
});

test('learners and a later incarnation are shown', () => {
  const membership = { ...MEMBERSHIP, voters: [P1, P2], learners: [P3], incarnation: 2 };
  const status = statusOf(running(), ALL_WELL, { consensus: { ...LEADER, membership } });
  expect(status).toMatchObject({ incarnation: 2, peers: [{}, {}, { peer: 'p3', kind: 'learner' }] });
});

test('the peers as far as this one knows', () => {
  expect(statusOf(running()).peers).toMatchObject([
    { peer: 'p1', kind: 'voter', address: 'host0:7000', role: 'leader', reachable: true, matchIndex: 40 },
    { peer: 'p2', kind: 'voter', address: 'host1:7000', role: 'follower', reachable: true, matchIndex: 39 },
    { peer: 'p3', address: 'host2:7000', role: 'unknown', reachable: false, matchIndex: undefined },
  ]);
  const lost = { ...LEADERLESS, role: 'candidate' as const };
  expect(statusOf(running(), ALL_WELL, { consensus: lost }).peers.map((peer) => peer.role)).toEqual([
    'candidate',
    'unknown',
    'unknown',
  ]);
});

describe('a node', () => {
  test('whose agent is silent is unknown, whatever it said before', () => {
    expect(nodes(running(), { ...ALL_WELL, b: { ageMs: 3001 } })[1]).toMatchObject({
      role: 'none',
      state: 'unknown',
      message: 'no report from its agent (peer p2)',
      silentMs: 3001,
    });
    expect(nodes(running(), { ...ALL_WELL, b: { ageMs: 3000, streamingFrom: A } })[1]).toMatchObject({
      state: 'streaming',
    });
  });

  test('shows how far it is behind, never less than nothing', () => {
    expect(nodes(running(), { ...ALL_WELL, b: { position: 40n, streamingFrom: A } })[1]).toMatchObject({
      lagBytes: 60,
    });
    expect(nodes(running(), { ...ALL_WELL, b: { position: 140n, streamingFrom: A } })[1]).toMatchObject({
      lagBytes: 0,
    });
    expect(nodes(running(), { ...ALL_WELL, a: undefined })[1]).toMatchObject({
      lagBytes: undefined,
      sync: undefined,
    });
  });

  test('is cut, being promoted, or what its agent says', () => {
    const log = fencing();
    log.must(at(log).cut(B, 100));
    expect(nodes(log, { b: {}, c: {} }).map((node) => node.state)).toEqual(['unknown', 'cut', 'running']);
    expect(nodes(promoting(), { b: {}, c: { condition: 'cloning', message: '3 MB' } })).toMatchObject([
      {},
      { state: 'promoting' },
      { state: 'cloning', message: '3 MB' },
    ]);
  });

  test('names the peers that hold it for down, and why', () => {
    const log = running();
    log.must(at(log).down(P2));
    expect(nodes(log)[0]).toMatchObject({ heldDownBy: ['p2: refused'] });
  });
});

test('a pending change is shown beside the rule', () => {
  const log = running();
  log.must(at(log).change({ members: [MB], acks: 1 }));
  expect(statusOf(log).groups[0]).toMatchObject({ rule: '1 of b, c', ruleChange: '1 of b' });
  expect(statusOf(runningAlone()).groups[0]).toMatchObject({ rule: 'alone' });
});

test('a node that is paused or in maintenance, and the group that is paused', () => {
  const log = newLog({ ...running().state, featureLevel: PAUSE_FEATURE_LEVEL });
  const pause = { kind: 'pause', group: log.group.id, isMaintenance: false, untilMs: 5 } as const;
  log.must(
    { ...pause, node: undefined },
    { ...pause, node: B, isMaintenance: true },
    { ...pause, node: C, untilMs: undefined },
  );
  const stopped = { condition: 'stopped' } as const;
  expect(statusOf(log, { ...ALL_WELL, b: stopped, c: stopped }).groups[0]).toMatchObject({
    paused: { untilMs: 5, maintenance: false },
    nodes: [
      { state: 'running', paused: undefined },
      { state: 'maintenance', paused: { untilMs: 5, maintenance: true } },
      { state: 'paused', paused: { untilMs: undefined, maintenance: false } },
    ],
  });
  expect(nodes(log)[1]).toMatchObject({ state: 'streaming', paused: { maintenance: true } });
});

test('which probes a node does not let in, as this peer and the reports of the others say', () => {
  const why = 'role "sentinel_probe" is not permitted to log in (28000)';
  const log = running();
  const reports = new Map(viewOf(log, 5000, ALL_WELL).reports);
  const tell = (node: typeof A, ageMs: number): void => {
    const report = { ...reportOf(log, node, { condition: 'standby' }), refusedProbes: [{ node: A, why }] };
    reports.set(node, { report, receivedAtMs: 5000 - ageMs });
  };
  tell(C, 0);
  const shown = () => {
    const [group] = statusOf(log, ALL_WELL, {
      reports,
      nowMs: 5000,
      refusedProbes: [{ node: A, why }],
    }).groups;
    return group?.nodes.map(({ probeRefusals }) => probeRefusals);
  };
  expect(shown()).toEqual([
    [
      { peer: P1, why },
      { peer: P3, why },
    ],
    undefined,
    undefined,
  ]);
  // Too old to be shown.
  tell(C, 4000);
  expect(shown()?.[0]).toEqual([{ peer: P1, why }]);
});

describe('warns', () => {
  const warnings = (log: Log, seen?: SeenNodes, more?: Partial<StatusOptions>) =>
    statusOf(log, seen, more).warnings.join('\n');
  test('that there is no Raft leader', () => {
    const told = warnings(running(), ALL_WELL, { consensus: LEADERLESS });
    expect(told).toMatch(/no Raft leader: nothing can fail over .*sentinelctl peer recover/);
    expect(told).toContain(
      'group main, without a Raft leader: writes go on while 1 of b, c acknowledges them; else they wait, and after guard.proof_timeout (30s by default) the guard stops a',
    );
    expect(warnings(running())).not.toContain('without a Raft leader');
  });

  test('that the others refuse this peer, and not how to recover the cluster without them', () => {
    const peerRefusals = [P2, P3].map((peer) => ({
      peer,
      reason: '"p2" does not know it; sentinelctl peer add p1',
    }));
    const told = warnings(running(), ALL_WELL, { consensus: LEADERLESS, peerRefusals });
    expect(told).toContain('no Raft leader here: p2, p3 answer and refuse this peer: "p2" does not know it');
    expect(told).not.toContain('peer recover');
    expect(warnings(running(), ALL_WELL, { peerRefusals })).not.toContain('refuse');
  });

  test('that the cluster was recovered without this peer, and of nothing else', () => {
    const leftBehind = { by: P3, incarnation: 2 };
    const status = statusOf(running(), {}, { leftBehind });
    expect(status.leader).toBeUndefined();
    expect(status.warnings).toEqual([
      expect.stringMatching(
        /recovered without peer p1: p3 is at incarnation 2, this peer at 1\. .*its PostgreSQL is stopped.*join: true/,
      ),
    ]);
  });

  test('a peer that is not a member yet, and shows it alone', () => {
    const nobody: Membership = { voters: [], learners: [], addresses: new Map(), incarnation: 0 };
    const status = statusOf(newLog(), {}, { consensus: { ...LEADERLESS, membership: nobody } });
    expect(status.warnings).toEqual([
      'peer p1 is not a member yet: run sentinelctl peer add p1 host0:7000 against a peer that is',
    ]);
    expect(status).toMatchObject({
      incarnation: 0,
      peers: [{ peer: 'p1', kind: 'joining', address: 'host0:7000', reachable: true }],
    });
  });

  test('a peer that was removed', () => {
    const membership = { ...MEMBERSHIP, voters: [P2, P3] };
    const status = statusOf(running(), {}, { consensus: { ...LEADERLESS, membership } });
    expect(status.warnings.join()).toMatch(/^peer p1 was removed from the cluster/);
    expect(status.peers.map(({ peer }) => peer)).toEqual(['p1', 'p2', 'p3']);
  });

  test('of what keeps this peer from proposing anything', () => {
    const obstacle = 'peer p1 comes with another Raft store';
    expect(warnings(running(), ALL_WELL, { obstacle })).toBe(obstacle);
  });

  test('that the disk of the log does not answer', () => {
    expect(warnings(running(), ALL_WELL, { consensus: { ...LEADER, isDiskStalled: true } })).toMatch(
      /the disk of peer p1 does not answer/,
    );
  });

  test('that two nodes run as primary', () => {
    expect(warnings(running(), { ...ALL_WELL, c: { condition: 'primary' } })).toMatch(
      /group main: a and c both run as primary/,
    );
  });

  test('that a failover could not be completed now, and why', () => {
    expect(warnings(running(), { ...ALL_WELL, c: undefined })).toMatch(/could not fail over now: .*1 of 2/);
    expect(warnings(runningAlone())).toMatch(/acknowledged writes alone/);
    const leaving = running();
    leaving.must(at(leaving).change(ALONE));
    expect(warnings(leaving)).toMatch(/could not fail over now/);
  });

  test('of an agent that cannot do its duty, and of a standby that is far behind', () => {
    expect(warnings(running(), { ...ALL_WELL, b: { condition: 'failed', message: 'disk full' } })).toMatch(
      /b: disk full/,
    );
    const far: SeenNodes = {
      ...ALL_WELL,
      a: { condition: 'primary', position: 100n << 20n },
      b: { position: 0n },
      c: { position: 100n << 20n },
    };
    expect(warnings(running(), far)).toMatch(/b is 100 MB behind/);
    expect(warnings(running(), far)).not.toMatch(/c is/);
  });

  test('of a group that is not created yet, or cannot be', () => {
    const log = newLog();
    log.must(registration(B), registration(C));
    expect(warnings(log, {})).toMatch(/group main is not created yet; registered so far: b, c/);
    log.must(registration(B, MB), registration(C, MC));
    expect(warnings(log, {})).toMatch(/b and c each hold a database/);
    const server = {
      ...{ role: 'primary' as const, version: '15.1', timeline: timeline(1), upstream: undefined },
      ...{ freeSlots: 1, kept: [], replaced: [], hba: [], notices: [], problems: [] },
    };
    const told = warnings(log, { b: { found: server } });
    expect(told).toMatch(/PostgreSQL runs already on b; .*sentinelctl adopt main --dry-run/);
    expect(told).not.toContain('move');
  });

  test('of a node that the log does not take, and of one with the name of another', () => {
    const log = newLog();
    expect(warnings(log, { a: { message: 'another database' } })).toMatch(
      /a \(peer p1\) is not registered: another database/,
    );
    const report = { ...reportOf(running(), A, {}), peer: peerId('p9') };
    expect(
      warnings(running(), ALL_WELL, { disowned: new Map([[report.peer, { report, receivedAtMs: 9000 }]]) }),
    ).toMatch(/peer p9: its node a is another peer's/);
  });
});

describe('a host whose configuration', () => {
  const declared = (node: typeof A | undefined, formation = 'default', peer = P3): Log => {
    const log = newLog({ ...running().state, featureLevel: FORMATIONS_FEATURE_LEVEL });
    for (const each of [P1, P2, P3]) log.must(opening(log, each, { features: FORMATIONS_FEATURE_LEVEL }));
    const runs = node && { node, group: GROUP, formation };
    log.must({ kind: 'declare-host', peer, host: { runs, watch: [] } });
    return log;
  };

  test('no longer names its node is warned of, and what it means for a standby and for the primary', () => {
    expect(statusOf(declared(C)).warnings.join()).not.toContain('no longer');
    const standby = statusOf(declared(undefined));
    expect(standby.warnings).toContain(
      'host p3 no longer runs node c (its configuration does not name it): it is neither promoted nor counted; sentinelctl node unregister c, or put it back',
    );
    expect(standby.peers.find(({ peer }) => peer === P3)?.runs).toBe('');
    expect(standby.groups[0]?.nodes.find(({ node }) => node === C)?.notPromoted).toMatch(
      /^without an agent: host p3/,
    );
    const primary = statusOf(declared(undefined, 'default', P1));
    expect(primary.warnings).toContainEqual(
      expect.stringMatching(
        /^host p1 no longer runs node a .*, the primary of group main: .* or stop its PostgreSQL/,
      ),
    );
    const at = primary.warnings.findIndex((text) => text.startsWith('host p1'));
    expect(primary.warningGroups?.[at]).toBe(GROUP);
  });

  test('names another formation than the others is warned of', () => {
    const log = declared(C, 'abroad');
    expect(statusOf(log).groups[0]?.formation).toBe('abroad');
    log.must({
      kind: 'declare-host',
      peer: P1,
      host: { runs: { node: A, group: GROUP, formation: 'home' }, watch: [] },
    });
    expect(statusOf(log).warnings).toContainEqual(
      expect.stringMatching(/different formations \(abroad, home\); abroad counts/),
    );
  });
});

test('servers that are only watched are shown as a majority sees them, with the figures of this peer', () => {
  const log = newLog({ ...running().state, featureLevel: FORMATIONS_FEATURE_LEVEL });
  for (const peer of [P1, P2, P3]) log.must(opening(log, peer, { features: FORMATIONS_FEATURE_LEVEL }));
  const server = nodeId('far');
  const at = { server, host: '10.0.0.9', port: 5432, formation: 'abroad' };
  log.must({ kind: 'declare-host', peer: P1, host: { runs: undefined, watch: [at] } });
  log.must({ kind: 'declare-host', peer: P2, host: { runs: undefined, watch: [{ ...at, port: 5433 }] } });
  const facts = {
    role: 'standby',
    timeline: timeline(4),
    position: lsn(0x1000n),
    lagBytes: 5,
    lagMs: 1.4,
  } as const;
  const sights = new Map([[server, { note: 'answers', facts }]]);
  expect(statusOf(log, ALL_WELL, { sights }).watched).toMatchObject([
    { server, state: 'unknown', role: 'none' },
  ]);
  const word = { kind: 'up', role: 'standby', timeline: timeline(4) } as const;
  for (const peer of [P1, P2]) log.must({ kind: 'judge-server', peer, server, word });
  log.must({ kind: 'judge-server', peer: P3, server, word: { kind: 'down', evidence: 'no-answer' } });
  log.must({ kind: 'conclude-server', server, word, before: undefined });
  const status = statusOf(log, ALL_WELL, { sights });
  expect(status.watched).toEqual([
    {
      ...{ server, address: '10.0.0.9:5432', formation: 'abroad', state: 'up', role: 'standby', timeline: 4 },
      ...{ lsn: '0/1000', lagBytes: 5, lagMs: 1, heldDownBy: ['p3: no-answer'], message: undefined },
    },
  ]);
  expect(status.warnings).toContain(
    'watched server far is at 10.0.0.9:5433 by the configuration of peer p2, and at 10.0.0.9:5432 by that of another, which counts',
  );
});
