// A group goes on with another database: what is refused, and that nobody who holds the one before counts any more.
import { describe, expect, test } from 'vitest';
import { logIndex, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Command } from './commands.ts';
import { REPLACEMENT_FEATURE_LEVEL } from './features.ts';
import { isKnownTimeline, isUnopened } from './site-history.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  type Log,
  MB,
  at,
  fencing,
  memberOfNode,
  newLog,
  promoted,
  recovered,
  registration,
  running,
} from './testing/example.ts';
import { following } from './testing/following.ts';

const NEW = '88';
const upgraded = (log: Log): Log => newLog({ ...log.state, featureLevel: REPLACEMENT_FEATURE_LEVEL });
const pause: Command = {
  kind: 'pause',
  group: GROUP,
  node: undefined,
  isMaintenance: false,
  untilMs: undefined,
};
const paused = (log: Log = running()): Log => {
  const level = upgraded(log);
  level.must(pause);
  return level;
};
const replace = (log: Log, more: object = {}): Command => ({
  ...{ kind: 'replace-database', group: GROUP, epoch: log.epoch, primary: A, from: '77', to: NEW },
  ...more,
});
const replaced = (): Log => {
  const log = paused();
  log.must(replace(log));
  return log;
};
const ready = (log: Log, systemIdentifier = NEW): Command =>
  ({ ...at(log).ready(), systemIdentifier }) as Command;

