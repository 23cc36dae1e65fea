// Groups that follow another site: how one begins, what is refused while it follows, who may be the site leader, and how it ends.
import { describe, expect, test } from 'vitest';
import { type NodeId, timeline } from '../base/ids.ts';
import type { Command } from './commands.ts';
import { SITE_FEATURE_LEVEL } from './features.ts';
import { lsn } from '../base/lsn.ts';
import { isKnownTimeline } from './site-history.ts';
import { hasFollowed, hasUnknownRule } from './state.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  type Log,
  MA,
  MB,
  MC,
  P1,
  P2,
  at,
  memberOfNode,
  recovered,
  registration,
  newLog,
} from './testing/example.ts';
import { BEGIN, SITE_OPTIONS, emptyLog, following, known, withData } from './testing/following.ts';
import { decodeState, encodeState } from './snapshot-codec.ts';

const lead = (log: Log, node: NodeId, more: object = {}): Command => ({
  kind: 'lead-site',
  group: GROUP,
  epoch: log.epoch,
  node,
  ...more,
});
/** None has data yet. */
function registered(featureLevel = SITE_FEATURE_LEVEL): Log {
  const log = emptyLog(featureLevel);
  log.must(known(A), known(B), known(C));
  return log;
}
function begun(): Log {
  const log = registered();
  log.must(BEGIN);
  return log;
}
function ending(log: Log = following()): Log {
  log.must({ kind: 'promote-site', group: GROUP, epoch: log.epoch });
  return log;
}

describe('its beginning', () => {
  test('needs the feature level, a node that knows the other site, and empty data directories', () => {
    expect(registered(SITE_FEATURE_LEVEL - 1).commit(BEGIN)).toMatch(/not every peer understands/);
    const log = emptyLog();
    log.must(registration(A));
    expect(log.commit(BEGIN)).toMatch(/a does not know the other site/);
    log.must(withData(B));
    expect(log.commit({ ...BEGIN, node: B })).toMatch(/b has data/);
  });

  test('is a phase of its own: no node of it is a primary, and it begins once', () => {
    const log = begun();
    expect(log.group).toMatchObject({
      phase: { kind: 'following', primary: A, isDoubtful: false },
      rule: ALONE,
      systemIdentifier: undefined,
    });
    expect(log.commit(BEGIN)).toMatch(/exists/);
  });

  test('takes the place of an ordinary one: a group with a node that knows another site is not created otherwise', () => {
    const log = registered();
    expect(log.commit({ kind: 'create-group', group: GROUP, primary: A })).toMatch(
      /is to follow another site/,
    );
    expect(
      log.commit({
        kind: 'adopt-group',
        group: GROUP,
        primary: A,
        systemIdentifier: '77',
        timeline: timeline(1),
        standbys: [],
      }),
    ).toMatch(/has no data directory/);
  });
});

describe('its database', () => {
  test('is the one that the site leader has copied first; another one is refused', () => {
    const log = begun();
    log.must(withData(A));
    expect(log.group.systemIdentifier).toBe('77');
    expect(log.commit(withData(B, { systemIdentifier: '78' }))).toMatch(/it holds another database/);
    // A copy that is made anew has another member id.
    expect(log.commit(withData(A, { member: 'a_00000002' }))).toBeUndefined();
  });

  test('is not what another node holds', () => {
    const log = begun();
    log.must(withData(B, { systemIdentifier: '78' }));
    expect(log.group.systemIdentifier).toBeUndefined();
  });
});

describe('while it follows', () => {
  test.each(['down', 'planned', 'forced'] as const)(
    'a failover (%s) is refused, with what can be done',
    (kind) => {
      const log = following();
      log.must(at(log).down(P1), at(log).down(P2));
      const cause = kind === 'down' ? { kind } : { kind, to: undefined };
      expect(log.commit(at(log).begin(cause))).toMatch(
        /nothing in it fails over; sentinelctl site promote main/,
      );
    },
  );

  test.each<[string, (log: Log) => Command]>([
    ['group-ready', (log) => at(log).ready()],
    ['cut-report', (log) => at(log).cut(B, 100)],
    ['promote', (log) => at(log).promote(B, 2, { members: [MC], acks: 1 })],
    ['promoted', (log) => at(log).promoted(A, 2, 100)],
    ['resume', (log) => at(log).resume()],
    ['begin-rule-change', (log) => at(log).change({ members: [MB], acks: 1 })],
  ])('%s is refused', (_name, command) => {
    const log = following();
    expect(log.commit(command(log))).toMatch(/is following|is not being promoted/);
    expect(log.group.phase.kind).toBe('following');
  });

  test('the site leader is neither fenced, nor removed, nor set aside; others are', () => {
    const log = following();
    const pause = (node: NodeId): Command => ({
      kind: 'pause',
      group: GROUP,
      node,
      isMaintenance: true,
      untilMs: undefined,
    });
    const remove = (node: NodeId): Command => ({ kind: 'remove-node', group: GROUP, node, leaving: 'leave' });
    for (const command of [{ kind: 'fence-node', node: A } as const, pause(A), remove(A)])
      expect(log.commit(command)).toMatch(/a is the site leader of group main: sentinelctl site lead/);
    log.must(pause(B), { kind: 'fence-node', node: C }, remove(C));
  });
});

