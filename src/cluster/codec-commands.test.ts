// The log format: what goes in comes out, for every kind of command.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { epoch, groupId, logIndex, memberId, nodeId, peerId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { decodeEnvelope, encodeEnvelope } from './codec.ts';
import type { Command, Evidence, FailoverCause, ServerWord, SyncRule } from './commands.ts';
import { hasOptions } from './eligibility.ts';

/** As `fc.record`, but of ordinary objects, so that strict equality holds. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;
const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,30}$/);
const peer = name.map(peerId);
const leaving = fc.constantFrom('leave', 'stop', 'destroy');
const node = name.map(nodeId);
const group = name.map(groupId);
const member = fc.stringMatching(/^[a-z][a-z0-9_]{0,62}$/).map(memberId);
const count = fc.maxSafeNat();
const anEpoch = count.map(epoch);
const aTimeline = fc.integer({ min: 1, max: 0xffffffff }).map(timeline);
const anLsn = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }).map(lsn);
const decimal = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }).map(String);
const text = fc.string({ unit: 'grapheme' });
const replacement = { group, epoch: anEpoch, primary: node, from: decimal, to: decimal };
const rule: fc.Arbitrary<SyncRule> = fc.oneof(
  record({ members: fc.array(member), acks: fc.nat() }),
  record({ members: fc.array(member), acks: fc.nat(), leased: fc.constant(true as const) }),
);
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });

const evidence: { [E in Evidence]: fc.Arbitrary<E> } = {
  'processes-gone': fc.constant('processes-gone'),
  refused: fc.constant('refused'),
  'no-answer': fc.constant('no-answer'),
  'write-failing': fc.constant('write-failing'),
  'in-recovery': fc.constant('in-recovery'),
};

type Cause<K extends FailoverCause['kind']> = Extract<FailoverCause, { readonly kind: K }>;
const causes: { [K in FailoverCause['kind']]: fc.Arbitrary<Cause<K>> } = {
  down: fc.constant({ kind: 'down' }),
  planned: record({ kind: fc.constant('planned'), to: optional(node) }),
  'promotion-failed': fc.constant({ kind: 'promotion-failed' }),
  forced: record({ kind: fc.constant('forced'), to: optional(node) }),
};
const cause: fc.Arbitrary<FailoverCause> = fc.oneof(...Object.values(causes));

const settingsChange = fc.record(
  {
    durability: fc.constantFrom('quorum', 'strict', 'async'),
    acks: fc.nat(),
    leaseMs: count,
    maxLagBytes: count,
    maxFailovers: fc.nat(),
    failoverWindowMs: count,
    slotRetentionMs: count,
    maxSlotWalBytes: count,
    sitePolicy: fc.constantFrom('ignore', 'prefer', 'majority'),
    failback: fc.oneof(
      fc.constant('off' as const),
      name.map((of) => `node:${of}` as const),
      name.map((of) => `site:${of}` as const),
    ),
    failbackAfterMs: count,
  },
  { requiredKeys: [], noNullPrototype: true },
);

/** Of none at all nothing is written. */
const options = fc
  .record(
    {
      noFailover: fc.boolean(),
      noSync: fc.boolean(),
      applyDelayMs: count,
      upstream: node,
      source: fc.string({ minLength: 1 }),
    },
    { requiredKeys: ['noFailover', 'noSync', 'applyDelayMs'], noNullPrototype: true },
  )
  .filter(hasOptions);

const port = fc.integer({ min: 1, max: 65_535 });
const serverWord: fc.Arbitrary<ServerWord> = fc.oneof(
  record({
    kind: fc.constant('up'),
    role: optional(fc.constantFrom('primary', 'standby')),
    timeline: optional(aTimeline),
  }),
  record({ kind: fc.constant('down'), evidence: fc.oneof(...Object.values(evidence)) }),
);

