// PURE. Whether this observer may trust what it sees. One that was stalled (a late tick, SIGSTOP, a suspended host), whose wall clock
// jumped against the monotonic one, or that cannot reach a quorum of peers, abstains on every node until it has been well for a
// while. Redis Sentinel calls it TILT. Must never be shortened by good news about a node.
import { formatDuration } from '../base/duration.ts';
import { STALL_MS, TICK_MS } from './settings.ts';

export type TiltEvent =
  /** `nextInMs`: how long the observer means to wait until the next one. */
  | { readonly kind: 'tick'; readonly nowMs: number; readonly wallMs: number; readonly nextInMs: number }
  /** Something else happened at `nowMs`, perhaps before an overdue tick. */
  | { readonly kind: 'activity'; readonly nowMs: number }
  | { readonly kind: 'quorum'; readonly nowMs: number; readonly reachable: boolean };

export interface TiltState {
  /** How long it must have been well before it judges again. */
  readonly wellAfterMs: number;
  readonly lastTickMs: number;
  /** When the next tick is due. */
  readonly nextTickMs: number;
  readonly lastWallMs: number;
  readonly quorumReachable: boolean;
  /** The last trouble; it abstains until `wellAfterMs` after that. */
  readonly trouble: { readonly why: string; readonly lastMs: number } | undefined;
}

export const NO_QUORUM = 'it reaches no quorum of peers';

/** At first no quorum is known to be reachable: it abstains until told. */
export function startTilt(options: {
  readonly wellAfterMs: number;
  readonly nowMs: number;
  readonly wallMs: number;
}): TiltState {
  return {
    wellAfterMs: options.wellAfterMs,
    lastTickMs: options.nowMs,
    nextTickMs: options.nowMs + TICK_MS,
    lastWallMs: options.wallMs,
    quorumReachable: false,
    trouble: undefined,
  };
}

/** `abstains` is the reason, for people, or undefined while the observer is well. */
export function tilt(
  state: TiltState,
  event: TiltEvent,
): { readonly state: TiltState; readonly abstains: string | undefined } {
  const next = after(state, event);
  return { state: next, abstains: next.quorumReachable ? next.trouble?.why : NO_QUORUM };
}

function after(state: TiltState, event: TiltEvent): TiltState {
  const { nowMs } = event;
  const lateMs = nowMs - state.nextTickMs;
  const stalled =
    lateMs > STALL_MS ? { why: `it was stalled for ${formatDuration(lateMs)}`, lastMs: nowMs } : undefined;
  switch (event.kind) {
    case 'activity':
      return stalled === undefined
        ? state
        : { ...state, trouble: { ...stalled, why: knownStall(state) ?? stalled.why } };
    case 'quorum':
      if (event.reachable === state.quorumReachable) return state;
      return {
        ...state,
        quorumReachable: event.reachable,
        trouble: { why: 'it reached no quorum of peers a moment ago', lastMs: nowMs },
      };
    case 'tick': {
      const jumpMs = event.wallMs - state.lastWallMs - (nowMs - state.lastTickMs);
      const jumped =
        Math.abs(jumpMs) > STALL_MS
          ? { why: `its clock jumped by ${formatDuration(Math.abs(jumpMs))}`, lastMs: nowMs }
          : undefined;
      const standing =
        state.trouble !== undefined && nowMs - state.trouble.lastMs < state.wellAfterMs
          ? state.trouble
          : undefined;
      return {
        ...state,
        lastTickMs: nowMs,
        nextTickMs: nowMs + event.nextInMs,
        lastWallMs: event.wallMs,
        trouble: stalled ?? jumped ?? standing,
      };
    }
  }
}

/** As it was called when it first showed: whatever comes in before the overdue tick is of the same stall, and must not be news each time. */
function knownStall({ trouble, nextTickMs }: TiltState): string | undefined {
  return trouble !== undefined && trouble.lastMs > nextTickMs + STALL_MS ? trouble.why : undefined;
}