describe('the site leader', () => {
  test('is another one only where a quorum finds it down', () => {
    const log = following();
    log.must(at(log).down(P1));
    expect(log.commit(lead(log, B))).toMatch(/fewer than 2 of 3 voters hold a for down/);
    log.must(at(log).down(P2), at(log).down(P1, B), at(log).down(P2, B));
    expect(log.commit(lead(log, B))).toMatch(/b is held for down, too/);
    log.must(at(log).up(P1, B));
    const { epoch } = log;
    log.must(lead(log, B));
    expect(log.group.phase).toEqual({ kind: 'following', primary: B, isDoubtful: false });
    expect(log.epoch).toBe(epoch);
  });

  test('or on a person\u2019s word, or where it never had data', () => {
    const log = following();
    log.must(lead(log, B, { isAsked: true }));
    expect(log.group.phase.primary).toBe(B);
    const young = begun();
    young.must(lead(young, B));
    expect(young.group.phase.primary).toBe(B);
  });

  test('is one that has data, knows the other site and is not aside, at the present epoch', () => {
    const log = begun();
    log.must(withData(A), withData(B));
    expect(log.commit(lead(log, C, { isAsked: true }))).toMatch(/c has no data yet/);
    expect(log.commit(lead(log, A, { isAsked: true }))).toMatch(/a is the site leader of group main already/);
    expect(log.commit({ ...lead(log, B, { isAsked: true }), epoch: 1 } as Command)).toMatch(/is at epoch/);
    log.must(registration(C, MC));
    expect(log.commit(lead(log, C, { isAsked: true }))).toMatch(/c does not know the other site/);
    log.must({ kind: 'fence-node', node: B });
    expect(log.commit(lead(log, B, { isAsked: true }))).toMatch(/b is fenced/);
  });
});

describe('its end', () => {
  test('is a new epoch, in which every node has to say where it stands', () => {
    const log = following();
    const { epoch } = log;
    ending(log);
    expect(log.epoch).toBeGreaterThan(epoch);
    expect(log.group.phase).toMatchObject({ kind: 'fencing', cause: { kind: 'followed' }, reports: [] });
    expect(hasFollowed(log.group)).toBe(true);
    expect(log.commit({ kind: 'promote-site', group: GROUP, epoch: log.epoch })).toMatch(/not following/);
    expect(log.commit(at(log).resume())).toMatch(/can only be promoted/);
    expect(log.commit(at(log).begin({ kind: 'forced', to: B }))).toMatch(/is being promoted already/);
    expect(log.commit(lead(log, B, { isAsked: true }))).toMatch(/is fencing, not following/);
  });

  test('needs data, and the present epoch', () => {
    const log = begun();
    expect(log.commit({ kind: 'promote-site', group: GROUP, epoch: log.epoch })).toMatch(
      /no node .* has data/,
    );
    const other = following();
    expect(other.commit({ kind: 'promote-site', group: GROUP, epoch: 1 } as Command)).toMatch(/is at epoch/);
  });

  test('promotes the one that holds the most, on whatever timeline, and nobody else', () => {
    const log = ending();
    const on = { timeline: timeline(3) };
    log.must(
      at(log).cut(A, 100, on),
      at(log).cut(B, 120, on),
      at(log).cut(C, 500, { timeline: timeline(2) }),
    );
    expect(log.commit(at(log).promote(A, 4, ALONE))).toMatch(/b holds more WAL than a/);
    expect(log.commit(at(log).promote(C, 4, ALONE))).toMatch(/holds more WAL than c/);
    expect(log.commit(at(log).promote(B, 3, ALONE))).toMatch(/timeline 3 is not higher than 3/);
    // The site leader follows as any other; c first has to be brought to the new history.
    expect(log.commit(at(log).promote(B, 4, { members: [MC], acks: 1 }))).toMatch(/cannot follow/);
    log.must(at(log).promote(B, 4, { members: [memberOfNode(A)], acks: 1 }));
    log.must(at(log).promoted(B, 4, 120));
    expect(log.group).toMatchObject({ phase: { kind: 'running', primary: B, timeline: 4 } });
  });

  test('passes over a node that may not be promoted, though it was the site leader and holds more', () => {
    const log = following();
    log.must(withData(A, { options: { ...SITE_OPTIONS, noFailover: true } }));
    ending(log);
    log.must(at(log).cut(A, 200), at(log).cut(B, 100));
    expect(log.commit(at(log).promote(A, 2, ALONE))).toMatch(/a is never promoted/);
    expect(log.commit(at(log).promote(B, 2, ALONE))).toBeUndefined();
  });
});

