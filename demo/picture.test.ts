import { describe, expect, test } from 'vitest';
import { plain } from '../src/cli/paint.ts';
import type { EventView, GroupView, NodeView } from '../src/transport/types.ts';
import { renderPicture, type Model } from './picture.ts';
import { renderPulse } from './pulse.ts';
import { formatSince, stepOfNode, stepsOfEvents } from './story.ts';

const node = (name: string, role: NodeView['role'], state: string): NodeView => ({
  node: name,
  address: '127.0.0.1:5441',
  peer: 'a',
  role,
  state,
  timeline: 2,
  lsn: '16/B374D848',
  lagBytes: role === 'standby' ? 1024 : undefined,
  sync: role === 'standby' ? 'quorum' : undefined,
  member: undefined,
  heldDownBy: [],
  message: undefined,
});
const group: GroupView = {
  group: 'main',
  phase: 'running',
  epoch: 7,
  primary: 'pg1',
  durability: 'quorum',
  rule: '1 of pg2, pg3',
  ruleChange: undefined,
  nodes: [
    node('pg1', 'primary', 'running'),
    node('pg2', 'standby', 'streaming'),
    node('pg3', 'standby', 'streaming'),
  ],
};
const event = (index: number, kind: string, text: string, refused?: string): EventView => ({
  index,
  atMs: 1000 + index,
  group: 'main',
  kind,
  text,
  refused,
});

const events = [
  event(-5, 'subjective-down', 'before the kill'),
  event(1, 'subjective-down', 'peer a holds pg1 for down: its own agent saw all PostgreSQL processes gone'),
  event(2, 'subjective-down', 'peer b holds pg1 for down: connection closed, new ones refused'),
  event(3, 'begin-failover', 'refused one', 'not now'),
  event(4, 'begin-failover', 'failover of group main begins'),
  event(5, 'subjective-down', 'peer c holds pg1 for down: connection closed, new ones refused'),
  event(6, 'cut-report', 'pg2 cut its WAL streams at timeline 1, 0/40311F0'),
  event(7, 'begin-rule-change', 'of no interest here'),
  event(8, 'promote', 'pg2 chosen for promotion to timeline 2; commits: 1 of pg3'),
  event(9, 'promoted', 'pg2 is primary on timeline 2 from 0/40311F0'),
];

describe('the story', () => {
  test('tells each step of the failover once, with its time since the kill', () => {
    const steps = stepsOfEvents(events, 1000).map(({ atMs, text }) => `${formatSince(atMs)}  ${text}`);
    expect(steps).toEqual([
      '    +1 ms  peer a holds pg1 for down: all its processes are gone',
      '    +2 ms  peer b holds pg1 for down: connection closed, new ones refused',
      '    +4 ms  a quorum of peers agrees: failover begins, epoch 4',
      '    +6 ms  pg2 cut its WAL streams at timeline 1, 0/40311F0',
      '    +8 ms  pg2 chosen for promotion to timeline 2; commits: 1 of pg3',
      '    +9 ms  pg2 is primary on timeline 2 from 0/40311F0',
    ]);
  });

  test('tells how the old primary comes back, and says nothing where nothing changed', () => {
    const rewinding = node('pg1', 'none', 'rewinding');
    expect(stepOfNode(node('pg1', 'none', 'stopped'), rewinding, 5)?.text).toMatch(/pg_rewind/);
    expect(stepOfNode(rewinding, rewinding, 6)).toBeUndefined();
  });
});

describe('the pulse', () => {
  const ackedAtMs = [
    ...Array.from({ length: 100 }, (_, at) => at * 10),
    ...Array.from({ length: 50 }, (_, at) => 1500 + at * 10),
  ];

  test('keeps the gap in sight', () => {
    const { bars, sliceMs } = renderPulse({
      ackedAtMs,
      nowMs: 9000,
      killedAtMs: 1000,
      width: 60,
      unicode: false,
    });
    expect(bars).toHaveLength(60);
    expect(sliceMs).toBe(20);
    expect(bars).toMatch(/^[^ ]{15} {25}[^ ]{20}$/);
  });

  test('chooses longer slices for a longer gap', () => {
    const late = [...ackedAtMs.slice(0, 100), 6000, 6010];
    const { bars, sliceMs } = renderPulse({
      ackedAtMs: late,
      nowMs: 7000,
      killedAtMs: 1000,
      width: 60,
      unicode: true,
    });
    expect(sliceMs).toBeGreaterThan(80);
    expect(bars.trimEnd()).toMatch(/ {10,}/);
  });
});

describe('the picture', () => {
  const model: Model = {
    title: 'a title that is longer than the eighty columns that a terminal has, and then some more of it',
    hint: 'watch: node dist/src/cli/sentinelctl.js --peers 127.0.0.1:12345 status --watch, or any longer hint',
    group,
    client: { acked: 1204, node: 'pg1', ackedAtMs: [1, 2, 3] },
    before: [{ atMs: 100, text: 'three peers start', tone: 'plain' }],
    after: stepsOfEvents(events, 1000),
    result: ['  outage        112 ms  from the last write by pg1 to the first by pg2'],
    nowMs: 5000,
    killedAtMs: 1000,
  };
  const look = { width: 80, height: 50, paint: plain, unicode: true };

  test('is never wider than 80 columns', () => {
    for (const width of [80, 200]) {
      const lines = renderPicture(model, { ...look, width });
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
    }
  });

  test.each([50, 23, 20, 12, 5])('fits %i lines and keeps the end of the story', (height) => {
    const lines = renderPicture(model, { ...look, height });
    expect(lines.length).toBeLessThanOrEqual(height);
    expect(lines.at(-1)).toBe(model.result[0]);
  });

  test('says held for down of a primary that peers have given up', () => {
    const held: GroupView = {
      ...group,
      nodes: group.nodes.map((each) =>
        each.node === 'pg1' ? { ...each, heldDownBy: ['a: refused'] } : each,
      ),
    };
    expect(renderPicture({ ...model, group: held }, look).find((line) => line.includes('pg1'))).toBeDefined();
    expect(
      renderPicture({ ...model, group: held }, look).some((line) => /pg1 +primary +held for down/.test(line)),
    ).toBe(true);
  });
});
