// What events say of hosts and of servers that are only watched.
import { expect, test } from 'vitest';
import { groupId, nodeId, peerId, timeline } from '../base/ids.ts';
import type { Command, ServerWord } from '../cluster/commands.ts';
import { P1, newLog } from '../cluster/testing/example.ts';
import { eventView } from './event-text.ts';

const server = nodeId('far');
const up = (role?: 'primary' | 'standby', on?: number): ServerWord => ({
  ...{ kind: 'up', role, timeline: on === undefined ? undefined : timeline(on) },
});
const down: ServerWord = { kind: 'down', evidence: 'no-answer' };
const judged = (word: ServerWord): Command => ({ kind: 'judge-server', peer: P1, server, word });
const concluded = (word: ServerWord, before?: ServerWord): Command => ({
  ...{ kind: 'conclude-server', server, word, before },
});
const declared = (formation: string, watch = false): Command => ({
  kind: 'declare-host',
  peer: peerId('c'),
  host: {
    runs: { node: nodeId('pg3'), group: groupId('main'), formation },
    watch: watch ? [{ server, host: '10.0.0.9', port: 5432, formation: 'default' }] : [],
  },
});

test.each<[Command, string]>([
  [declared('default'), 'by its configuration, host c runs node pg3 (group main)'],
  [
    declared('emea', true),
    'by its configuration, host c runs node pg3 (group main, formation emea); it has watched: far at 10.0.0.9:5432',
  ],
  [
    { kind: 'declare-host', peer: P1, host: { runs: undefined, watch: [] } },
    'by its configuration, host p1 runs no PostgreSQL: it is a witness',
  ],
  [judged(down), 'peer p1 finds watched server far down: no answer'],
  [judged(up()), 'peer p1 finds watched server far up, and does not let us in to ask for its role'],
  [concluded(up('standby', 3)), 'watched server far is up: a standby on timeline 3'],
  [concluded(down, up('standby', 3)), 'watched server far is down: no answer'],
  [concluded(up('primary', 4), down), 'watched server far is up: a primary on timeline 4'],
  [
    concluded(up('primary', 4), up('standby', 3)),
    'watched server far changed its role: it was a standby, and is a primary on timeline 4',
  ],
  [concluded(up('standby', 4), up('standby', 3)), 'watched server far is on timeline 4 now'],
])('%j', (command, text) => {
  const event = { index: 1 as never, proposedAtMs: 0, command, refused: undefined };
  expect(eventView(newLog().state, event).text).toBe(text);
});