/** The site leader tells that the other site is on that timeline. */
const tell = (log: Log, on: number, node: NodeId = A): Command => ({
  ...{ kind: 'tell-site', group: GROUP, epoch: log.epoch, node },
  history: {
    timeline: timeline(on),
    branches: Array.from({ length: on - 1 }, (_, index) => ({
      ...{ timeline: timeline(index + 2), parent: timeline(index + 1), switchLsn: lsn(100n) },
    })),
  },
});
const numbers = (log: Log): number[] =>
  [1, 2, 3, 4, 20, 21].filter((number) => isKnownTimeline(log.group, timeline(number)));

describe('the timelines of the other site', () => {
  test('are those that the site leader was told last', () => {
    const log = following();
    expect(numbers(log)).toEqual([]);
    log.must(tell(log, 3));
    expect(numbers(log)).toEqual([1, 2, 3]);
    expect(log.commit(tell(log, 3))).toMatch(/told already/);
    expect(log.commit(tell(log, 4, B))).toMatch(/b is not the site leader/);
    log.must(tell(log, 1));
    expect(numbers(log)).toEqual([1]);
    // A number above all of them is assigned here one day.
    expect(log.group.highestTimeline).toBe(3);
  });

  test('are not told to a group that follows nobody, or not any more; what is assigned here is known as well', () => {
    const log = following();
    log.must(tell(log, 2));
    ending(log);
    expect(log.commit(tell(log, 3))).toMatch(/follows nobody/);
    log.must(at(log).cut(A, 100), at(log).promote(A, 20, ALONE));
    expect(numbers(log)).toEqual([1, 2, 20, 21]);
    const doubtful = recovered(following());
    expect(doubtful.commit(tell(doubtful, 2))).toMatch(/follows nobody/);
  });
});

const STRANGE = { timeline: timeline(7), isStrange: true };

describe('a node of which it is not known that what it holds is from there', () => {
  test('is neither promoted nor counted, however much it holds; those that are level with it are no members', () => {
    const log = ending();
    log.must(at(log).cut(A, 100), at(log).cut(B, 900, STRANGE));
    expect(log.group.highestTimeline).toBe(7);
    expect(log.commit(at(log).promote(B, 20, ALONE))).toMatch(/b has not reported/);
    expect(log.commit(at(log).promote(A, 20, { members: [MB], acks: 1 }))).toMatch(/cannot follow/);
    log.must(at(log).promote(A, 20, ALONE));
  });

  test('is not in the way of a failover after a promotion that came to nothing', () => {
    const log = ending();
    log.must(at(log).cut(A, 100), at(log).cut(C, 110), at(log).promote(C, 20, { members: [MA], acks: 1 }));
    log.must(at(log).down(P1, C), at(log).down(P2, C), at(log).begin());
    log.must(at(log).cut(B, 900, { ...STRANGE, timeline: timeline(2) }));
    expect(log.commit(at(log).promote(B, 21, ALONE))).toMatch(/b has not reported/);
    log.must(at(log).cut(A, 110), at(log).promote(A, 21, ALONE));
  });

  test('has reported, where all have to', () => {
    const log = recovered(following());
    ending(log);
    log.must(at(log).cut(A, 100), at(log).cut(C, 90), at(log).cut(B, 900, STRANGE));
    expect(log.commit(at(log).promote(C, 20, ALONE))).toMatch(/a holds more WAL than c/);
    log.must(at(log).promote(A, 20, ALONE));
  });

  test('may be told later that it is not, and the reverse', () => {
    const log = ending();
    log.must(at(log).cut(B, 900, STRANGE), at(log).cut(B, 900));
    const reports = () => {
      const { phase } = log.group;
      return phase.kind === 'fencing' ? [phase.reports.length, phase.strange?.length] : [];
    };
    expect(reports()).toEqual([1, undefined]);
    log.must(at(log).cut(B, 900, STRANGE));
    expect(reports()).toEqual([0, 1]);
  });
});

