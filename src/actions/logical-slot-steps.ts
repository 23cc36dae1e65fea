// What is to be done about one logical slot, by what the log says and what is found. Pure. Must never have a slot made that was there once: it would
// begin at a later position, and its consumer would lack changes without knowing.
import type { CommandOf } from '../cluster/applied.ts';
import { logicalSlotText, logicalSlotVersionProblem } from '../cluster/logical-slots.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';
import type { KnownStanding } from './logical-slot-memory.ts';

type Outcome = CommandOf<'logical-slot'>['outcome'];

export type PrimaryStep =
  | { readonly kind: 'stay'; readonly isReady: boolean; readonly note: string | undefined }
  | { readonly kind: 'create' }
  /** It is idle; once that is done, `outcome` is said, if any. */
  | { readonly kind: 'drop'; readonly outcome: Outcome | undefined; readonly reason: string | undefined }
  | { readonly kind: 'say'; readonly outcome: Outcome; readonly reason: string | undefined };

export interface PrimaryFacts {
  readonly slot: LogicalSlot;
  readonly found: LogicalSlotRow | undefined;
  /** What this agent knows of a slot of that entry in its data directory. */
  readonly known: KnownStanding | undefined;
  readonly node: string;
  readonly walLevel: string;
  readonly majorVersion: number;
  /** What was the matter with it here before the promotion. */
  readonly before: string | undefined;
}

const stay = (isReady: boolean, note?: string): PrimaryStep => ({ kind: 'stay', isReady, note });
const say = (outcome: Outcome, reason?: string): PrimaryStep => ({ kind: 'say', outcome, reason });

export function primaryStep(facts: PrimaryFacts): PrimaryStep {
  switch (facts.slot.standing) {
    case 'wanted':
      return wantedStep(facts);
    case 'made':
      return madeStep(facts);
    case 'lost':
      return lostStep(facts);
    case 'unset':
      return unsetStep(facts);
  }
}

function wantedStep({ slot, found, known, walLevel, majorVersion, node }: PrimaryFacts): PrimaryStep {
  const problem = logicalSlotVersionProblem(slot, majorVersion);
  if (problem !== undefined) return stay(false, `${problem}; unset it, and set it again`);
  if (found === undefined)
    return walLevel === 'logical' ? { kind: 'create' } : stay(false, restartNote(node, true));
  if (!isSame(found, slot)) return stay(false, `${foreignText(found)}; drop that, or unset this one`);
  if (found.isLost)
    return stay(false, 'a slot like it is there, but is lost: drop that, and it is made anew');
  // Before a slot is made that is noted, so that it is known as ours whatever comes in between.
  return say(known === 'own' ? 'made' : 'found');
}

function madeStep({ slot, found, known, node, majorVersion, before }: PrimaryFacts): PrimaryStep {
  const why = before === undefined ? '' : ` (before: ${before})`;
  if (found === undefined) return say('lost', `${node} does not have it${why}`);
  if (!isSame(found, slot)) return say('lost', `on ${node} ${foreignText(found)}`);
  if (found.isLost)
    return say('lost', `on ${node} it was invalidated: WAL or catalog rows that it needs are gone`);
  if (known === 'unready') {
    if (found.activePid !== undefined) return say('lost', unfitInUse(node, found.activePid));
    const reason = `the copy on ${node} was not fit to go on from, and is dropped${why}`;
    return { kind: 'drop', outcome: 'lost', reason };
  }
  return stay(
    true,
    majorVersion >= 17 && !found.isFailover
      ? 'somebody else has made it without failover = true: standbys do not get it'
      : undefined,
  );
}

function lostStep({ slot, found, known, node }: PrimaryFacts): PrimaryStep {
  if (found === undefined || !isSame(found, slot) || found.isLost) return stay(false, slot.reason);
  if (known !== 'unready') return say('found');
  return found.activePid === undefined
    ? { kind: 'drop', outcome: undefined, reason: slot.reason }
    : stay(false, unfitInUse(node, found.activePid));
}

const unfitInUse = (node: string, pid: number): string =>
  `process ${pid} reads from the copy on ${node}, which was not fit to go on from: what it reads may lack changes`;

function unsetStep({ slot, found }: PrimaryFacts): PrimaryStep {
  if (found === undefined || !slot.isOurs || !isSame(found, slot)) return say('gone');
  if (found.activePid !== undefined)
    return stay(
      false,
      `in use by process ${found.activePid}: it is dropped once its consumer has disconnected`,
    );
  return { kind: 'drop', outcome: 'gone', reason: undefined };
}

export function isSame(found: LogicalSlotRow, slot: LogicalSlot): boolean {
  return logicalSlotText(found) === logicalSlotText(slot) && !found.isTemporary;
}

export const foreignText = (found: LogicalSlotRow): string =>
  `somebody else has a ${found.isTemporary ? 'temporary ' : ''}slot of that name: ${logicalSlotText(found)}`;

export function restartNote(node: string, isPrimary: boolean): string {
  return isPrimary
    ? `it needs wal_level = logical, which ${node} has after a restart: restart the standbys first (sentinelctl node restart), then switch over or restart ${node} with --in-place`
    : `${node} has to be restarted first: sentinelctl node restart ${node}`;
}

export interface Readiness {
  /** The copy may be gone on from as soon as it needs no older catalog rows than this; undefined: nothing protects them yet. */
  readonly bar: number | undefined;
  readonly isReady: boolean;
  readonly note: string | undefined;
}

/**
 * Whether a copied slot may be gone on from (before 17). Rows that the upstream's own slot needs no more may have been removed before this node's
 * physical slot began to protect what the copy needs; those that it still needed then were not, and from then on none is.
 */
export function readiness(facts: {
  readonly local: LogicalSlotRow;
  /** The upstream's. */
  readonly remote: LogicalSlotRow;
  /** What this node's physical slot on the upstream protects. */
  readonly protectedXmin: number | undefined;
  readonly bar: number | undefined;
  readonly wasReady: boolean;
}): Readiness {
  const { local, remote, protectedXmin, wasReady } = facts;
  if (local.catalogXmin === undefined || remote.catalogXmin === undefined || protectedXmin === undefined)
    return { bar: undefined, isReady: false, note: 'the primary does not protect what it needs yet' };
  if (precedes(local.catalogXmin, protectedXmin))
    return { bar: facts.bar, isReady: false, note: 'the primary does not protect all that it needs yet' };
  if (wasReady) return { bar: facts.bar, isReady: true, note: undefined };
  const bar = facts.bar ?? remote.catalogXmin;
  return precedes(local.catalogXmin, bar)
    ? {
        bar,
        isReady: false,
        note: 'it is being brought up to where the primary was when it was copied; that goes on as its consumer does',
      }
    : { bar, isReady: true, note: undefined };
}

/** Transaction ids go round. */
const precedes = (a: number, b: number): boolean => ((a - b) | 0) < 0;
