// What a host's file says of its part reaches the log once every peer understands it, and only then.
import { expect, test } from 'vitest';
import { NO_OPTIONS } from '../cluster/eligibility.ts';
import { CANDIDATES_FEATURE_LEVEL, CASCADE_FEATURE_LEVEL, SITE_FEATURE_LEVEL } from '../cluster/features.ts';
import { A, B, GROUP, P1 } from '../cluster/testing/example.ts';
import { registrationOf } from './local-agent.ts';
import { tellSite } from './site-word.ts';
import { createToldLog } from './testing/told-log.ts';

test('the site is told once the level is reached, again where it changes, and never twice', () => {
  const told = createToldLog(CANDIDATES_FEATURE_LEVEL);
  const { log, replica, proposed } = told;
  const stop = new AbortController();
  tellSite({ self: P1, site: 'east', replica, signal: stop.signal });
  expect(proposed).toEqual([]);
  told.reachLevel();
  told.wake();
  expect(proposed).toEqual([{ kind: 'describe-peer', peer: P1, site: 'east' }]);
  expect(log.state.peers.get(P1)?.site).toBe('east');
  stop.abort();
  log.must({ kind: 'describe-peer', peer: P1, site: undefined });
  told.wake();
  expect(proposed).toHaveLength(1);
});

test.each([
  [{ ...NO_OPTIONS, noFailover: true }, 0],
  [{ ...NO_OPTIONS, applyDelayMs: 1000 }, 0],
  [{ ...NO_OPTIONS, noSync: true }, 100],
])(
  'a node with %j is registered with it once every peer understands it, and with priority %i at once',
  (options, priority) => {
    const node = { name: A, group: GROUP, host: 'a', port: 5432, priority: 100, options };
    expect(registrationOf(P1, node, CANDIDATES_FEATURE_LEVEL)).toMatchObject({ options, priority });
    const before = registrationOf(P1, node, CANDIDATES_FEATURE_LEVEL - 1);
    expect(before).toMatchObject({ priority });
    expect(before).not.toHaveProperty('options');
    const none = registrationOf(P1, { ...node, options: NO_OPTIONS }, CANDIDATES_FEATURE_LEVEL);
    expect(none).not.toHaveProperty('options');
  },
);

test('an upstream is registered once every peer understands it: before, each pass would find it missing', () => {
  const options = { ...NO_OPTIONS, upstream: B };
  const node = { name: A, group: GROUP, host: 'a', port: 5432, priority: 100, options };
  expect(registrationOf(P1, node, CASCADE_FEATURE_LEVEL)).toMatchObject({ options });
  expect(registrationOf(P1, node, CASCADE_FEATURE_LEVEL - 1)).not.toHaveProperty('options');
  const noSync = { ...node, options: { ...options, noSync: true } };
  const before = registrationOf(P1, noSync, CASCADE_FEATURE_LEVEL - 1);
  expect(before.options).toEqual({ ...NO_OPTIONS, noSync: true });
});

test('so is the other site that its group is to follow', () => {
  const options = { ...NO_OPTIONS, source: 'far:5432' };
  const node = { name: A, group: GROUP, host: 'a', port: 5432, priority: 100, options };
  expect(registrationOf(P1, node, SITE_FEATURE_LEVEL)).toMatchObject({ options });
  expect(registrationOf(P1, node, SITE_FEATURE_LEVEL - 1)).not.toHaveProperty('options');
});