type OfKind<K extends Command['kind']> = Extract<Command, { readonly kind: K }>;
/** One arbitrary for each kind of command: the compiler asks for one when a kind is added. */
const commands: { [K in Command['kind']]: fc.Arbitrary<OfKind<K>> } = {
  'register-node': fc.record(
    {
      kind: fc.constant('register-node'),
      node,
      group,
      peer,
      host: text,
      port,
      member: optional(member),
      systemIdentifier: optional(decimal),
      priority: fc.integer(),
      options,
    },
    {
      requiredKeys: [
        'kind',
        'node',
        'group',
        'peer',
        'host',
        'port',
        'member',
        'systemIdentifier',
        'priority',
      ],
      noNullPrototype: true,
    },
  ),
  'fetch-wal': fc.record(
    {
      ...{ kind: fc.constant('fetch-wal' as const), group, epoch: anEpoch, node, from: node },
      preference: fc.constant(true as const),
    },
    { requiredKeys: ['kind', 'group', 'epoch', 'node', 'from'], noNullPrototype: true },
  ),
  'fetch-failed': record({ kind: fc.constant('fetch-failed'), group, epoch: anEpoch, node, reason: text }),
  'use-upstream': record({
    kind: fc.constant('use-upstream'),
    group,
    epoch: anEpoch,
    node,
    upstream: optional(node),
  }),
  'describe-peer': record({ kind: fc.constant('describe-peer'), peer, site: optional(name) }),
  'declare-host': record({
    kind: fc.constant('declare-host'),
    peer,
    host: record({
      runs: optional(record({ node, group, formation: name })),
      watch: fc.array(record({ server: node, host: text, port, formation: name })),
    }),
  }),
  'judge-server': record({ kind: fc.constant('judge-server'), peer, server: node, word: serverWord }),
  'conclude-server': record({
    ...{ kind: fc.constant('conclude-server'), server: node, word: serverWord },
    before: optional(serverWord),
  }),
  'create-group': record({ kind: fc.constant('create-group'), group, primary: node }),
  'group-ready': record({
    kind: fc.constant('group-ready'),
    group,
    epoch: anEpoch,
    member,
    systemIdentifier: decimal,
    timeline: aTimeline,
  }),
  'subjective-down': record({
    kind: fc.constant('subjective-down'),
    peer,
    node,
    epoch: anEpoch,
    evidence: fc.oneof(...Object.values(evidence)),
  }),
  'change-settings': record({ kind: fc.constant('change-settings'), group, settings: settingsChange }),
  configure: fc.record(
    {
      kind: fc.constant('configure'),
      group,
      settings: settingsChange,
      parameters: fc.array(record({ name, value: optional(text) })),
      hba: fc.array(text),
      logicalSlots: fc.array(
        record({
          name,
          wanted: optional(record({ database: text, plugin: text, isTwoPhase: fc.boolean() })),
        }),
      ),
      onlyRevision: count.map(logIndex),
      by: text,
    },
    { requiredKeys: ['kind', 'group', 'settings', 'parameters', 'by'], noNullPrototype: true },
  ),
  'logical-slot': record({
    kind: fc.constant('logical-slot'),
    group,
    epoch: anEpoch,
    node,
    name: text,
    setAt: count.map(logIndex),
    outcome: fc.constantFrom('made', 'found', 'lost', 'gone'),
    reason: optional(text.filter((each) => each !== '')),
  }),
  'mark-absent': record({ kind: fc.constant('mark-absent'), group, member }),
  'give-up-slot': record({ kind: fc.constant('give-up-slot'), group, member }),
  'mark-present': record({ kind: fc.constant('mark-present'), group, member }),
  'fence-node': record({ kind: fc.constant('fence-node'), node }),
  'unfence-node': record({ kind: fc.constant('unfence-node'), node }),
  'acknowledge-failovers': record({ kind: fc.constant('acknowledge-failovers'), group }),
  'node-off': record({
    kind: fc.constant('node-off'),
    group,
    epoch: anEpoch,
    node,
    by: fc.constantFrom('fence-command', 'operator'),
  }),
  'fence-failed': record({
    kind: fc.constant('fence-failed'),
    group,
    epoch: anEpoch,
    node,
    reason: text,
  }),
  'schedule-switchover': fc.record(
    {
      kind: fc.constant('schedule-switchover'),
      group,
      at: optional(record({ atMs: count, to: optional(node) })),
      onlyAtMs: count,
    },
    { requiredKeys: ['kind', 'group', 'at'], noNullPrototype: true },
  ),
  pause: record({
    kind: fc.constant('pause'),
    group,
    node: optional(node),
    isMaintenance: fc.boolean(),
    untilMs: optional(count),
  }),
  'end-pause': fc.record(
    { kind: fc.constant('end-pause'), group, node: optional(node), onlyUntilMs: count },
    { requiredKeys: ['kind', 'group', 'node'], noNullPrototype: true },
  ),
  'remove-node': fc.record(
    { kind: fc.constant('remove-node'), group, node, leaving, acceptsLoss: fc.constant(true) },
    { requiredKeys: ['kind', 'group', 'node', 'leaving'], noNullPrototype: true },
  ),
  'readmit-node': record({ kind: fc.constant('readmit-node'), group, node }),
  'adopt-group': record({
    kind: fc.constant('adopt-group'),
    group,
    primary: node,
    systemIdentifier: decimal,
    timeline: aTimeline,
    standbys: fc.array(node),
  }),
  'replace-database': record({ kind: fc.constant('replace-database'), ...replacement }),
  'restore-group': fc.record(
    {
      kind: fc.constant('restore-group'),
      group,
      primary: node,
      reached: record({
        epoch: anEpoch,
        systemIdentifier: decimal,
        timeline: aTimeline,
        position: anLsn,
        highestTimeline: aTimeline,
        target: text,
        lastTransactionMs: optional(count),
      }),
    },
    { requiredKeys: ['kind', 'group', 'primary'], noNullPrototype: true },
  ),
  'schedule-restart': fc.record(
    {
      kind: fc.constant('schedule-restart'),
      group,
      node,
      at: optional(
        fc.record(
          { atMs: count, inPlace: fc.boolean(), serverStartedAtS: count },
          { requiredKeys: ['atMs', 'inPlace'], noNullPrototype: true },
        ),
      ),
      onlyAtMs: count,
      outcome: text.filter((outcome) => outcome !== ''),
    },
    { requiredKeys: ['kind', 'group', 'node', 'at'], noNullPrototype: true },
  ),
  'lead-site': fc.record(
    {
      ...{ kind: fc.constant('lead-site' as const), group, epoch: optional(anEpoch), node },
      isAsked: fc.constant(true as const),
    },
    { requiredKeys: ['kind', 'group', 'epoch', 'node'], noNullPrototype: true },
  ),
  'promote-site': fc.record(
    { kind: fc.constant('promote-site' as const), group, epoch: anEpoch, to: node },
    { requiredKeys: ['kind', 'group', 'epoch'], noNullPrototype: true },
  ),
  'tell-site': record({
    ...{ kind: fc.constant('tell-site'), group, epoch: anEpoch, node },
    history: record({
      timeline: aTimeline,
      branches: fc.array(record({ timeline: aTimeline, parent: aTimeline, switchLsn: anLsn })),
    }),
  }),
  'node-adopted': record({ kind: fc.constant('node-adopted'), group, epoch: anEpoch, node }),
  'subjective-up': record({ kind: fc.constant('subjective-up'), peer, node, epoch: anEpoch }),
  'begin-failover': fc.record(
    {
      kind: fc.constant('begin-failover'),
      group,
      epoch: anEpoch,
      cause,
      scheduledAtMs: count,
      isFailback: fc.constant(true as const),
    },
    { requiredKeys: ['kind', 'group', 'epoch', 'cause'], noNullPrototype: true },
  ),
  'cut-report': fc.record(
    {
      kind: fc.constant('cut-report' as const),
      group,
      epoch: anEpoch,
      node,
      member,
      timeline: aTimeline,
      position: anLsn,
      stopped: fc.boolean(),
      isStrange: fc.constant(true as const),
    },
    {
      requiredKeys: ['kind', 'group', 'epoch', 'node', 'member', 'timeline', 'position', 'stopped'],
      noNullPrototype: true,
    },
  ),
  promote: record({
    kind: fc.constant('promote'),
    group,
    epoch: anEpoch,
    candidate: node,
    timeline: aTimeline,
    rule,
  }),
  promoted: record({
    kind: fc.constant('promoted'),
    group,
    epoch: anEpoch,
    node,
    timeline: aTimeline,
    switchLsn: anLsn,
  }),
  'promotion-failed': record({
    kind: fc.constant('promotion-failed'),
    group,
    epoch: anEpoch,
    node,
    reason: text,
  }),
  resume: record({ kind: fc.constant('resume'), group, epoch: anEpoch }),
  'begin-rule-change': record({ kind: fc.constant('begin-rule-change'), group, epoch: anEpoch, next: rule }),
  'commit-rule': record({
    kind: fc.constant('commit-rule'),
    group,
    epoch: anEpoch,
    change: count.map(logIndex),
  }),
  'floor-passed': record({ kind: fc.constant('floor-passed'), group, epoch: anEpoch }),
  'open-session': record({
    kind: fc.constant('open-session'),
    peer,
    session: text,
    store: text,
    features: fc.nat(),
    seenIndex: count.map(logIndex),
  }),
  'set-feature-level': record({ kind: fc.constant('set-feature-level'), level: fc.nat() }),
};

for (const [kind, arbitrary] of Object.entries<fc.Arbitrary<Command>>(commands)) {
  test(`${kind} comes back as it went in`, () => {
    const envelopes = record({
      session: text,
      sequence: count,
      answeredBelow: count,
      proposedAtMs: count,
      command: arbitrary,
    });
    fc.assert(
      fc.property(envelopes, (envelope) => {
        expect(decodeEnvelope(encodeEnvelope(envelope))).toStrictEqual(envelope);
      }),
    );
  });
}
