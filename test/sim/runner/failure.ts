// How a failed life is told: seed, invariant, the command that replays it with as little trouble as still fails, and what happened
// last.
import { type LifeResult, runLife } from '../life.ts';
import type { Found, Task } from './batch.ts';

const LINES_TOLD = 60;

export function describeFailure(
  { seed, profile, failure }: Found,
  options: Task['options'],
  given: { readonly profile?: string | undefined; readonly mutant?: string | undefined },
): string {
  const events = failure.inTrouble ? failure.atEvent : fewestEvents(seed, options, failure.property);
  const result = live(seed, options, events, true);
  const command = [
    `npm run sim -- --seed ${seed} --runs 1 --trace`,
    events === undefined ? '' : `--events ${events}`,
    given.profile === undefined ? '' : `--profile ${given.profile}`,
    given.mutant === undefined ? '' : `--mutant ${given.mutant}`,
  ];
  const lines = result.lines ?? [];
  return [
    `--- seed ${seed} (${profile}) failed at event ${failure.atEvent}: ${failure.message}`,
    ...(failure.property === 'Crash' ? [failure.stack] : []),
    `replay: ${command.filter((part) => part !== '').join(' ')}`,
    ...(lines.length > LINES_TOLD ? [`... ${lines.length - LINES_TOLD} lines before`] : []),
    ...lines.slice(-LINES_TOLD).map((line) => line.slice(0, 220)),
    ...result.standing.map((line) => `    ${line}`),
    '',
  ].join('\n');
}

function live(
  seed: number,
  options: Task['options'],
  events: number | undefined,
  trace: boolean,
): LifeResult {
  return runLife(seed, { ...options, trace, troubledEventsMax: events ?? options.troubledEventsMax });
}

/** The least trouble, found by halving, after which the same still fails in peace; undefined where that is all of it. */
function fewestEvents(seed: number, options: Task['options'], property: string): number | undefined {
  const fails = (events: number): boolean =>
    live(seed, options, events, false).failure?.property === property;
  const whole = live(seed, options, undefined, false);
  let high = whole.tally.events - whole.tally.eventsInPeace;
  if (high <= 0 || !fails(high)) return undefined;
  let low = 0;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (fails(middle)) high = middle;
    else low = middle;
  }
  return high;
}
