// What a host's file says of its node and of servers to watch reaches the log once every peer understands it, and only where it is news.
import { expect, test } from 'vitest';
import { nodeId } from '../base/ids.ts';
import type { HostDeclaration } from '../cluster/commands.ts';
import { FORMATIONS_FEATURE_LEVEL } from '../cluster/features.ts';
import { A, GROUP, P1 } from '../cluster/testing/example.ts';
import { declarationOf, declareHost } from './host-declaration.ts';
import { createToldLog } from './testing/told-log.ts';

const FAR = { server: nodeId('far'), host: '10.0.0.9', port: 5432, formation: 'default' };

test('a host is declared once the level is reached, again where the log has something else, and never twice', () => {
  const told = createToldLog(FORMATIONS_FEATURE_LEVEL);
  const { replica, proposed } = told;
  const begin = (host: HostDeclaration): AbortController => {
    const stop = new AbortController();
    declareHost({ self: P1, host, replica, signal: stop.signal });
    return stop;
  };
  const node = { name: A, group: GROUP, formation: 'home' };
  const host = declarationOf({ node, watch: [FAR] } as unknown as Parameters<typeof declarationOf>[0]);
  const first = begin(host);
  expect(proposed).toEqual([]);
  told.reachLevel();
  told.wake();
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
