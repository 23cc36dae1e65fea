// When the observer does not trust itself: late ticks, jumps of the clock, no quorum of peers; and how long it then stays silent.
import { describe, expect, test } from 'vitest';
import { TICK_MS } from './settings.ts';
import { NO_QUORUM, startTilt, tilt, type TiltState } from './tilt.ts';

const WELL_AFTER_MS = 1000;

/** Ticks from `state` for `ms`; returns the reasons seen, in order, each once. */
function tickOn(
  state: TiltState,
  ms: number,
  wallOffsetMs = 0,
): { state: TiltState; reasons: (string | undefined)[] } {
  let current = state;
  const reasons: (string | undefined)[] = [];
  const endMs = state.lastTickMs + ms;
  for (let nowMs = state.lastTickMs + TICK_MS; nowMs <= endMs; nowMs += TICK_MS) {
    const next = tilt(current, { kind: 'tick', nowMs, wallMs: nowMs + wallOffsetMs, nextInMs: TICK_MS });
    current = next.state;
    if (reasons.at(-1) !== next.abstains || reasons.length === 0) reasons.push(next.abstains);
  }
  return { state: current, reasons };
}

const started = (): TiltState => startTilt({ wellAfterMs: WELL_AFTER_MS, nowMs: 0, wallMs: 0 });
const well = (): TiltState => {
  const reached = tilt(started(), { kind: 'quorum', nowMs: 0, reachable: true }).state;
  return tickOn(reached, 2000).state;
};

describe('tilt', () => {
  test('until a quorum of peers is known to be reachable it abstains', () => {
    expect(tickOn(started(), 5000).reasons).toEqual([NO_QUORUM]);
  });

  test('a quorum that is reached again must have been so for a while', () => {
    const lost = tilt(well(), { kind: 'quorum', nowMs: 2000, reachable: false });
    expect(lost.abstains).toBe(NO_QUORUM);
    const reached = tilt(lost.state, { kind: 'quorum', nowMs: 2000, reachable: true });
    expect(reached.abstains).toMatch(/a moment ago/);
    expect(tickOn(reached.state, 900).reasons.at(-1)).toMatch(/a moment ago/);
    expect(tickOn(reached.state, 1000).reasons.at(-1)).toBeUndefined();
  });

  test('ticks that are a little late do not matter', () => {
    expect(
      tilt(well(), { kind: 'tick', nowMs: 2590, wallMs: 2590, nextInMs: TICK_MS }).abstains,
    ).toBeUndefined();
  });

  test('a tick that was meant to be slow is not late', () => {
    const slow = tilt(well(), { kind: 'tick', nowMs: 2100, wallMs: 2100, nextInMs: 1000 });
    expect(tilt(slow.state, { kind: 'activity', nowMs: 3550 }).abstains).toBeUndefined();
    expect(tilt(slow.state, { kind: 'activity', nowMs: 3650 }).abstains).toMatch(/stalled/);
  });

  test('a stopped process finds itself stalled at the first thing that happens, tick or not', () => {
    expect(tilt(well(), { kind: 'activity', nowMs: 9000 }).abstains).toBe('it was stalled for 6.9s');
    const resumed = tilt(well(), { kind: 'tick', nowMs: 9000, wallMs: 9000, nextInMs: TICK_MS });
    expect(resumed.abstains).toBe('it was stalled for 6.9s');
    expect(tickOn(resumed.state, 900).reasons.at(-1)).toMatch(/stalled/);
    expect(tickOn(resumed.state, 1000).reasons.at(-1)).toBeUndefined();
  });

  test('what comes in before the overdue tick is of the same stall: one reason, and the wait begins with the last of it', () => {
    let state = well();
    const reasons = new Set<string | undefined>();
    for (let nowMs = 9000; nowMs < 9400; nowMs += 20) {
      const next = tilt(state, { kind: 'activity', nowMs });
      ({ state } = next);
      reasons.add(next.abstains);
    }
    expect([...reasons]).toEqual(['it was stalled for 6.9s']);
    expect(state.trouble?.lastMs).toBe(9380);
  });

  test.each([
    ['forward, as after a suspend', 3600_000],
    ['back', -5000],
  ])('a wall clock that jumps %s', (_, byMs) => {
    const jumped = tilt(well(), { kind: 'tick', nowMs: 2100, wallMs: 2100 + byMs, nextInMs: TICK_MS });
    expect(jumped.abstains).toMatch(/its clock jumped/);
    expect(tickOn(jumped.state, 1000, byMs).reasons.at(-1)).toBeUndefined();
  });

  test('a clock that is slewed does not matter', () => {
    let state = well();
    for (let nowMs = 2100; nowMs < 60_000; nowMs += TICK_MS) {
      const next = tilt(state, { kind: 'tick', nowMs, wallMs: nowMs * 1.0005 + 10, nextInMs: TICK_MS });
      expect(next.abstains).toBeUndefined();
      state = next.state;
    }
  });

  test('new trouble during the wait begins the wait anew', () => {
    const first = tilt(well(), { kind: 'tick', nowMs: 3000, wallMs: 3000, nextInMs: TICK_MS });
    const second = tilt(tickOn(first.state, 900).state, {
      kind: 'tick',
      nowMs: 4800,
      wallMs: 4800,
      nextInMs: TICK_MS,
    });
    expect(tickOn(second.state, 900).reasons.at(-1)).toMatch(/stalled/);
  });
});