describe('a node that a person names', () => {
  const name = (log: Log, to: NodeId): Command => ({
    ...{ kind: 'promote-site', group: GROUP, epoch: log.epoch, to },
  });

  test('is the one that is promoted, also from a fencing that has found nobody', () => {
    const log = ending();
    log.must(at(log).cut(A, 100, STRANGE));
    const before = log.epoch;
    log.must(name(log, A));
    expect(log.epoch).toBeGreaterThan(before);
    expect(decodeState(encodeState(log.state))).toEqual(log.state);
    log.must(at(log).cut(A, 100, { timeline: timeline(7) }), at(log).cut(B, 900));
    expect(log.commit(at(log).promote(B, 20, ALONE))).toMatch(/asked to lead to a/);
    log.must(at(log).promote(A, 30, ALONE));
    // The way that the group has gone is that node's.
    expect([7, 1].map((number) => isKnownTimeline(log.group, timeline(number)))).toEqual([true, false]);
  });

  test('has data and is not aside; nobody is named once a node was promoted, or before all have reported that may have been', () => {
    const log = following();
    expect(log.commit(name(log, 'x' as NodeId))).toMatch(/no node x/);
    log.must({ kind: 'fence-node', node: B });
    expect(log.commit(name(log, B))).toMatch(/b is fenced/);
    const lost = recovered(following());
    expect(lost.commit(name(lost, A))).toMatch(/all of its nodes have to report/);
    ending(lost);
    lost.must(at(lost).cut(A, 100, STRANGE), at(lost).cut(B, 90, STRANGE));
    expect(lost.commit(name(lost, A))).toMatch(/c did not yet/);
    lost.must(at(lost).cut(C, 90, STRANGE));
    const x = 'x' as NodeId;
    const removed = {
      node: x,
      group: GROUP,
      peer: P2,
      member: undefined,
      leaving: 'leave',
      isDoubtful: true,
    } as const;
    const withRemoved = newLog({ ...lost.state, removed: new Map([[x, removed]]) });
    expect(withRemoved.commit(name(lost, A))).toMatch(/x did not yet/);
    lost.must(name(lost, A));
    const open = ending();
    open.must(at(open).cut(A, 100), at(open).promote(A, 20, ALONE));
    expect(open.commit(name(open, B))).toMatch(/promoting, not following/);
  });
});

test('a snapshot holds all of it', () => {
  for (const log of [following(), ending(), recovered(following())])
    expect(decodeState(encodeState(log.state))).toEqual(log.state);
});

describe('after a recovery of the log', () => {
  test('nobody knows what was promoted: it neither follows nor opens until a person has said', () => {
    const log = recovered(following());
    expect(log.group.phase).toEqual({ kind: 'following', primary: A, isDoubtful: true });
    expect(log.commit(lead(log, B))).toMatch(/a person has to say/);
    const again = recovered(following());
    again.must(lead(again, A, { isAsked: true }));
    expect(again.group.phase).toEqual({ kind: 'following', primary: A, isDoubtful: false });
  });

  test('no node of it is set aside or given up in passing', () => {
    const log = recovered(following());
    const pause = { kind: 'pause', group: GROUP, node: B, isMaintenance: true, untilMs: undefined } as const;
    expect(log.commit(pause)).toMatch(/say first how it goes on/);
    const remove = { kind: 'remove-node', group: GROUP, node: B, leaving: 'destroy' } as const;
    expect(log.commit(remove)).toMatch(/say first how it goes on, .*--accept-data-loss/);
    log.must({ ...remove, acceptsLoss: true });
  });

  test('a promotion waits for all nodes', () => {
    const log = ending(recovered(following()));
    expect(hasUnknownRule(log.group)).toBe(true);
    log.must(at(log).cut(A, 100), at(log).cut(B, 100));
    expect(log.commit(at(log).promote(A, 2, ALONE))).toMatch(/not heard of: c/);
  });
});
