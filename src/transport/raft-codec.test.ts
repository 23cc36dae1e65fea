// The wire form of Raft messages and agent reports: what goes in comes out, and size bounds are bounds.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvariantError } from '../base/assert.ts';
import { epoch, logIndex, memberId, nodeId, peerId, term, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { AgentReport, NodeCondition } from '../cluster/report.ts';
import { RaftMessageSchema } from '../gen/pg_sentinel/v1/raft_pb.ts';
import { AgentReportSchema } from '../gen/pg_sentinel/v1/report_pb.ts';
import type { Entry, RefusalReason } from '../raft/types.ts';
import { decodeRaftMessage, encodeRaftMessage, type LinkMessage, sizeBoundBytes } from './raft-codec.ts';
import { decodeReport, encodeReport } from './report-codec.ts';

/** As `fc.record`, but of ordinary objects, so that strict equality holds. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;
const is = <const T>(value: T): fc.Arbitrary<T> => fc.constant(value);
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });

const count = fc.maxSafeNat();
const aTerm = count.map(term);
const index = count.map(logIndex);
const text = fc.string({ unit: 'grapheme' });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => new Uint8Array(array));
const anLsn = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }).map(lsn);
const entry = record<Entry>({
  index,
  term: aTerm,
  kind: fc.constantFrom('command', 'noop', 'config'),
  data: bytes,
});
const reason = fc.constantFrom<RefusalReason[]>(
  'no-leader',
  'not-leader',
  'queue-full',
  'transferring',
  'too-large',
  'stopped',
);

/** One arbitrary for each kind: the compiler asks for one when a kind is added. */
type OfKind<K extends LinkMessage['kind']> = Extract<LinkMessage, { readonly kind: K }>;
const messages: { [K in LinkMessage['kind']]: fc.Arbitrary<OfKind<K>> } = {
  'vote-request': record({
    kind: is('vote-request'),
    term: aTerm,
    preVote: fc.boolean(),
    lastIndex: index,
    lastTerm: aTerm,
    transfer: fc.boolean(),
  }),
  'vote-reply': record({ kind: is('vote-reply'), term: aTerm, preVote: fc.boolean(), granted: fc.boolean() }),
  'append-request': record({
    kind: is('append-request'),
    term: aTerm,
    prevIndex: index,
    prevTerm: aTerm,
    entries: fc.array(entry),
    commitIndex: index,
    round: count,
  }),
  'append-reply': record({
    kind: is('append-reply'),
    term: aTerm,
    round: count,
    success: fc.boolean(),
    matchIndex: index,
    hintIndex: index,
    hintTerm: aTerm,
  }),
  'heartbeat-request': record({
    kind: is('heartbeat-request'),
    term: aTerm,
    commitIndex: index,
    round: count,
  }),
  'heartbeat-reply': record({ kind: is('heartbeat-reply'), term: aTerm, round: count }),
  propose: record({ kind: is('propose'), term: aTerm, proposalId: text, data: bytes }),
  'propose-refused': record({ kind: is('propose-refused'), term: aTerm, proposalId: text, reason }),
  'read-request': record({ kind: is('read-request'), term: aTerm, readId: text }),
  'read-reply': record({ kind: is('read-reply'), term: aTerm, readId: text, index: optional(index) }),
  'timeout-now': record({ kind: is('timeout-now'), term: aTerm }),
};

describe('raft message', () => {
  for (const [kind, arbitrary] of Object.entries<fc.Arbitrary<LinkMessage>>(messages)) {
    test(`${kind} comes back as it went in, and its size bound holds`, () => {
      fc.assert(
        fc.property(arbitrary, (message) => {
          const wire = toBinary(RaftMessageSchema, encodeRaftMessage(message));
          expect(decodeRaftMessage(fromBinary(RaftMessageSchema, wire))).toStrictEqual(message);
          expect(wire.length).toBeLessThanOrEqual(sizeBoundBytes(message));
        }),
      );
    });
  }

  test('a kind of a later version is undefined; an entry of one is an error', () => {
    expect(decodeRaftMessage(create(RaftMessageSchema, { term: 1n }))).toBeUndefined();
    const unknownEntry = create(RaftMessageSchema, {
      kind: { case: 'appendRequest', value: { entries: [{ index: 1n, term: 1n }] } },
    });
    expect(() => decodeRaftMessage(unknownEntry)).toThrow(InvariantError);
  });
});

const CONDITIONS: { [C in NodeCondition]: C } = {
  absent: 'absent',
  stopped: 'stopped',
  starting: 'starting',
  standby: 'standby',
  primary: 'primary',
  stopping: 'stopping',
  cloning: 'cloning',
  rewinding: 'rewinding',
  failed: 'failed',
};

describe('agent report', () => {
  test('comes back as it went in', () => {
    const names = fc.array(text, { minLength: 1 });
    const reports = record<AgentReport>({
      node: is(nodeId('pg-1')),
      peer: is(peerId('a')),
      sequence: count,
      startedAtMs: count,
      member: optional(is(memberId('pg_1_0a1b2c3d'))),
      condition: fc.constantFrom(...Object.values(CONDITIONS)),
      fenceEpoch: count.map(epoch),
      timeline: optional(fc.integer({ min: 1, max: 0xffffffff }).map(timeline)),
      position: optional(anLsn),
      replayLsn: optional(anLsn),
      streamingFrom: optional(record({ host: text, port: fc.integer({ min: 1, max: 65_535 }) })),
      walSenders: fc.array(
        record({ applicationName: text, state: text, syncState: text, flushLsn: optional(anLsn) }),
      ),
      serverVersion: optional(text),
      message: optional(text),
      isGuarded: optional(fc.boolean()),
      upkeep: optional(
        record({
          dataDisk: optional(record({ freeBytes: count, totalBytes: count })),
          walDisk: optional(record({ freeBytes: count, totalBytes: count })),
          slots: optional(
            fc.record(
              {
                keptBytes: count,
                most: optional(text),
                safeBytes: count,
                unreserved: names,
                lost: names,
                leftLogical: names,
              },
              { requiredKeys: ['keptBytes', 'most'], noNullPrototype: true },
            ),
          ),
          archiver: optional(record({ isOn: fc.boolean(), isFailing: fc.boolean() })),
          readyCount: optional(count),
          pendingRestart: optional(fc.array(text)),
        }),
      ),
      parameters: record({
        pendingRestart: fc.array(text),
        overridden: fc.array(text),
        limits: fc.constantFrom(new Map<string, number>(), new Map([['max_connections', 200]])),
      }),
    });
    const refused = { refusedProbes: [{ node: nodeId('pg2'), why: 'no such role (28000)' }] };
    fc.assert(
      fc.property(reports, fc.boolean(), (plain, isRefused) => {
        const report = isRefused ? { ...plain, ...refused } : plain;
        const wire = toBinary(AgentReportSchema, encodeReport(report));
        expect(decodeReport(fromBinary(AgentReportSchema, wire))).toStrictEqual(report);
      }),
    );
  });

  test('a condition of a later version counts as failed', () => {
    const later = create(AgentReportSchema, { node: 'pg1', peer: 'a', condition: 'levitating' });
    expect(decodeReport(later).condition).toBe('failed');
  });
});
