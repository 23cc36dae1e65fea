// The failover as a story: which log entries are worth telling, in which words, and the figures' forms. Pure.
import type { EventView, NodeView } from '../src/transport/types.ts';

/** One line of the story. `atMs` is since the program began, or since the kill. */
export interface Step {
  readonly atMs: number;
  readonly text: string;
  readonly tone: 'plain' | 'bad' | 'good';
}

/**
 * The steps of the log entries after the kill, in their order. Judgements are told until the failover begins: those of the
 * peers that come later, and those repeated for the new epoch, change nothing.
 */
export function stepsOfEvents(events: readonly EventView[], killedAtMs: number): Step[] {
  const after = events.filter(({ atMs }) => atMs >= killedAtMs);
  const begin = after.findIndex(({ kind, refused }) => kind === 'begin-failover' && refused === undefined);
  return after.flatMap((event, at) => {
    if (event.kind === 'subjective-down' && begin >= 0 && at > begin) return [];
    return stepOfEvent(event, killedAtMs) ?? [];
  });
}

function stepOfEvent(event: EventView, killedAtMs: number): Step | undefined {
  if (event.refused !== undefined) return undefined;
  const step = (tone: Step['tone'], text: string): Step => ({ atMs: event.atMs - killedAtMs, text, tone });
  switch (event.kind) {
    case 'subjective-down':
      return step(
        'bad',
        event.text.replace('its own agent saw all PostgreSQL processes gone', 'all its processes are gone'),
      );
    case 'begin-failover':
      return step('bad', `a quorum of peers agrees: failover begins, epoch ${event.index}`);
    case 'cut-report':
    case 'promote':
    case 'resume':
      return step('plain', event.text);
    case 'promoted':
      return step('good', event.text);
    case 'promotion-failed':
      return step('bad', event.text);
    default:
      return undefined;
  }
}

/** How the former primary comes back, from one look at it to the next. */
export function stepOfNode(before: NodeView | undefined, now: NodeView, atMs: number): Step | undefined {
  if (before?.state === now.state && before.role === now.role) return undefined;
  const text = STATES[now.state];
  return text === undefined ? undefined : { atMs, text: `${now.node} ${text}`, tone: 'plain' };
}

const STATES: Readonly<Record<string, string>> = {
  starting: 'is started again, as a standby',
  rewinding: 'is taken back to where the timelines part (pg_rewind)',
  cloning: 'gets a fresh copy of the new primary',
  failed: 'does not come back by itself yet',
};

/** `  +112 ms`, `  +2.41 s` after the kill: nine characters. */
export function formatSince(ms: number): string {
  return `+${formatMs(ms)}`.padStart(9);
}

/** `3.1 s` since the program began; as wide as {@link formatSince}. */
export function formatElapsed(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`.padStart(9);
}

/** `1,204` */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US');
}

/** `112 ms`, `2.41 s` */
export function formatMs(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
