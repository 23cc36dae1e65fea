// Groups made of servers that run already: what is refused, what begins and what ends their adoption.
import { describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import type { Command } from './commands.ts';
import { ADOPTION_FEATURE_LEVEL } from './features.ts';
import { isUnprotected } from './state.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  type Log,
  P1,
  P2,
  RULE_BC,
  at,
  memberOfNode,
  newLog,
  registration,
} from './testing/example.ts';

const SYSTEM = '7000000000000000001';
const withData = (node = A, systemIdentifier = SYSTEM): Command => ({
  ...registration(node, undefined),
  systemIdentifier,
});
const ADOPT = {
  kind: 'adopt-group',
  group: GROUP,
  primary: A,
  systemIdentifier: SYSTEM,
  timeline: timeline(4),
  standbys: [B, C],
} as const satisfies Command;
const adopted = (node = A): Command => ({ kind: 'node-adopted', group: GROUP, epoch: log.epoch, node });
let log: Log;
const registered = (...commands: readonly Command[]): Log => {
  log = newLog({ ...newLog().state, featureLevel: ADOPTION_FEATURE_LEVEL });
  log.must(...(commands.length > 0 ? commands : [withData(A), withData(B), withData(C)]));
  return log;
};
const begun = (): Log => {
  registered().must(ADOPT);
  for (const node of [A, B, C])
    log.must({ ...registration(node, memberOfNode(node)), systemIdentifier: SYSTEM });
  return log;
};

describe('adopt-group', () => {
  test('makes a group that runs, on the timeline it was found on, with every node still to be taken over', () => {
    expect(begun().group).toMatchObject({
      phase: { kind: 'running', primary: A, timeline: 4 },
      highestTimeline: 4,
      rule: ALONE,
      systemIdentifier: SYSTEM,
      toAdopt: [B, C, A],
    });
    expect(isUnprotected(log.group)).toBe(true);
    expect(log.commit(ADOPT)).toMatch(/exists/);
  });

  test('is refused before every peer understands it', () => {
    log = newLog({ ...registered().state, featureLevel: ADOPTION_FEATURE_LEVEL - 1 });
    expect(log.commit(ADOPT)).toMatch(/upgrade/);
  });

  test.each<readonly [string, readonly Command[], Partial<typeof ADOPT>, RegExp]>([
    [
      'another database',
      [withData(A), withData(B), withData(C, '7000000000000000002')],
      {},
      /another database/,
    ],
    ['a node without data', [withData(A), withData(B), registration(C, undefined)], {}, /c has no data/],
    ['a node that is not there', [withData(A), withData(B)], {}, /node c is not registered/],
    [
      'data beside them',
      [withData(A), withData(B), withData(C)],
      { standbys: [B] as never },
      /no standby of a/,
    ],
    ['a node twice', [withData(A), withData(B)], { standbys: [B, B] as never }, /twice/],
  ])('refuses %s', (_, commands, change, reason) => {
    registered(...commands);
    expect(log.commit({ ...ADOPT, ...change })).toMatch(reason);
    expect(log.state.groups.size).toBe(0);
  });
});

describe('while it is unprotected', () => {
  test('a group neither fails over by itself nor gets a rule', () => {
    begun().must(at(log).down(P1), at(log).down(P2));
    expect(log.commit(at(log).begin())).toMatch(/being adopted/);
    expect(log.commit(at(log).change(RULE_BC))).toMatch(/being adopted/);
  });

  test('it is switched over once its standbys are taken over, to one that holds all of its WAL', () => {
    const planned = () => log.commit(at(log).begin({ kind: 'planned', to: B }));
    begun();
    expect(planned()).toMatch(/b is not taken over yet/);
    log.must(adopted(B), adopted(C));
    expect(planned()).toBeUndefined();
    log.must(at(log).cut(B, 100, { timeline: timeline(4) }), at(log).cut(C, 99, { timeline: timeline(4) }));
    const promote = () =>
      log.commit(at(log).promote(B, 5, { members: [RULE_BC.members[1] ?? ('' as never)], acks: 1 }));
    expect(promote()).toMatch(/too few without a/);
    log.must(at(log).cut(A, 101, { timeline: timeline(4), stopped: true }));
    expect(promote()).toMatch(/lacks WAL/);
    log.must(at(log).cut(B, 101, { timeline: timeline(4) }));
    expect(promote()).toBeUndefined();
    expect(log.group.toAdopt).toEqual([]);
    expect(isUnprotected(log.group)).toBe(false);
  });
});

describe('the switchover that ends it', () => {
  const planned = { kind: 'planned', to: B } as const;

  test('is a person’s to begin, whatever failback says', () => {
    begun().must(adopted(B), adopted(C));
    log.must({ kind: 'change-settings', group: GROUP, settings: { failback: `node:${B}` } });
    const begin = at(log).begin(planned);
    expect(log.commit({ ...begin, isFailback: true } as Command)).toMatch(/being adopted/);
    log.must(begin);
  });

  test('leads to no node that is never promoted', () => {
    begun().must(adopted(B), adopted(C));
    const options = { noFailover: true, noSync: false, applyDelayMs: 0 };
    log.must({ ...registration(B, memberOfNode(B)), systemIdentifier: SYSTEM, options } as Command);
    expect(log.commit(at(log).begin(planned))).toMatch(/b is never promoted/);
  });
});

describe('a primary without a member id', () => {
  test('is not switched over from: it could not say where its WAL ends', () => {
    registered().must(ADOPT);
    for (const node of [B, C])
      log.must({ ...registration(node, memberOfNode(node)), systemIdentifier: SYSTEM }, adopted(node));
    const begin = () => log.commit(at(log).begin({ kind: 'planned', to: B }));
    expect(begin()).toMatch(/a is not taken over yet/);
    log.must({ ...registration(A, memberOfNode(A)), systemIdentifier: SYSTEM });
    expect(begin()).toBeUndefined();
  });
});

describe('node-adopted', () => {
  test('is waited for of no node that is taken out meanwhile', () => {
    begun().must({ kind: 'remove-node', group: GROUP, node: B, leaving: 'leave' });
    expect(log.group.toAdopt).toEqual([C, A]);
  });

  test('ends it for one node; with the primary the group is protected as any other', () => {
    begun().must(adopted(A));
    expect(log.group.toAdopt).toEqual([B, C]);
    expect(isUnprotected(log.group)).toBe(false);
    log.must(at(log).change(RULE_BC));
    expect(log.commit(adopted(A))).toMatch(/not being adopted/);
  });

  test('is refused for a node that counts for nobody yet', () => {
    registered().must(ADOPT);
    expect(log.commit(adopted(B))).toMatch(/no member id/);
  });
});
