// Whom a fence command may switch off: nobody that answers, and nobody whose stop need not be proved.
import { describe, expect, test } from 'vitest';
import { peerId } from '../base/ids.ts';
import type { SyncRule } from '../cluster/commands.ts';
import { SETTINGS_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  A,
  B,
  C,
  GROUP,
  type Log,
  MB,
  P1,
  P2,
  P3,
  at,
  fencing,
  newLog,
  recovered,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { fenceTargets } from './fence-target.ts';
import { ALL_WELL, type SeenNodes, leaderOf, viewOf } from './testing/view.ts';

const LEASED: SyncRule = { members: [], acks: 0, leased: true };
const WITHOUT_A: SeenNodes = { ...ALL_WELL, a: undefined };
/** P1 hosts a. */
const SELF = P2;

const upgraded = (log: Log): Log => newLog({ ...log.state, featureLevel: SETTINGS_FEATURE_LEVEL });
const leased = (): Log => {
  const log = upgraded(running());
  const settings = { ...log.group.settings, durability: 'async' } as const;
  log.must({ kind: 'change-settings', group: GROUP, settings });
  log.must(at(log).change(LEASED));
  log.must(at(log).commitRule());
  return log;
};
const down = (log: Log): Log => {
  log.must(at(log).down(P2), at(log).down(P3));
  return log;
};
const forced = (log: Log): Log => {
  log.must(at(log).begin({ kind: 'forced', to: undefined }));
  return log;
};
const failed = (log: Log): Log => {
  down(log).must(at(log).begin());
  return log;
};
const reported = (log: Log): Log => {
  log.must(at(log).cut(B, 100));
  return log;
};
const targets = (log: Log, seen = WITHOUT_A, self = SELF) =>
  fenceTargets(log.state, viewOf(log, 0, seen), self);

describe('a former primary that does not answer is switched off', () => {
  test.each<[string, () => Log]>([
    ['a person accepts a loss', () => reported(forced(down(upgraded(runningAlone()))))],
    ['its lease would have to be waited for', () => reported(failed(leased()))],
  ])('where %s', (_, begin) => {
    const log = begin();
    expect(targets(log)).toEqual([
      { incarnation: 1, epoch: log.epoch, group: GROUP, node: A, peer: P1, host: 'a', port: 5432 },
    ]);
  });

  test('and then the lease is not waited for', () => {
    const log = reported(failed(leased()));
    const leader = leaderOf(log, WITHOUT_A);
    expect(leader.at(0)).toEqual([]);
    const [target] = targets(log);
    log.must({ kind: 'node-off', group: GROUP, epoch: log.epoch, node: A, by: 'fence-command' });
    expect(target?.node).toBe(A);
    expect(leader.at(10), 'c may hold more').toEqual([]);
    log.must(at(log).cut(C, 90));
    expect(leader.at(20)).toMatchObject([{ kind: 'promote', candidate: B }]);
    expect(targets(log)).toEqual([]);
  });
});

describe('nobody is switched off where', () => {
  const ready = (): Log => reported(forced(down(upgraded(runningAlone()))));

  test.each<[string, () => Log, SeenNodes?, typeof SELF?]>([
    ['its agent answers', ready, ALL_WELL],
    ['it is on the host of the leader', ready, WITHOUT_A, P1],
    ['the leader itself does not find it down', ready, WITHOUT_A, peerId('p9')],
    ['too few peers find it down', () => reported(forced(upgraded(runningAlone())))],
    ['nobody has reported that could take over', () => forced(down(upgraded(runningAlone())))],
    ['the sync rule proves all that has to be proved', () => reported(failed(upgraded(running())))],
    [
      'the sync rule proves enough for a person, too',
      () => {
        const log = forced(down(upgraded(running())));
        log.must(at(log).cut(B, 100), at(log).cut(C, 90));
        return log;
      },
    ],
    [
      'the switchover is planned',
      () => {
        const log = down(leased());
        log.must(at(log).begin({ kind: 'planned', to: B }));
        return reported(log);
      },
    ],
    [
      'nobody could be promoted all the same, as whoever has reported lacks more than max_lag',
      () => {
        const log = upgraded(running());
        const settings = { ...log.group.settings, durability: 'async', maxLagBytes: 5 } as const;
        log.must({ kind: 'change-settings', group: GROUP, settings });
        log.must(at(log).change(LEASED));
        log.must(at(log).commitRule());
        return reported(failed(log));
      },
      { ...ALL_WELL, a: { condition: 'primary', ageMs: 60_000, position: 120n } },
    ],
    [
      'or as the rule of before, which a lease is only to replace, asks for another report',
      () => {
        const log = upgraded(running());
        const settings = { ...log.group.settings, durability: 'async' } as const;
        log.must({ kind: 'change-settings', group: GROUP, settings });
        log.must(at(log).change({ members: [MB], acks: 1 }));
        log.must(at(log).commitRule());
        log.must(at(log).change(LEASED));
        failed(log).must(at(log).cut(C, 100));
        return log;
      },
    ],
    ['the log was recovered', () => upgraded(recovered())],
    ['the group runs', () => down(leased())],
    ['not every peer understands it', () => reported(fencing())],
  ])('%s', (_, begin, seen, self) => {
    expect(targets(begin(), seen, self)).toEqual([]);
  });

  test('it has come back, has reported, or is known to be off', () => {
    const back = ready();
    back.must(at(back).up(P3));
    expect(targets(back)).toEqual([]);
    const heard = ready();
    heard.must(at(heard).cut(A, 100));
    expect(targets(heard)).toEqual([]);
    const off = ready();
    off.must({ kind: 'node-off', group: GROUP, epoch: off.epoch, node: A, by: 'operator' });
    expect(targets(off)).toEqual([]);
  });
});
