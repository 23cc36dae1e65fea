// A peer that starts from a snapshot must go on exactly as those that applied the whole log: same states, same bytes.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type NodeId, memberId, nodeId, peerId, timeline } from '../base/ids.ts';
import { StateSnapshotSchema } from '../gen/pg_sentinel/v1/snapshot_pb.ts';
import { applyNothing, emptyState } from './apply.ts';
import type { Command, SyncRule } from './commands.ts';
import { eventListOf, listEvents } from './event-list.ts';
import {
  ADOPTION_FEATURE_LEVEL,
  CANDIDATES_FEATURE_LEVEL,
  FEATURES,
  FORMATIONS_FEATURE_LEVEL,
  HBA_FEATURE_LEVEL,
  PAUSE_FEATURE_LEVEL,
  REMOVAL_FEATURE_LEVEL,
  SLOTS_FEATURE_LEVEL,
} from './features.ts';
import { LogFormatError } from './log-format.ts';
import { decodeState, encodeState } from './snapshot-codec.ts';
import type { ClusterState } from './state.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  type Log,
  MB,
  MC,
  P1,
  P2,
  P3,
  at,
  creating,
  fencing,
  membershipOf,
  newLog,
  opening,
  promoted,
  promoting,
  recovered,
  registration,
  running,
  runningAlone,
} from './testing/example.ts';
import { replaced } from './testing/replaced.ts';

const again = (state: ClusterState): ClusterState => decodeState(encodeState(state));
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const JOINING = { voters: [], learners: [], addresses: new Map(), incarnation: 0 };
const twiceUnopened = (): Log => {
  const log = promoting();
  log.must(at(log).failed(B), at(log).begin({ kind: 'promotion-failed' }));
  log.must(at(log).cut(C, 100), at(log).cut(B, 100), at(log).promote(C, 3, { members: [], acks: 0 }));
  return log;
};
const planned = (to: NodeId | undefined) => () => {
  const log = running();
  log.must(at(log).begin({ kind: 'planned', to }));
  return log;
};
const fenceFailed = (): Log => {
  const log = fencing();
  log.must({ kind: 'fence-failed', group: GROUP, epoch: log.epoch, node: A, reason: 'exit code 1' });
  return log;
};
const paused = (): Log => {
  const log = newLog({ ...running().state, featureLevel: PAUSE_FEATURE_LEVEL });
  const base = { kind: 'pause', group: GROUP } as const;
  log.must(
    { ...base, node: undefined, isMaintenance: false, untilMs: undefined },
    { ...base, node: C, isMaintenance: true, untilMs: 1_800_000_000_000 },
    { ...base, node: A, isMaintenance: false, untilMs: undefined },
  );
  return log;
};

/** c is given up, b only absent. */
const absent = (): Log => {
  const log = newLog({ ...running().state, featureLevel: SLOTS_FEATURE_LEVEL });
  log.must(at(log).change({ members: [MB], acks: 1 }));
  log.must(at(log).commitRule());
  for (const member of [MC, MB]) log.must({ kind: 'mark-absent', group: GROUP, member });
  log.commit({ kind: 'give-up-slot', group: GROUP, member: MC }, { proposedAtMs: 86_400_000 });
  expect(log.group.absent.map(({ givenUpAtMs }) => givenUpAtMs)).toEqual([undefined, 86_400_000]);
  return log;
};

const configured = (): Log => {
  const log = newLog({ ...running().state, featureLevel: HBA_FEATURE_LEVEL });
  const base = { kind: 'configure', group: GROUP, by: 'ann@db1' } as const;
  for (const [name, value] of [['work_mem', '64MB'], ['jit', 'off'], ['work_mem']] as const)
    log.must({ ...base, settings: {}, parameters: [{ name, value }] });
  log.must({ ...base, settings: { acks: 2 }, parameters: [], hba: ['local all all peer'] });
  return log;
};

