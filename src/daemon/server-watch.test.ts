// Servers that are only watched: what is probed, and which of what is seen reaches the log.
import { describe, expect, test } from 'vitest';
import { epoch, nodeId, peerId, timeline } from '../base/ids.ts';
import { systemClock } from '../base/clock.ts';
import type { Command, HostDeclaration, ServerWord } from '../cluster/commands.ts';
import { FORMATIONS_FEATURE_LEVEL } from '../cluster/features.ts';
import { P1, P2, P3, type Log, newLog, opening } from '../cluster/testing/example.ts';
import type { ServerFacts, Target } from '../health/events.ts';
import { DEFAULT_HEALTH_SETTINGS } from '../health/settings.ts';
import type { HealthOptions } from '../health/watch.ts';
import { missingWord, startServerWatch } from './server-watch.ts';

const FAR = { server: nodeId('far'), host: '10.0.0.9', port: 5432, formation: 'default' };
const STANDBY: ServerFacts = {
  role: 'standby',
  timeline: timeline(3),
  position: undefined,
  lagBytes: 0,
  lagMs: undefined,
};
const UP: ServerWord = { kind: 'up', role: 'standby', timeline: timeline(3) };

function started(): Log {
  const log = newLog({ ...newLog().state, featureLevel: FORMATIONS_FEATURE_LEVEL });
  for (const peer of [P1, P2, P3]) log.must(opening(log, peer, { features: FORMATIONS_FEATURE_LEVEL }));
  return log;
}

const declare = (watch: HostDeclaration['watch']): Command => ({
  ...{ kind: 'declare-host', peer: P3, host: { runs: undefined, watch } },
});

/** A watch whose probes are called from the test. */
function watching(log: Log) {
  let health: HealthOptions | undefined;
  const targets: (readonly Target[])[] = [];
  const proposed: Command[] = [];
  const watch = startServerWatch({
    ...{ self: P1, settings: DEFAULT_HEALTH_SETTINGS, clock: systemClock },
    credentials: { user: 'u', password: 'p', database: 'd' },
    log: { info: () => undefined, warn: () => undefined },
    via: { peers: new Map(), nodes: new Map([[FAR.server, { host: 'tunnel', port: 1 }]]) },
    state: () => log.state,
    propose(command) {
      proposed.push(command);
      const refused = log.commit(command);
      return Promise.resolve(
        refused === undefined ? ({ kind: 'applied' } as never) : { kind: 'refused', reason: refused },
      );
    },
    start(options) {
      health = options;
      return {
        setTargets: (next) => void targets.push(next),
        ...{ localProcessesGone: () => undefined, localProcessesBack: () => undefined },
        ...{ hostSaysGone: () => undefined, hostSaysBack: () => undefined },
        setQuorumReachable: () => undefined,
        snapshot: () => ({ abstains: undefined, nodes: [] }),
        close: () => Promise.resolve(),
      };
    },
  });
  const judge = (verdict: 'up' | 'down' | 'abstain'): void =>
    health?.onJudgement(FAR.server, epoch(0), {
      ...{ verdict, sinceMs: 0, note: '' },
      ...(verdict === 'down' ? { evidence: 'refused' as const } : {}),
    });
  return {
    watch,
    targets,
    proposed,
    judge,
    says: (facts: ServerFacts) => health?.onServer?.(FAR.server, facts),
  };
}

test('nothing is probed before somebody has a server watched; then it is, by the route that this peer has', () => {
  const log = started();
  const { watch, targets } = watching(log);
  watch.follow(log.state);
  expect(targets).toEqual([]);
  log.must(declare([FAR]));
  watch.follow(log.state);
  watch.follow(log.state);
  expect(targets).toEqual([
    [expect.objectContaining({ node: FAR.server, host: 'tunnel', expect: 'either' })],
  ]);
  log.must(declare([]));
  watch.follow(log.state);
  expect(targets.at(-1)).toEqual([]);
});

test('edges reach the log, with the role that was seen last; nothing does that is no news', async () => {
  const log = started();
  log.must(declare([FAR]));
  const { watch, proposed, judge, says } = watching(log);
  watch.follow(log.state);
  judge('abstain');
  says(STANDBY);
  expect(proposed).toEqual([]);
  judge('up');
  expect(proposed).toEqual([{ kind: 'judge-server', peer: P1, server: FAR.server, word: UP }]);
  const settled = async (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));
  await settled();
  says(STANDBY);
  watch.follow(log.state);
  expect(proposed).toHaveLength(1);
  judge('down');
  await settled();
  expect(proposed[1]).toMatchObject({ word: { kind: 'down', evidence: 'refused' } });
  // What it was before it was lost is not what it is when it is back.
  judge('up');
  await settled();
  expect(proposed[2]).toMatchObject({ word: { kind: 'up', role: undefined, timeline: undefined } });
  await watch.close();
});

describe('a word is missing', () => {
  test('only of a voter, and only once every peer understands it', () => {
    const log = started();
    log.must(declare([FAR]));
    expect(missingWord(log.state, P1, FAR.server, UP)).toMatchObject({ kind: 'judge-server' });
    expect(missingWord(log.state, peerId('p9'), FAR.server, UP)).toBeUndefined();
    const older = { ...log.state, featureLevel: FORMATIONS_FEATURE_LEVEL - 1 };
    expect(missingWord(older, P1, FAR.server, UP)).toBeUndefined();
    log.must({
      kind: 'judge-server',
      peer: P1,
      server: FAR.server,
      word: { kind: 'down', evidence: 'refused' },
    });
    expect(missingWord(log.state, P1, FAR.server, { kind: 'down', evidence: 'no-answer' })).toBeUndefined();
  });
});
