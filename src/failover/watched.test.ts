// What a majority of the voters sees of a watched server is proposed once, and only while it is news.
import { expect, test } from 'vitest';
import { nodeId, timeline } from '../base/ids.ts';
import type { Command, ServerWord } from '../cluster/commands.ts';
import { FORMATIONS_FEATURE_LEVEL } from '../cluster/features.ts';
import { P1, P2, P3, newLog, opening } from '../cluster/testing/example.ts';
import { concludeServers } from './watched.ts';

const server = nodeId('far');
const up = (role: 'primary' | 'standby'): ServerWord => ({ kind: 'up', role, timeline: timeline(1) });

test('a watched server that comes, changes its role and goes', () => {
  const log = newLog({ ...newLog().state, featureLevel: FORMATIONS_FEATURE_LEVEL });
  for (const peer of [P1, P2, P3]) log.must(opening(log, peer, { features: FORMATIONS_FEATURE_LEVEL }));
  const watch = [{ server, host: 'far', port: 5432, formation: 'default' }];
  log.must({ kind: 'declare-host', peer: P3, host: { runs: undefined, watch } });
  const says = (peer: typeof P1, word: ServerWord): void =>
    log.must({ kind: 'judge-server', peer, server, word });
  const wanted = (): Command[] => [...concludeServers(log.state)];

  says(P1, up('standby'));
  expect(wanted()).toEqual([]);
  says(P2, up('standby'));
  const first = { kind: 'conclude-server', server, word: up('standby'), before: undefined } as const;
  expect(wanted()).toEqual([first]);
  log.must(first);
  says(P3, { kind: 'down', evidence: 'refused' });
  expect(wanted()).toEqual([]);
  says(P1, up('primary'));
  says(P2, up('primary'));
  const second = { kind: 'conclude-server', server, word: up('primary'), before: up('standby') } as const;
  expect(wanted()).toEqual([second]);
  log.must(second);
  // Two that see it down for different reasons are a majority; that another one sees yet another reason is no news.
  says(P1, { kind: 'down', evidence: 'no-answer' });
  expect(wanted()).toMatchObject([{ word: { kind: 'down' }, before: up('primary') }]);
  log.must(...wanted());
  says(P2, { kind: 'down', evidence: 'no-answer' });
  expect(wanted()).toEqual([]);
});