/** One of each standing. */
const withLogicalSlots = (): Log => {
  const log = newLog({ ...running().state, featureLevel: FEATURES });
  const base = { kind: 'configure', group: GROUP, by: '', settings: {}, parameters: [] } as const;
  const wanted = { database: 'app', plugin: 'pgoutput', isTwoPhase: true };
  const names = ['a', 'b', 'c', 'd'];
  log.must({ ...base, logicalSlots: names.map((name) => ({ name, wanted })) });
  const say = (name: string, outcome: 'made' | 'lost'): Command => ({
    ...{ kind: 'logical-slot', group: GROUP, epoch: log.epoch, node: A, name, outcome },
    ...{ setAt: log.group.settingsRevision, reason: outcome === 'lost' ? 'dropped' : undefined },
  });
  log.must(say('b', 'made'), say('c', 'made'), say('c', 'lost'));
  log.must({ ...base, logicalSlots: [{ name: 'd', wanted: undefined }] });
  expect(log.group.logicalSlots.map(({ standing }) => standing)).toEqual(['wanted', 'made', 'lost', 'unset']);
  return log;
};

/** Options, sites, and a failback that was given back. */
const placed = (): Log => {
  const log = newLog({ ...running().state, featureLevel: CANDIDATES_FEATURE_LEVEL });
  for (const peer of [P1, P2]) log.must(opening(log, peer, { features: CANDIDATES_FEATURE_LEVEL }));
  log.must(
    { kind: 'describe-peer', peer: P1, site: 'east' },
    { ...registration(C, MC), options: { noFailover: true, noSync: false, applyDelayMs: 0 } },
    { ...registration(B, MB), options: { noFailover: false, noSync: true, applyDelayMs: 0 } },
    {
      ...{ kind: 'configure', group: GROUP, parameters: [], by: '' },
      settings: { sitePolicy: 'majority', failback: `node:${B}`, failbackAfterMs: 1000 },
    },
  );
  const { group, epoch } = log;
  const cause = { kind: 'planned', to: B } as const;
  log.must({ kind: 'begin-failover', group: group.id, epoch, cause, isFailback: true });
  log.must(at(log).resume());
  return log;
};

const removed = (): Log => {
  const log = newLog({ ...runningAlone().state, featureLevel: REMOVAL_FEATURE_LEVEL });
  const base = { kind: 'remove-node', group: GROUP } as const;
  log.must({ ...base, node: C, leaving: 'destroy' }, { ...base, node: B, leaving: 'leave' });
  return log;
};

describe('comes back as it went in:', () => {
  test.each<[string, () => Log]>([
    ['nothing applied yet', newLog],
    ['a peer that was told nothing', () => newLog(emptyState(JOINING))],
    ['creating', creating],
    ['running alone', runningAlone],
    ['running', running],
    ['fencing', fencing],
    ['fencing, where the fence command failed', fenceFailed],
    ['a switchover', planned(undefined)],
    ['a switchover to a node', planned(C)],
    ['promoting', () => promoting()],
    ['a floor that stands on another', twiceUnopened],
    ['promoted', promoted],
    ['recovered', () => recovered()],
    ['paused', paused],
    ['absent', absent],
    ['configured', configured],
    ['with logical slots', withLogicalSlots],
    ['placed', placed],
    ['hosts declared, a server watched', () => declared()],
    ['removed', removed],
    ['removed before a recovery of the log', () => recovered(removed())],
  ])('%s', (_, begin) => {
    const { state } = begin();
    expect(again(state)).toStrictEqual(state);
    expect(hex(encodeState(again(state)))).toBe(hex(encodeState(state)));
  });

  test('a long list of floors', () => {
    const log = promoting();
    for (let count = 0; count < 3000; count += 1) {
      log.must(at(log).failed(B), at(log).begin({ kind: 'promotion-failed' }));
      log.must(at(log).cut(B, 100), at(log).cut(C, 90), at(log).cut(A, 100));
      log.must(at(log).promote(B, log.group.highestTimeline + 1, { members: [MC], acks: 1 }));
    }
    expect(hex(encodeState(again(log.state)))).toBe(hex(encodeState(log.state)));
  });
});

test('the order in which entries of a map were made changes nothing', () => {
  const state = running().state;
  const turned = { ...state, nodes: new Map([...state.nodes].toReversed()) };
  expect(hex(encodeState(turned))).toBe(hex(encodeState(state)));
});

