// What a host's file says of its node and of servers to watch reaches the log once every peer understands it, and only where it is news.
import { expect, test } from 'vitest';
import { nodeId } from '../base/ids.ts';
import type { Command, HostDeclaration } from '../cluster/commands.ts';
import { FORMATIONS_FEATURE_LEVEL } from '../cluster/features.ts';
import type { ClusterState } from '../cluster/state.ts';
import { A, GROUP, P1, newLog, opening, running } from '../cluster/testing/example.ts';
import { declarationOf, declareHost } from './host-declaration.ts';

const FAR = { server: nodeId('far'), host: '10.0.0.9', port: 5432, formation: 'default' };

test('a host is declared once the level is reached, again where the log has something else, and never twice', () => {
  const log = newLog(running().state);
  log.must(opening(log, P1, { features: FORMATIONS_FEATURE_LEVEL }));
  const proposed: Command[] = [];
  const listeners: (() => void)[] = [];
  const replica = {
    get state(): ClusterState {
      return log.state;
    },
    subscribe(listener: (state: ClusterState, events: readonly []) => void) {
      listeners.push(() => listener(log.state, []));
      return () => undefined;
    },
    propose(command: Command) {
      proposed.push(command);
      log.must(command);
      return Promise.resolve({ kind: 'applied' } as never);
    },
  };
  const begin = (host: HostDeclaration): AbortController => {
    const stop = new AbortController();
    declareHost({ self: P1, host, replica, signal: stop.signal });
    return stop;
  };
  const node = { name: A, group: GROUP, formation: 'home' };
  const host = declarationOf({ node, watch: [FAR] } as unknown as Parameters<typeof declarationOf>[0]);
  const first = begin(host);
  expect(proposed).toEqual([]);
  log.state = { ...log.state, featureLevel: FORMATIONS_FEATURE_LEVEL };
  for (const listener of listeners) listener();
  for (const listener of listeners) listener();
  expect(proposed).toEqual([{ kind: 'declare-host', peer: P1, host }]);
  expect(host).toEqual({ runs: { node: A, group: GROUP, formation: 'home' }, watch: [FAR] });
  first.abort();
  // Started again with the same file, then with another one.
  begin(declarationOf({ node, watch: [FAR] } as unknown as Parameters<typeof declarationOf>[0])).abort();
  expect(proposed).toHaveLength(1);
  begin(declarationOf({ node: undefined, watch: [] })).abort();
  expect(proposed.slice(1)).toEqual([
    { kind: 'declare-host', peer: P1, host: { runs: undefined, watch: [] } },
  ]);
});
