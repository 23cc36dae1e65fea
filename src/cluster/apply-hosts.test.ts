// Declarations of hosts and words on watched servers: what is taken, what is refused, and what is forgotten when.
import { describe, expect, test } from 'vitest';
import { type PeerId, nodeId, timeline } from '../base/ids.ts';
import type { Command, HostDeclaration, ServerWord } from './commands.ts';
import { promotionBar, syncBar } from './eligibility.ts';
import { FORMATIONS_FEATURE_LEVEL } from './features.ts';
import { disowned, formationOf, watchedServers } from './hosts.ts';
import {
  A,
  B,
  C,
  GROUP,
  type Log,
  P1,
  P2,
  P3,
  membershipOf,
  newLog,
  opening,
  running,
} from './testing/example.ts';

const FAR = { server: nodeId('far'), host: '10.0.0.9', port: 5432, formation: 'abroad' };
const NEAR = { server: nodeId('near'), host: '10.0.0.8', port: 5432, formation: 'default' };
const UP: ServerWord = { kind: 'up', role: 'standby', timeline: timeline(3) };
const PRIMARY: ServerWord = { kind: 'up', role: 'primary', timeline: timeline(4) };
const DOWN: ServerWord = { kind: 'down', evidence: 'refused' };

function started(featureLevel = FORMATIONS_FEATURE_LEVEL): Log {
  const log = newLog({ ...running().state, featureLevel });
  for (const peer of [P1, P2, P3]) log.must(opening(log, peer, { features: featureLevel }));
  return log;
}

const runs = (node: typeof A, formation = 'default'): HostDeclaration => ({
  runs: { node, group: GROUP, formation },
  watch: [],
});
const NOTHING: HostDeclaration = { runs: undefined, watch: [] };
const declare = (peer: PeerId, host: HostDeclaration): Command => ({ kind: 'declare-host', peer, host });
const judge = (peer: PeerId, word: ServerWord): Command => ({
  ...{ kind: 'judge-server', peer, server: FAR.server, word },
});
const conclude = (word: ServerWord, before?: ServerWord): Command => ({
  ...{ kind: 'conclude-server', server: FAR.server, word, before },
});
const judged = (...words: readonly ServerWord[]): Log => {
  const log = started();
  log.must(declare(P1, { ...NOTHING, watch: [FAR] }));
  words.forEach((word, at) => log.must(judge([P1, P2, P3][at] ?? P3, word)));
  return log;
};

describe('what a configuration says of its host', () => {
  test('is refused before every peer understands it, of strangers, and where it is nonsense', () => {
    expect(started(9).commit(declare(P1, runs(A)))).toMatch(/upgrade all of them first/);
    const log = started();
    expect(log.commit(declare('p9' as PeerId, runs(A)))).toBe('p9 is not a member that has opened a session');
    expect(log.commit(declare(P1, runs(A, 'Far East')))).toMatch(/"Far East" is not the name of a formation/);
    expect(log.commit(declare(P1, { ...NOTHING, watch: [NEAR, FAR] }))).toMatch(/not in the order/);
    const many = Array.from({ length: 101 }, (_, at) => ({ ...FAR, server: nodeId(`s${100 + at}`) }));
    expect(log.commit(declare(P1, { ...NOTHING, watch: many }))).toMatch(/101 servers .* at most 100/);
  });

  test('keeps a node that its host no longer names from being promoted and counted', () => {
    const log = started();
    const of = (): NonNullable<ReturnType<Log['state']['nodes']['get']>> => {
      const node = log.state.nodes.get(C);
      if (node === undefined) throw new Error('c is gone');
      return node;
    };
    expect(disowned(log.state, of())).toBeUndefined();
    log.must(declare(P3, runs(C)));
    expect(promotionBar(log.state, log.group, C)).toBeUndefined();
    log.must(declare(P3, NOTHING));
    expect(disowned(log.state, of())).toEqual({ peer: P3, runs: undefined });
    const words = 'without an agent: host p3 no longer runs node c (its configuration does not name it)';
    expect(promotionBar(log.state, log.group, C)).toBe(words);
    expect(syncBar(log.state, log.group, C)).toBe(words);
    log.must(declare(P3, runs(nodeId('d'))));
    expect(syncBar(log.state, log.group, C)).toMatch(/its configuration names d/);
    log.must(declare(P3, runs(C)));
    expect(syncBar(log.state, log.group, C)).toBeUndefined();
  });

  test('outlives a restart of the peer, and is forgotten with it', () => {
    const log = started();
    log.must(declare(P3, NOTHING));
    log.must(opening(log, P3, { session: 'p3-run2', features: FORMATIONS_FEATURE_LEVEL }));
    expect(log.state.peers.get(P3)?.host).toEqual(NOTHING);
    log.change(membershipOf([P1, P2]));
    log.change(membershipOf([P1, P2, P3]));
    log.must(opening(log, P3, { session: 'p3-run3', features: FORMATIONS_FEATURE_LEVEL }));
    expect(log.state.peers.get(P3)?.host).toBeUndefined();
  });

  test('places a group in the formation that most of its hosts name', () => {
    const log = started();
    expect(formationOf(log.state, GROUP)).toBe('default');
    log.must(declare(P1, runs(A, 'emea')), declare(P2, runs(B, 'apac')));
    expect(formationOf(log.state, GROUP)).toBe('apac');
    log.must(declare(P3, runs(C, 'emea')));
    expect(formationOf(log.state, GROUP)).toBe('emea');
  });
});

