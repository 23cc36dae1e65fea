// The phases that each group went through, from the committed log: a failover is over sooner than an eye can follow, so
// the picture keeps what it did. Pure.
import type { EventView } from '../transport/types.ts';

export interface PhaseChange {
  readonly group: string;
  readonly phase: 'creating' | 'following' | 'running' | 'fencing' | 'promoting';
  readonly atMs: number;
  /** Since the phase `fencing` of the same failover began; undefined outside one, or where clocks disagree. */
  readonly sinceMs: number | undefined;
  readonly text: string;
}

/** Command kind to the phase that its application begins. */
const PHASE_OF: Readonly<Record<string, PhaseChange['phase']>> = {
  'create-group': 'creating',
  'group-ready': 'running',
  'lead-site': 'following',
  'promote-site': 'fencing',
  'begin-failover': 'fencing',
  promote: 'promoting',
  promoted: 'running',
  resume: 'running',
};

/** How many of the latest events to ask a peer for, so that a failover is among them. */
export const TRAIL_EVENT_COUNT = 100;

/** The changes since the latest failover began, at most `count`; before a first failover the latest change. Oldest first. */
export function phaseTrail(events: readonly EventView[], count: number): PhaseChange[] {
  const begun = new Map<string, number>();
  const trail: PhaseChange[] = [];
  for (const event of events) {
    const phase = PHASE_OF[event.kind];
    if (phase === undefined || event.refused !== undefined || event.group === undefined) continue;
    if (phase === 'fencing') begun.set(event.group, event.atMs);
    const sinceMs = event.atMs - (begun.get(event.group) ?? Number.NaN);
    if (phase === 'running') begun.delete(event.group);
    trail.push({
      group: event.group,
      phase,
      atMs: event.atMs,
      sinceMs: sinceMs >= 0 ? sinceMs : undefined,
      text: event.text,
    });
  }
  const latestFailover = trail.findLastIndex((change) => change.phase === 'fencing');
  return trail.slice(latestFailover).slice(-count);
}