describe('cannot be read:', () => {
  test('another format version, which says so', () => {
    const message = fromBinary(StateSnapshotSchema, encodeState(running().state));
    const later = toBinary(
      StateSnapshotSchema,
      create(StateSnapshotSchema, { ...message, formatVersion: 2 }),
    );
    expect(() => decodeState(later)).toThrow(LogFormatError);
    expect(() => decodeState(later)).toThrow(/format version 2 is not known here.*newer version/);
  });

  test('nothing, and a state without a membership', () => {
    expect(() => decodeState(new Uint8Array())).toThrow(/no format version.*damaged/);
    const bare = toBinary(StateSnapshotSchema, create(StateSnapshotSchema, { formatVersion: 1 }));
    expect(() => decodeState(bare)).toThrow(/the membership is missing.*damaged/);
  });

  test('arbitrary bytes, without another kind of error', () => {
    const good = encodeState(promoting().state);
    const place = fc.nat(good.length - 1);
    fc.assert(
      fc.property(place, fc.nat(255), place, (index, value, end) => {
        const bytes = good.slice(0, index % 2 === 0 ? good.length : end);
        bytes[index] = value;
        try {
          decodeState(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(LogFormatError);
        }
      }),
    );
  });
});

test('the bytes of a snapshot of version 1 can still be read', () => {
  const log = promoted();
  log.must(opening(log));
  log.commit(registration(B, MB), { session: 'p1-run1', sequence: 2 });
  const { events, ...rest } = recovered(log).state;
  const state = { ...rest, events: eventListOf(listEvents(events).slice(-2)) };
  // Written before groups had settings, which are then the defaults, and before the founders were kept.
  expect(decodeState(Buffer.from(WRITTEN, 'hex'))).toStrictEqual({ ...state, founders: [] });
  const [level2, level5] = ['0a0671756f72756d10011888272080804028053080dddb01', 'c00280b89929c8028080808028'];
  expect(hex(encodeState(state))).toContain(level2 + level5);
});

const failed = (): Log => {
  const log = promoting();
  log.must(at(log).failed(B), at(log).begin({ kind: 'promotion-failed' }));
  return log;
};
/** Every node is still to be taken over; b's turn comes first. */
const adopting = (): Log => {
  const log = newLog({ ...newLog().state, featureLevel: ADOPTION_FEATURE_LEVEL });
  const standbys = [B, C];
  for (const node of [A, ...standbys])
    log.must({ ...registration(node, memberId(`${node}_00000001`)), systemIdentifier: '77' });
  const servers = { primary: A, systemIdentifier: '77', timeline: timeline(1), standbys };
  log.must({ kind: 'adopt-group', group: GROUP, ...servers });
  return log;
};
/** p1 runs a, p2 is a witness that has a server watched, which p1 and p2 have judged. */
const declared = (): Log => {
  const log = newLog({ ...running().state, featureLevel: FORMATIONS_FEATURE_LEVEL });
  for (const peer of [P1, P2]) log.must(opening(log, peer, { features: FORMATIONS_FEATURE_LEVEL }));
  const watched = { server: nodeId('far'), host: '10.0.0.9', port: 5432, formation: 'abroad' };
  const runs = { node: A, group: GROUP, formation: 'home' };
  const up = { kind: 'up', role: 'standby', timeline: timeline(7) } as const;
  log.must(
    { kind: 'declare-host', peer: P1, host: { runs, watch: [] } },
    { kind: 'declare-host', peer: P2, host: { runs: undefined, watch: [watched] } },
    { kind: 'judge-server', peer: P2, server: watched.server, word: up },
    { kind: 'judge-server', peer: P1, server: watched.server, word: up },
    { kind: 'conclude-server', server: watched.server, word: up, before: undefined },
    { kind: 'judge-server', peer: P2, server: watched.server, word: { kind: 'down', evidence: 'refused' } },
  );
  return log;
};
const BEGINNINGS = [
  replaced,
  declared,
  () => newLog({ ...runningAlone().state, featureLevel: REMOVAL_FEATURE_LEVEL }),
  newLog,
  adopting,
  creating,
  running,
  paused,
  absent,
  fencing,
  planned(C),
  promoting,
  failed,
  promoted,
  recovered,
  placed,
];
const WRITTEN =
  '080110131a150a0270311a0d0a027031120770313a3734303020022013280132200a027031120870312d73746f72651a' +
  '0770312d72756e312011280132010238013a2a0a046d61696e10132a070a0162100232003a0050025a0d080210011964' +
  '0000000000000062023737680142380a230a016112046d61696e1a02703122016128b82a320a615f3030303030303031' +
  '3a02373712110a02703110041a0772656675736564200a42250a230a016212046d61696e1a02703222016228b82a320a' +
  '625f30303030303030313a02373742250a230a016312046d61696e1a02703322016328b82a320a635f30303030303030' +
  '313a0237374a220811121ec2011b0a027031120770312d72756e311a0870312d73746f7265200128104a290812122552' +
  '230a016212046d61696e1a02703222016228b82a320a625f30303030303030313a023737';

/** What one step of a random log commits, as a function of the state it meets. */
type Step = (log: Log, number: number) => void;

const rules: readonly SyncRule[] = [
  ALONE,
  { members: [MB], acks: 1 },
  { members: [MB, MC], acks: 1 },
  { members: [MB, MC], acks: 2 },
];
const pick = <T>(items: readonly T[], number: number): T => {
  const item = items[number % items.length];
  if (item === undefined) throw new Error('nothing to pick from');
  return item;
};
const peers = [P1, P2, P3, peerId('p4')];
const nodes = [A, B, C];
const FAR = { server: nodeId('far'), host: '10.0.0.9', port: 5432, formation: 'abroad' };

/** Of the peer's present session, each sequence up to 8 as often as it comes, so that copies and gaps occur. */
const propose = (log: Log, number: number, command: Command): void => {
  const peer = log.state.peers.get(pick(peers, number));
  const sequence = (peer?.floor ?? 1) + (number % 8) - 2;
  const from = {
    session: peer?.session ?? '',
    sequence,
    answeredBelow: Math.max(0, sequence - (number % 7)),
  };
  log.commit(command, sequence < 1 ? {} : from);
};

const withGroup =
  (command: (log: Log, number: number) => Command): Step =>
  (log, number) => {
    if (log.state.groups.has(GROUP)) propose(log, number, command(log, number));
  };

const allDown: Step = (log) => {
  if (!log.state.groups.has(GROUP)) return;
  for (const peer of peers) log.commit(at(log).down(peer));
  log.commit(at(log).begin());
};

const steps: readonly Step[] = [
  allDown,
  (log, number) =>
    log.commit(opening(log, pick(peers, number), { session: `run${number}`, features: 1 + (number % 3) })),
  (log, number) => {
    const voters = peers.filter((_, place) => ((number >> place) & 1) === 1);
    const { incarnation } = log.state.membership;
    const learners = peers.filter((peer) => !voters.includes(peer)).slice(0, number % 2);
    log.change(membershipOf(voters, { learners, incarnation: incarnation + Number(number % 5 === 0) }));
  },
  (log) => void (log.state = applyNothing(log.state, (log.state.appliedIndex + 1) as never)),
  (log, number) => propose(log, number, { kind: 'set-feature-level', level: 1 + (number % 3) }),
  (log, number) => {
    const node = pick(nodes, number);
    propose(log, number, registration(node, memberId(`${node}_0000000${1 + (number % 11 === 0 ? 1 : 0)}`)));
  },
  (log, number) => propose(log, number, { kind: 'create-group', group: GROUP, primary: pick(nodes, number) }),
  withGroup((log) => at(log).ready()),
  withGroup((log, number) => at(log).down(pick(peers, number))),
  withGroup((log, number) => at(log).down(pick(peers, number), pick(nodes, number))),
  withGroup((log, number) => at(log).up(pick(peers, number))),
  withGroup((log) => at(log).begin()),
  withGroup((log, number) =>
    at(log).begin({ kind: 'planned', to: number % 4 === 0 ? undefined : pick(nodes, number) }),
  ),
  withGroup((log) => at(log).begin({ kind: 'promotion-failed' })),
  withGroup((log, number) =>
    at(log).cut(pick(nodes, number), 100 + (number % 3), { timeline: timeline(1 + (number % 2)) }),
  ),
  withGroup((log, number) =>
    at(log).promote(pick(nodes, number), log.group.highestTimeline + 1, pick(rules, number)),
  ),
  withGroup((log) => at(log).promote(log.group.phase.primary, log.group.highestTimeline + 1, ALONE)),
  withGroup((log, number) => at(log).promoted(log.group.phase.primary, log.group.highestTimeline, number)),
  withGroup((log) => at(log).failed(log.group.phase.primary)),
  withGroup((log) => at(log).resume()),
  withGroup((log, number) => at(log).change(pick(rules, number))),
  withGroup((log) => at(log).commitRule()),
  withGroup((log) => at(log).floorPassed()),
  withGroup((log, number) => ({
    ...{ kind: 'node-adopted', group: GROUP, epoch: log.epoch, node: pick(nodes, number) },
  })),
  withGroup((_, number) => ({
    kind: 'pause',
    group: GROUP,
    node: number % 3 === 0 ? undefined : pick(nodes, number),
    isMaintenance: number % 2 === 0,
    untilMs: number % 5 === 0 ? undefined : 1 + number,
  })),
  (log, number) => {
    const kind = pick(['mark-absent', 'give-up-slot', 'mark-present'] as const, number);
    const member = pick([MB, MC], number >> 2);
    log.commit({ kind, group: GROUP, member }, { proposedAtMs: number * 1_000_000 });
  },
  withGroup((_, number) => ({
    ...registration(pick(nodes, number), memberId(`${pick(nodes, number)}_00000001`)),
    options: { noFailover: number % 2 === 0, noSync: number % 3 === 0, applyDelayMs: 1 + (number % 5) },
  })),
  withGroup((_, number) => ({
    kind: 'describe-peer',
    peer: pick(peers, number),
    site: pick(['x', 'y'], number),
  })),
  withGroup((_, number) => ({
    kind: 'change-settings',
    group: GROUP,
    settings: { sitePolicy: pick(['ignore', 'prefer', 'majority'] as const, number) },
  })),
  withGroup((_, number) => ({
    kind: 'end-pause',
    group: GROUP,
    node: number % 3 === 0 ? undefined : pick(nodes, number),
  })),
  withGroup((_, number) => ({
    kind: 'remove-node',
    group: GROUP,
    node: pick(nodes, number),
    leaving: pick(['leave', 'stop', 'destroy'], number >> 2),
  })),
  withGroup((_, number) => ({
    kind: 'declare-host',
    peer: pick(peers, number),
    host: {
      runs:
        number % 3 === 0
          ? undefined
          : { node: pick(nodes, number), group: GROUP, formation: pick(['x', 'y'], number) },
      watch: number % 4 === 0 ? [] : [{ ...FAR, port: 5432 + (number % 2) }],
    },
  })),
  withGroup((_, number) => ({
    kind: 'judge-server',
    peer: pick(peers, number),
    server: FAR.server,
    word:
      number % 2 === 0
        ? { kind: 'down', evidence: 'refused' }
        : { kind: 'up', role: 'primary', timeline: timeline(1 + (number % 2)) },
  })),
  withGroup((log) => {
    const known = log.state.watched.get(FAR.server);
    const word = known?.words[0]?.word ?? ({ kind: 'down', evidence: 'refused' } as const);
    return { kind: 'conclude-server', server: FAR.server, word, before: known?.concluded };
  }),
  withGroup((_, number) => ({ kind: 'readmit-node', group: GROUP, node: pick(nodes, number) })),
];

test('a peer that starts from a snapshot at any point ends with the same bytes as one that applied the whole log', () => {
  const seen = new Set<string>();
  const note = ({ groups }: ClusterState): void => {
    for (const { phase } of groups.values())
      seen.add(phase.kind === 'fencing' ? `fencing ${phase.cause.kind}` : phase.kind);
  };
  const histories = fc.array(fc.tuple(fc.nat(steps.length - 1), fc.nat(1000)), {
    minLength: 1,
    maxLength: 150,
  });
  fc.assert(
    fc.property(histories, fc.nat(150), fc.nat(100), (history, snapshotAt, begin) => {
      const straight = pick(BEGINNINGS, begin)();
      const late = newLog(again(straight.state));
      note(straight.state);
      history.forEach(([step, number], place) => {
        pick(steps, step)(straight, number);
        pick(steps, step)(late, number);
        if (place === snapshotAt % history.length) late.state = again(late.state);
        note(straight.state);
      });
      expect(hex(encodeState(late.state))).toBe(hex(encodeState(straight.state)));
      expect(late.state).toStrictEqual(straight.state);
    }),
    { numRuns: 500 },
  );
  expect([...seen].sort()).toEqual([
    'creating',
    'fencing down',
    'fencing planned',
    'fencing promotion-failed',
    'fencing recovered',
    'promoting',
    'running',
  ]);
});