describe('a database is replaced', () => {
  test('the group begins anew with its primary, at a new epoch, under its settings', () => {
    const before = paused();
    before.must({ kind: 'change-settings', group: GROUP, settings: { maxFailovers: 3 } });
    const { epoch } = before;
    before.must(replace(before));
    expect(before.group).toMatchObject({
      phase: { kind: 'creating', primary: A },
      rule: ALONE,
      next: undefined,
      systemIdentifier: NEW,
      paused: undefined,
      settings: { maxFailovers: 3 },
    });
    expect(before.epoch).toBeGreaterThan(epoch);
    for (const node of [A, B, C]) expect(before.state.nodes.get(node)?.member).toBeUndefined();
  });

  test('and runs with that database and no other', () => {
    const log = replaced();
    expect(log.commit(ready(log, '77'))).toMatch(/is to go on with system 88, not 77/);
    log.must(ready(log));
    expect(log.group.phase).toMatchObject({ kind: 'running', primary: A, timeline: 1 });
  });

  test('no node with the database before is registered, so none of them can count or be promoted', () => {
    const log = replaced();
    expect(log.commit(registration(B, MB))).toMatch(/holds another database/);
    log.must(ready(log));
    expect(log.commit(registration(B, MB))).toMatch(/holds another database/);
    expect(log.commit(at(log).change({ members: [MB], acks: 1 }))).toBeDefined();
    log.must({ ...registration(B, memberOfNode(B)), systemIdentifier: NEW });
    expect(log.commit(at(log).change({ members: [MB], acks: 1 }))).toBeUndefined();
  });

  test('nobody else begins it, also where its primary is gone: that would be an empty database', () => {
    const log = replaced();
    log.must({ ...registration(A, undefined), systemIdentifier: undefined });
    expect(log.commit({ kind: 'create-group', group: GROUP, primary: B })).toMatch(
      /begins with no other node/,
    );
    expect(log.commit({ kind: 'restore-group', group: GROUP, primary: B })).toMatch(
      /begins with no other node/,
    );
    const reached = {
      ...{ epoch: log.epoch, systemIdentifier: NEW, timeline: timeline(1), position: lsn(10n) },
      ...{ highestTimeline: timeline(1), target: '', lastTransactionMs: undefined },
    };
    expect(log.commit({ kind: 'restore-group', group: GROUP, primary: A, reached })).toMatch(
      /is not restored/,
    );
  });

  test('it leads back to the one before, while it begins and after; no timeline number is given twice', () => {
    const log = replaced();
    log.must(replace(log, { from: NEW, to: '77' }));
    log.must(ready(log, '77'));
    expect(log.group.systemIdentifier).toBe('77');

    const later = paused(promoted());
    later.must(replace(later, { primary: B }));
    expect(later.group).toMatchObject({ highestTimeline: 2, branches: [], floor: undefined });
  });

  test.each<[string, () => Log, object, RegExp]>([
    ['before every peer understands it', () => running(), {}, /upgrade all of them/],
    ['of a group that could fail over meanwhile', () => upgraded(running()), {}, /is not paused/],
    ['while it fails over', () => paused(fencing()), {}, /is fencing/],
    ['of another node than the primary', () => paused(), { primary: B }, /a is the primary/],
    ['of another database than the one there is', () => paused(), { from: '76' }, /not 76/],
    ['by itself', () => paused(), { to: '77' }, /has that database already/],
  ])('refused %s', (_, make, more, reason) => {
    const log = make();
    expect(log.commit(replace(log, more))).toMatch(reason);
  });

  test('a primary that was paused itself begins it; the pauses of others go on to hold', () => {
    const log = upgraded(running());
    for (const node of [A, C]) log.must({ ...pause, node } as Command);
    const level = paused(log);
    level.must(replace(level));
    expect(level.group.pausedNodes.map(({ node }) => node)).toEqual([C]);
  });

  test('what was restored is told from strangers again where it leads back to that, and is not restored anew', () => {
    const restore = {
      reached: {
        ...{ systemIdentifier: '77', timeline: timeline(1), position: lsn(10n), assigned: timeline(2) },
        ...{ highestTimeline: timeline(1), target: '', lastTransactionMs: undefined },
      },
    };
    const { state, group } = paused();
    const log = newLog({ ...state, groups: new Map([[GROUP, { ...group, restore }]]) });
    log.must(replace(log));
    expect(log.group.restore).toEqual(restore);
    log.must(ready(log));
    expect(log.group.phase).toMatchObject({ kind: 'running', timeline: 1 });
  });

  test('logical slots that were made are lost, under another index: no note of an agent on them counts', () => {
    const slot = { database: 'app', plugin: 'pgoutput', isTwoPhase: false, isOurs: true, reason: undefined };
    const { state, group } = paused();
    const logicalSlots = (['made', 'wanted', 'lost', 'unset'] as const).map((standing) => ({
      ...{ ...slot, name: standing, standing, setAt: logIndex(3) },
      reason: standing === 'lost' ? 'WAL is gone' : undefined,
    }));
    const log = newLog({ ...state, groups: new Map([[GROUP, { ...group, logicalSlots }]]) });
    log.must(replace(log));
    const setAt = log.state.appliedIndex;
    expect(log.group.logicalSlots).toEqual([
      {
        ...logicalSlots[0],
        ...{
          standing: 'lost',
          isOurs: false,
          setAt,
          reason: expect.stringMatching(/another database/) as string,
        },
      },
      logicalSlots[1],
      { ...logicalSlots[2], isOurs: false, setAt },
      logicalSlots[3],
    ]);
  });

  test('after a recovery of the log a person may say so of whichever node, once nobody else could take writes', () => {
    const { state, group } = upgraded(recovered());
    // The end of an adoption is lost with the end of the log.
    const log = newLog({ ...state, groups: new Map([[GROUP, { ...group, toAdopt: [B, C] }]]) });
    log.must(at(log).cut(C, 10));
    expect(log.commit(replace(log, { primary: B }))).toMatch(/and a did not report: .*unregister NODE/);
    log.must({ kind: 'remove-node', group: GROUP, node: A, leaving: 'leave', acceptsLoss: true } as Command);
    log.must(replace(log, { primary: B }));
    expect(log.group).toMatchObject({ phase: { kind: 'creating', primary: B }, toAdopt: [] });
  });

  test('refused while it follows another site: the database is the one that is there', () => {
    const log = upgraded(following());
    log.must(pause);
    for (const primary of [A, B])
      expect(log.commit(replace(log, { primary }))).toMatch(
        /follows another site.*sentinelctl site promote main$/,
      );
  });

  test('of a group that has followed another site: none of its timelines is known as that one’s any more', () => {
    const { state, group } = paused();
    const history = { timeline: timeline(3), branches: [] };
    const site = { history, opened: timeline(20) };
    const log = newLog({ ...state, groups: new Map([[GROUP, { ...group, site }]]) });
    expect(isKnownTimeline(log.group, timeline(1))).toBe(false);
    log.must(replace(log));
    log.must(ready(log));
    expect(isKnownTimeline(log.group, timeline(1))).toBe(true);
    expect(isUnopened(log.group)).toBe(false);
    // It was the other site's; in the new database it is nobody's.
    expect(log.group.site?.history).toBeUndefined();
    // Nor does a recovery of the log make it a site of which a person names a node.
    expect(isUnopened(recovered(log).group)).toBe(false);
  });

  test('a standby can be taken out where the primary, and the database with it, is lost before the first clone', () => {
    const log = replaced();
    log.must(ready(log));
    log.must({ kind: 'remove-node', group: GROUP, node: B, leaving: 'leave' } as Command);
    expect(log.state.nodes.has(B)).toBe(false);
  });

  test('refused while the rule is still one with a lease', () => {
    const { state, group } = paused();
    const leased = { ...ALONE, leased: true as const };
    for (const more of [{ rule: leased }, { next: { rule: leased, change: group.epoch as never } }]) {
      const log = newLog({ ...state, groups: new Map([[GROUP, { ...group, ...more }]]) });
      expect(log.commit(replace(log))).toMatch(/to durability quorum is not over/);
    }
  });

  test('refused at an earlier epoch, and of a group whose primary must not be alone', () => {
    const log = replaced();
    log.must(ready(log));
    const earlier = replace(paused());
    expect(log.commit(earlier)).toMatch(/is at epoch/);
    for (const durability of ['strict', 'async'] as const) {
      const other = paused();
      other.must({ kind: 'change-settings', group: GROUP, settings: { durability } });
      expect(other.commit(replace(other))).toMatch(/durability=quorum, first/);
    }
  });
});
