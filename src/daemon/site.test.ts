// `sentinelctl site`: what it says beforehand, what it refuses and why, and what it proposes.
import { describe, expect, test } from 'vitest';
import type { Command } from '../cluster/commands.ts';
import { SITE_FEATURE_LEVEL } from '../cluster/features.ts';
import { A, B, C, GROUP, type Log, at, recovered, running } from '../cluster/testing/example.ts';
import { BEGIN, SITE_OPTIONS, emptyLog, following, known, withData } from '../cluster/testing/following.ts';
import { type SeenNodes, viewOf } from '../failover/testing/view.ts';
import { steer } from './steer.ts';
import { timeline } from '../base/ids.ts';
import type { SiteRequest } from './site.ts';
import { siteWait } from './site-plan.ts';

const STREAMING: SeenNodes = {
  a: { condition: 'standby', position: 0x500n },
  b: { condition: 'standby', streamingFrom: A, position: 0x600n },
  c: { condition: 'standby', streamingFrom: A, position: 0x400n },
};
const PROMOTE = { kind: 'promote-site', group: undefined, dryRun: false } as const;
const LEAD = { kind: 'lead-site', node: B, dryRun: false } as const;

/** `next` plays what the cluster does once it is in the log. */
async function ask(log: Log, request: SiteRequest, seen: SeenNodes = STREAMING, next?: () => void) {
  const proposed: Command[] = [];
  const options = {
    state: () => log.state,
    view: () => viewOf(log, 0, seen),
    propose: (command: Command) => {
      proposed.push(command);
      const reason = log.commit(command);
      if (reason !== undefined) return Promise.resolve({ kind: 'refused', reason });
      const index = log.state.appliedIndex;
      next?.();
      return Promise.resolve({ kind: 'applied', index });
    },
    signal: new AbortController().signal,
  };
  return { outcome: await steer(options as never, request), proposed };
}
const refused = (reason: RegExp) => ({ kind: 'refused', reason: expect.stringMatching(reason) });

describe('promote', () => {
  test('says beforehand who becomes the primary, what is lost, and that nothing stops the other site', async () => {
    const { outcome, proposed } = await ask(following(), { ...PROMOTE, dryRun: true });
    expect(proposed).toEqual([]);
    if (outcome.kind !== 'done') throw new Error(outcome.kind);
    expect(outcome.detail).toContain('group main follows far1:5432,far2:5432 no longer');
    expect(outcome.detail).toContain('b becomes the primary, as things stand (timeline 1, 0/600)');
    expect(outcome.detail).toContain('a does not stream from there now: how much was written there');
    expect(outcome.detail).toMatch(/WARNING: nothing here stops the other site.*pg_is_in_recovery/);
  });

  test('waits until the group runs, and says what is left to do', async () => {
    const log = following();
    const { outcome, proposed } = await ask(log, PROMOTE, STREAMING, () => {
      log.must(at(log).cut(A, 5), at(log).cut(B, 6), at(log).cut(C, 4));
      log.must(at(log).promote(B, 2, { members: [], acks: 0 }), at(log).promoted(B, 2, 6));
    });
    expect(proposed).toMatchObject([{ kind: 'promote-site', group: GROUP }]);
    expect(outcome).toMatchObject({
      kind: 'done',
      detail: expect.stringMatching(/^b is the primary of group main/),
    });
    expect(outcome).toMatchObject({ detail: expect.stringContaining('drop the replication slot there') });
  });

  test.each<[string, () => Log, SeenNodes, RegExp]>([
    [
      'where not every peer understands it',
      () => emptyLog(SITE_FEATURE_LEVEL - 1),
      STREAMING,
      /not every peer understands/,
    ],
    [
      'of a group that follows nobody',
      () => {
        const log = running();
        log.state = { ...log.state, featureLevel: SITE_FEATURE_LEVEL };
        return log;
      },
      STREAMING,
      /group main is running: it does not follow another site/,
    ],
    ['where no node can be reached', following, {}, /no node that can be reached may be promoted$/],
    [
      'where those that can may not be',
      () => {
        const log = following();
        log.must(withData(B, { options: { ...SITE_OPTIONS, noFailover: true } }));
        return log;
      },
      { b: STREAMING['b'] },
      /may be promoted: b is never promoted/,
    ],
  ])('is refused %s', async (_what, log, seen, reason) => {
    const { outcome, proposed } = await ask(log(), PROMOTE, seen);
    expect(outcome).toEqual(refused(reason));
    expect(proposed).toEqual([]);
  });

  test('says who is not asked', async () => {
    const seen = { b: STREAMING['b'], c: { condition: 'failed' } } as const;
    const { outcome } = await ask(following(), { ...PROMOTE, dryRun: true }, seen);
    if (outcome.kind !== 'done') throw new Error(outcome.kind);
    expect(outcome.detail).toContain('a is not asked: its agent is not heard');
    expect(outcome.detail).toContain('c is not asked: it is failed');
    expect(outcome.detail).not.toContain('b is not asked');
  });

  test('leaves a strange node out, and names it with the command that has it promoted all the same', async () => {
    const strange = { ...STREAMING['b'], strange: 'somebody opened it for writes' };
    const { outcome } = await ask(following(), { ...PROMOTE, dryRun: true }, { ...STREAMING, b: strange });
    if (outcome.kind !== 'done') throw new Error(outcome.kind);
    expect(outcome.detail).toContain('a becomes the primary');
    expect(outcome.detail).toMatch(
      /b is left out, for somebody opened it.*given up; sentinelctl site promote main --to b --accept-data-loss/,
    );
    const left = { b: { ...strange, condition: 'failed' } } as const;
    expect((await ask(following(), PROMOTE, left)).outcome).toEqual(
      refused(/may be promoted: b is left out, .*site promote main --to b --accept-data-loss/),
    );
  });

  test('of a node by its name says what is lost, and begins also where nobody else could be promoted', async () => {
    const seen = { b: { condition: 'failed', strange: 'somebody opened it' } } as const;
    const log = following();
    const plan = await ask(log, { ...PROMOTE, to: B, dryRun: true }, seen);
    expect(plan.outcome).toMatchObject({
      detail: expect.stringMatching(
        /b becomes the primary, and no other node, though somebody opened it: .*any other node holds beyond is lost/,
      ),
    });
    expect((await ask(log, { ...PROMOTE, to: C, dryRun: true }, seen)).outcome).toEqual(
      refused(/the agent of c cannot be reached/),
    );
    log.must({ kind: 'promote-site', group: GROUP, epoch: log.epoch });
    const { proposed } = await ask(log, { ...PROMOTE, to: B }, seen, () => {
      log.must(at(log).cut(B, 6), at(log).promote(B, 30, { members: [], acks: 0 }));
      log.must(at(log).promoted(B, 30, 6));
    });
    expect(proposed).toMatchObject([{ kind: 'promote-site', to: B }]);
    expect((await ask(log, { ...PROMOTE, to: B }, seen)).outcome.kind).toBe('refused');
  });

  test('after a recovery of the log it begins also where nothing runs, for nothing is started before', async () => {
    const stopped = { a: { condition: 'stopped' }, b: { condition: 'stopped' } } as const;
    const { outcome } = await ask(recovered(following()), { ...PROMOTE, dryRun: true }, stopped);
    expect(outcome.kind).toBe('done');
  });

  test('after a recovery of the log all nodes are waited for, which is said', async () => {
    const { outcome } = await ask(recovered(following()), { ...PROMOTE, dryRun: true });
    expect(outcome).toMatchObject({ detail: expect.stringContaining('all nodes have to report') });
  });
});