describe('a server that is only watched', () => {
  test('is judged by voters, where somebody has it watched', () => {
    const log = started();
    expect(log.commit(judge(P1, UP))).toBe('no configuration has far watched');
    log.must(declare(P1, { ...NOTHING, watch: [FAR] }));
    log.change(membershipOf([P1, P2], { learners: [P3] }));
    expect(log.commit(judge(P3, UP))).toBe('peer p3 is not a voter');
    log.must(judge(P2, DOWN), judge(P1, UP), judge(P2, UP));
    expect(log.state.watched.get(FAR.server)?.words).toEqual([
      { peer: P1, word: UP },
      { peer: P2, word: UP },
    ]);
  });

  test('is concluded of only what a majority of the voters sees, once', () => {
    const log = judged(UP, DOWN);
    expect(log.commit(conclude(UP))).toBe('no majority sees that of far');
    expect(log.commit(conclude(DOWN))).toBe('no majority sees that of far');
    log.must(judge(P3, UP), conclude(UP));
    expect(log.commit(conclude(UP, UP))).toBe('that is concluded of far already');
    log.must(judge(P1, DOWN));
    expect(log.commit(conclude(DOWN))).toBe('something else is concluded of far by now');
    log.must(conclude({ kind: 'down', evidence: 'no-answer' }, UP));
    expect(log.state.watched.get(FAR.server)?.concluded).toMatchObject({ kind: 'down' });
  });

  test('may be up in a role that no majority agrees on: what was concluded stands', () => {
    const log = judged(UP, UP);
    log.must(conclude(UP), judge(P2, PRIMARY), judge(P3, DOWN));
    for (const word of [PRIMARY, DOWN]) expect(log.commit(conclude(word, UP))).toMatch(/no majority/);
    log.must(judge(P1, PRIMARY), conclude(PRIMARY, UP));
  });

  test('is forgotten with the last that has it watched, and when it moves', () => {
    const log = judged(UP, UP);
    log.must(declare(P2, { ...NOTHING, watch: [FAR] }), declare(P1, NOTHING));
    expect(log.state.watched.size).toBe(1);
    log.must(declare(P2, { ...NOTHING, watch: [{ ...FAR, port: 5433 }] }));
    expect(log.state.watched.size).toBe(0);
    log.must(judge(P1, UP));
    log.change(membershipOf([P1, P3]));
    expect(log.state.watched.size).toBe(0);
    expect(watchedServers(log.state)).toEqual([]);
  });

  test('is not judged by a voter that has left', () => {
    const log = judged(UP, UP, DOWN);
    log.change(membershipOf([P1, P3]));
    expect(log.state.watched.get(FAR.server)?.words.map(({ peer }) => peer)).toEqual([P1, P3]);
    expect(log.commit(conclude(UP))).toBe('no majority sees that of far');
  });

  test('is where the first of those says that have it watched', () => {
    const log = started();
    log.must(declare(P2, { ...NOTHING, watch: [FAR, NEAR] }));
    log.must(declare(P1, { ...NOTHING, watch: [{ ...FAR, host: '10.9.9.9' }] }));
    expect(watchedServers(log.state)).toEqual([{ ...FAR, host: '10.9.9.9' }, NEAR]);
  });
});
