// Views of a three-peer cluster in the states that a person meets, for the tests of what is drawn from them.
import type {
  EventView,
  GroupView,
  NodeView,
  PeerListEntry,
  PeerListView,
  PeerView,
  StatusView,
} from '../../transport/types.ts';

/** 2026-11-21 04:12:31.000 UTC. */
const NOW_MS = Date.UTC(2026, 10, 21, 4, 12, 31);

const node = (name: string, number: number, change: Partial<NodeView> = {}): NodeView => ({
  node: name,
  address: `10.0.0.${number}:5432`,
  peer: 'abc'[number - 1] ?? 'x',
  role: 'standby',
  state: 'streaming',
  timeline: 3,
  lsn: '16/B374D848',
  lagBytes: 0,
  sync: 'quorum',
  member: `${name}_1f2e3d4c`,
  heldDownBy: [],
  message: undefined,
  ...change,
});

const PRIMARY: Partial<NodeView> = {
  role: 'primary',
  state: 'running',
  sync: undefined,
  lagBytes: undefined,
};

const group = (change: Partial<GroupView> = {}): GroupView => ({
  group: 'main',
  phase: 'running',
  epoch: 17,
  primary: 'pg1',
  durability: 'quorum',
  rule: '1 of pg2, pg3',
  ruleChange: undefined,
  nodes: [node('pg1', 1, PRIMARY), node('pg2', 2), node('pg3', 3, { lagBytes: 328, lsn: '16/B374D700' })],
  ...change,
});

const peer = (name: string, number: number, change: Partial<PeerView> = {}): PeerView => ({
  peer: name,
  address: `10.0.0.${number}:7432`,
  role: 'follower',
  reachable: true,
  matchIndex: 421,
  ...change,
});

export const HEALTHY: StatusView = {
  cluster: 'shop',
  answeredBy: 'a',
  atMs: NOW_MS,
  leader: 'b',
  term: 4,
  commitIndex: 421,
  appliedIndex: 421,
  peers: [peer('a', 1), peer('b', 2, { role: 'leader' }), peer('c', 3)],
  groups: [group()],
  warnings: [],
};

/** The log at `index` on all peers. */
const at = (index: number): Pick<StatusView, 'appliedIndex' | 'commitIndex' | 'peers'> => ({
  appliedIndex: index,
  commitIndex: index,
  peers: HEALTHY.peers.map((view) => ({ ...view, matchIndex: index })),
});

const lost = { role: 'none', state: 'stopped', lagBytes: undefined, sync: undefined } as const;
const heldDownBy = ['a: processes-gone', 'b: refused'];

export const FENCING: StatusView = {
  ...HEALTHY,
  atMs: NOW_MS + 40,
  ...at(424),
  groups: [
    group({
      phase: 'fencing',
      epoch: 424,
      nodes: [
        node('pg1', 1, { ...lost, heldDownBy }),
        node('pg2', 2, { state: 'cut', lagBytes: undefined, sync: undefined }),
        node('pg3', 3, { state: 'running', lagBytes: undefined, sync: undefined }),
      ],
    }),
  ],
};

export const PROMOTING: StatusView = {
  ...HEALTHY,
  atMs: NOW_MS + 90,
  ...at(427),
  groups: [
    group({
      phase: 'promoting',
      epoch: 424,
      primary: 'pg2',
      nodes: [
        node('pg1', 1, { ...lost, heldDownBy }),
        node('pg2', 2, { state: 'promoting', lagBytes: undefined, sync: undefined }),
        node('pg3', 3, { state: 'cut', lagBytes: undefined, sync: undefined }),
      ],
    }),
  ],
};

/** After the failover; the old primary is being rewound and peer c was lost meanwhile. */
export const DEGRADED: StatusView = {
  ...HEALTHY,
  atMs: NOW_MS + 2000,
  appliedIndex: 430,
  commitIndex: 430,
  peers: [
    peer('a', 1, { matchIndex: 430 }),
    peer('b', 2, { role: 'leader', matchIndex: 430 }),
    peer('c', 3, { role: 'unknown', reachable: false }),
  ],
  groups: [
    group({
      epoch: 424,
      primary: 'pg2',
      rule: '1 of pg1, pg3',
      ruleChange: 'alone',
      nodes: [
        node('pg1', 1, {
          ...lost,
          state: 'rewinding',
          message: 'rewinding to timeline 4, which left timeline 3 at 16/B374D848',
        }),
        node('pg2', 2, { ...PRIMARY, timeline: 4 }),
        node('pg3', 3, {
          role: 'none',
          state: 'unknown',
          timeline: undefined,
          lsn: undefined,
          lagBytes: undefined,
          sync: undefined,
        }),
      ],
    }),
  ],
  warnings: ['group main could not fail over now: only 1 of the 2 members that step 3 needs can be reached'],
};

const event = (index: number, kind: string, afterMs: number, text: string, refused?: string): EventView => ({
  index,
  atMs: NOW_MS + afterMs,
  group: 'main',
  kind,
  text,
  refused,
});

export const EVENTS: readonly EventView[] = [
  event(17, 'create-group', -60_000, 'group main created, first primary pg1'),
  event(18, 'group-ready', -59_500, 'group main takes writes on timeline 3'),
  event(
    422,
    'subjective-down',
    3,
    'peer a holds pg1 for down: its own agent saw all PostgreSQL processes gone',
  ),
  event(423, 'subjective-down', 5, 'peer b holds pg1 for down: connection closed, new ones refused'),
  event(
    424,
    'begin-failover',
    12,
    'failover of group main begins: a quorum of peers holds the primary for down',
  ),
  event(425, 'begin-failover', 13, 'failover of group main begins', 'the group is fencing already'),
  event(426, 'cut-report', 50, 'pg2 cut its WAL streams at timeline 3, 16/B374D848'),
  event(427, 'promote', 62, 'pg2 chosen for promotion to timeline 4; commits: 1 of pg1, pg3'),
  event(428, 'promoted', 121, 'pg2 is primary on timeline 4 from 16/B374D848'),
];

const entry = (name: string, number: number, change: Partial<PeerListEntry> = {}): PeerListEntry => ({
  peer: name,
  address: `10.0.0.${number}:7432`,
  kind: 'voter',
  role: 'follower',
  reachable: true,
  matchIndex: 421,
  lagEntries: 0,
  features: 1,
  ...change,
});

/** As the leader has it: three voters and a learner that is catching up. */
export const PEERS: PeerListView = {
  cluster: 'shop',
  incarnation: 1,
  featureLevel: 1,
  leader: 'b',
  peers: [
    entry('a', 1),
    entry('b', 2, { role: 'leader' }),
    entry('c', 3, { reachable: false, role: 'unknown', lagEntries: 7 }),
    entry('d', 4, { kind: 'learner', lagEntries: 120 }),
  ],
};