describe('lead', () => {
  test('has another node stream from there', async () => {
    const log = following();
    const plan = await ask(log, { ...LEAD, dryRun: true });
    expect(plan).toMatchObject({ outcome: { kind: 'done' }, proposed: [] });
    const { outcome } = await ask(log, LEAD);
    expect(outcome.kind).toBe('done');
    expect(log.group.phase).toMatchObject({ kind: 'following', primary: B });
  });

  test('is refused for a node that cannot, or that is it already', async () => {
    const log = emptyLog();
    log.must(known(A), known(B), BEGIN, withData(A));
    expect((await ask(log, { ...LEAD, node: A })).outcome).toEqual(
      refused(/a is the site leader of group main already/),
    );
    expect((await ask(log, LEAD)).outcome).toEqual(refused(/b has no data yet/));
    expect((await ask(log, { ...LEAD, node: C })).outcome).toEqual(
      refused(/there is no node c; there are: a, b/),
    );
    expect((await ask(following(), LEAD, {})).outcome).toEqual(refused(/the agent of b cannot be reached/));
  });

  test('after a recovery of the log it says that the group goes on following', async () => {
    const log = recovered(following());
    const again = { ...LEAD, node: A } as const;
    expect((await ask(log, again)).outcome).toEqual(refused(/look at each of its nodes; --accept-data-loss/));
    const open = { ...STREAMING, b: { condition: 'primary' } } as const;
    expect((await ask(log, again, open)).outcome).toEqual(
      refused(/b runs as a primary: .*site promote main/),
    );
    expect((await ask(log, { ...again, acceptsLoss: true })).outcome.kind).toBe('done');
    expect(log.group.phase).toEqual({ kind: 'following', primary: A, isDoubtful: false });
  });
});

describe('what a promotion waits for', () => {
  const STRANGE = { timeline: timeline(7), isStrange: true };
  const ending = (): Log => {
    const log = following();
    log.must({ kind: 'promote-site', group: GROUP, epoch: log.epoch });
    return log;
  };
  const wait = (log: Log, seen: SeenNodes = STREAMING) =>
    siteWait(log.state, log.group, viewOf(log, 0, seen));

  test('is the node that holds more, or that starts', () => {
    const log = ending();
    log.must(at(log).cut(B, 0x100));
    expect(wait(log)).toMatch(/^a holds more than the others .*sentinelctl fence a gives it up/);
    const starting = { ...STREAMING, a: { condition: 'starting', isSilentOfPosition: true } } as const;
    expect(wait(log, starting)).toMatch(/^a is being started, and has not said yet what it holds/);
    log.must(at(log).cut(A, 0x500), at(log).cut(C, 0x500));
    expect(wait(log)).toBeUndefined();
  });

  test('is a person, where no node is promoted by itself', () => {
    const log = ending();
    log.must(at(log).cut(A, 0x100, STRANGE), at(log).cut(B, 0x100, STRANGE));
    expect(wait(log, {})).toMatch(
      /a is left out.*b is left out.*c did not report yet.*site promote main --to NODE --accept-data-loss/,
    );
    log.must({ kind: 'promote-site', group: GROUP, epoch: log.epoch, to: C });
    expect(wait(log, {})).toMatch(/^c, which a person has named, has not reported yet/);
  });

  test('is nothing while it follows, and in a group that never did', () => {
    expect(wait(following())).toBeUndefined();
    const log = running();
    expect(siteWait(log.state, log.group, viewOf(log, 0, {}))).toBeUndefined();
  });
});
