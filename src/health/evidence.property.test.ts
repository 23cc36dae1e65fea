// Whatever happens in whatever order: no down without a reason that holds at that time, none while abstaining, none taken back without
// an answer. Replay a failure with the seed that fast-check prints.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { epoch, nodeId, peerId } from '../base/ids.ts';
import { judge, startJudging } from './evidence.ts';
import type { HealthEvent, Target } from './events.ts';
import { abstention } from './facts.ts';
import { ROWS } from './rows.ts';
import { DEFAULT_HEALTH_SETTINGS } from './settings.ts';

const target: Target = {
  node: nodeId('pg1'),
  host: 'h',
  port: 1,
  epoch: epoch(1),
  expect: 'primary',
  hostPeer: peerId('p2'),
};
const at = (kind: object): fc.Arbitrary<HealthEvent> => fc.constant({ ...kind, nowMs: 0 } as HealthEvent);
const write = fc
  .constantFrom('ok', 'not-tried', 'excused', 'inconclusive', 'failed')
  .map((kind) => ({ kind, why: 'because' }));

const anyEvent: fc.Arbitrary<HealthEvent> = fc.oneof(
  { weight: 8, arbitrary: at({ kind: 'tick' }) },
  {
    weight: 4,
    arbitrary: fc
      .constantFrom('connection', 'read', 'write')
      .map((what) => ({ kind: 'asked', what, nowMs: 0 }) as HealthEvent),
  },
  { weight: 4, arbitrary: at({ kind: 'connection-refused' }) },
  at({ kind: 'connected' }),
  at({ kind: 'connection-answered' }),
  fc
    .constantFrom('closed', 'administrator', 'immediate-shutdown', 'backend-crash', 'given-up')
    .map((how) => ({ kind: 'session-ended', how, nowMs: 0 }) as HealthEvent),
  fc
    .constantFrom(
      'starting-up',
      'shutting-down',
      'restarting-backends',
      'too-many-connections',
      'login-refused',
      'login-failing',
    )
    .map((kind) => ({ kind: 'server-said', word: { kind, why: 'because' }, nowMs: 0 }) as HealthEvent),
  fc.record({
    kind: fc.constant('answered'),
    latencyMs: fc.nat(9),
    inRecovery: fc.boolean(),
    write,
    nowMs: fc.constant(0),
  }) as fc.Arbitrary<HealthEvent>,
  at({ kind: 'own-trouble', why: 'EMFILE' }),
  fc.boolean().map((gone): HealthEvent => ({ kind: 'local-processes', gone, nowMs: 0 })),
  fc.boolean().map((gone): HealthEvent => ({ kind: 'host-says', gone, nowMs: 0 })),
  fc
    .constantFrom('stalled', undefined)
    .map((abstains): HealthEvent => ({ kind: 'observer', abstains, nowMs: 0 })),
  fc
    .record({
      expect: fc.constantFrom('primary', 'standby'),
      epoch: fc.nat(5),
      host: fc.constantFrom('p1', 'p2'),
    })
    .map((next): HealthEvent => {
      const changed: Target = {
        ...target,
        expect: next.expect as Target['expect'],
        epoch: epoch(next.epoch),
        hostPeer: peerId(next.host),
      };
      return { kind: 'target', target: changed, nowMs: 0 };
    }),
);
const story = fc.array(fc.tuple(fc.constantFrom(0, 5, 40, 100, 500, 3000), anyEvent), { maxLength: 120 });

test('never down without a ripe row, never newly down while abstaining, never withdrawn without an answer', () => {
  let downCount = 0;
  fc.assert(
    fc.property(story, (steps) => {
      let nowMs = 0;
      let state = startJudging({ self: peerId('p1'), settings: DEFAULT_HEALTH_SETTINGS, target, nowMs });
      for (const [passedMs, step] of steps) {
        nowMs += passedMs;
        const event = { ...step, nowMs };
        const before = state.judgement;
        state = judge(state, event).state;
        const { judgement, facts } = state;

        expect(judgement.evidence !== undefined).toBe(judgement.verdict === 'down');
        expect(judgement.note).not.toBe('');
        expect(judgement.sinceMs).toBeLessThanOrEqual(nowMs);
        const isNew = judgement.verdict === 'down' && judgement.evidence !== before.evidence;
        if (isNew) {
          downCount += 1;
          expect(abstention(facts)).toBeUndefined();
          expect(judgement.sinceMs).toBe(nowMs);
          const row = ROWS.find(({ evidence }) => evidence === judgement.evidence);
          expect(row?.ripe(facts, nowMs)).toBe(judgement.note);
        }
        if (before.verdict === 'down' && judgement.verdict !== 'down') {
          // At the answer itself, or at the event that took away what stood against an answer given since.
          expect(judgement.verdict).toBe('up');
          expect(facts.goodMs).toBeGreaterThanOrEqual(before.sinceMs);
          expect(ROWS.some((each) => each.ripe(facts, nowMs) !== undefined)).toBe(false);
        }
      }
    }),
    { numRuns: 3000 },
  );
  expect(downCount).toBeGreaterThan(100);
});
