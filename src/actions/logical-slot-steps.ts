// What is to be done about one logical slot, by what the log says and what is found. Pure. Must never have a slot made that was there once: it would
// begin at a later position, and its consumer would lack changes without knowing.
import { type Lsn, formatLsn } from '../base/lsn.ts';
import type { CommandOf } from '../cluster/applied.ts';
import { logicalSlotText, logicalSlotVersionProblem } from '../cluster/logical-slots.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';
import { type KnownSlot, isFitOn, isFitOrNew } from './logical-slot-memory.ts';

type Outcome = CommandOf<'logical-slot'>['outcome'];

export type PrimaryStep =
  | {
      readonly kind: 'stay';
      readonly isReady: boolean;
      readonly note: string | undefined;
      /** What was there is not: what is found hereafter is new. */
      readonly isGone?: true;
    }
  | { readonly kind: 'create' }
  /** It is idle, and ours; once that is done, `outcome` is said, if any. */
  | { readonly kind: 'drop'; readonly outcome: Outcome | undefined; readonly reason: string | undefined }
  | { readonly kind: 'say'; readonly outcome: Outcome; readonly reason: string | undefined };

export interface PrimaryFacts {
  readonly slot: LogicalSlot;
  readonly found: LogicalSlotRow | undefined;
  /** What this agent knows of a slot of that entry in its data directory. */
  readonly known: KnownSlot | undefined;
  /** What it knows of one of that name, of an earlier entry: it is not fit, or is to be dropped. */
  readonly former: KnownSlot | undefined;
  /** Of this primary. */
  readonly timeline: number;
  readonly node: string;
  readonly walLevel: string;
  /** Where WAL ends on this node. */
  readonly walEnd: Lsn | undefined;
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

const isOurs = (known: KnownSlot | undefined): boolean => known?.isOurs === true && known.standing !== 'gone';

/** Once it is lost another one may have been made; but what is lost itself is no new one. */
export const isOursStill = (known: KnownSlot | undefined, found: LogicalSlotRow): boolean =>
  known?.isOurs === true && (known.standing !== 'gone' || found.isLost);

function wantedStep(facts: PrimaryFacts): PrimaryStep {
  const { slot, found, known, walLevel, majorVersion, node, timeline } = facts;
  const problem = logicalSlotVersionProblem(slot, majorVersion);
  if (problem !== undefined) return stay(false, `${problem}; unset it, and set it again`);
  if (found === undefined)
    return walLevel === 'logical' ? { kind: 'create' } : stay(false, restartNote(node, true));
  if (!isSame(found, slot)) return stay(false, `${foreignText(found)}; drop that, or unset this one`);
  if (found.isLost)
    return stay(false, 'a slot like it is there, but is lost: drop that, and it is made anew');
  if (isHalfMade(found)) return stay(false, BEING_MADE);
  if (isThere(facts.former)) return stay(false, formerNote(facts.former, node));
  // Nobody was told yet that it is made: another one may take its place.
  if (isThere(known) && !isFitOn(known, timeline)) {
    if (!known.isOurs || known.standing === 'left') return stay(false, unknownNote(node));
    return found.activePid === undefined
      ? { kind: 'drop', outcome: undefined, reason: `the slot on ${node} is not fit to go on from` }
      : stay(false, unfitInUse(node, found.activePid));
  }
  // Before a slot is made that is noted, so that it is known as ours whatever comes in between.
  return say(isOurs(known) ? 'made' : 'found');
}

const isThere = (known: KnownSlot | undefined): known is KnownSlot =>
  known !== undefined && known.standing !== 'gone';

const formerNote = (former: KnownSlot, node: string): string =>
  former.isOurs && former.standing !== 'left'
    ? `the former slot of that name on ${node} is dropped once nobody reads from it`
    : unknownNote(node);

const unknownNote = (node: string): string =>
  `the slot of that name on ${node} is not known to be fit to go on from: drop it (pg_drop_replication_slot), and it is made anew`;

/** It is in the view while it waits for the transactions that run, and gone again if that is given up. */
const isHalfMade = (found: LogicalSlotRow): boolean => found.confirmedLsn === undefined;

const BEING_MADE = 'it is being made, which waits for the transactions that run to end';

function madeStep({
  slot,
  found,
  known,
  timeline,
  node,
  majorVersion,
  before,
  walEnd,
}: PrimaryFacts): PrimaryStep {
  const why = before === undefined ? '' : ` (before: ${before})`;
  if (found === undefined) return say('lost', `${node} does not have it${why}`);
  if (!isSame(found, slot)) return say('lost', `on ${node} ${foreignText(found)}`);
  if (found.isLost)
    return say('lost', `on ${node} it was invalidated: WAL or catalog rows that it needs are gone`);
  if (!isFitOn(known, timeline)) {
    if (known === undefined || known.standing === 'gone')
      return say('lost', `nobody knows whether the slot on ${node} is fit to go on from`);
    if (!known.isOurs)
      return say('lost', `the slot on ${node}, which somebody else has made, is not fit to go on from${why}`);
    if (found.activePid !== undefined) return say('lost', unfitInUse(node, found.activePid));
    const reason = `the copy on ${node} was not fit to go on from, and is dropped${why}`;
    return { kind: 'drop', outcome: 'lost', reason };
  }
  if (walEnd !== undefined && found.confirmedLsn !== undefined && found.confirmedLsn > walEnd)
    return say(
      'lost',
      `its consumer says that it has all up to ${formatLsn(found.confirmedLsn)}, and WAL on ${node} ends at ${formatLsn(walEnd)}: it was given changes that a failover has lost, and would pass over others`,
    );
  return stay(
    true,
    majorVersion >= 17 && !found.isFailover
      ? 'somebody else has made it without failover = true: standbys do not get it before that is set (ALTER SUBSCRIPTION, or ALTER_REPLICATION_SLOT while nobody reads from it)'
      : undefined,
  );
}

/** Only a slot that was made since counts: what was there when it was lost is what is lost. */
function lostStep({ slot, found, known, node, timeline }: PrimaryFacts): PrimaryStep {
  if (found === undefined || !isSame(found, slot) || found.isLost)
    return { kind: 'stay', isReady: false, note: slot.reason, isGone: true };
  if (isHalfMade(found)) return stay(false, BEING_MADE);
  // Noted as fit by this primary: it is the new one, and the log has not taken that yet.
  if (isFitOrNew(known, timeline)) return say('found');
  if (!isOurs(known))
    return stay(
      false,
      `${slot.reason ?? 'lost'}; a slot of that name on ${node} is not known to be a new one: drop it, and make it anew`,
    );
  return found.activePid === undefined
    ? { kind: 'drop', outcome: undefined, reason: slot.reason }
    : stay(false, unfitInUse(node, found.activePid));
}

const unfitInUse = (node: string, pid: number): string =>
  `process ${pid} reads from the copy on ${node}, which was not fit to go on from: what it reads may lack changes`;

/** Ours by the log and by what this agent knows: somebody may have made another one since. */
function unsetStep({ slot, found, known }: PrimaryFacts): PrimaryStep {
  if (found === undefined || !slot.isOurs || !isSame(found, slot)) return say('gone');
  if (!isOursStill(known, found)) return say('gone');
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

/** What the primary stood at when it was first seen to protect all that a copy needs, and by which stream of WAL this was. */
export interface Bar {
  readonly catalogXmin: number;
  readonly confirmedLsn: Lsn;
  readonly stream: string;
}

export interface Readiness {
  /** The copy may be gone on from as soon as it has come as far; undefined: nothing protects it yet. */
  readonly bar: Bar | undefined;
  readonly isReady: boolean;
  readonly note: string | undefined;
}

/**
 * Whether a copied slot, or that of a former primary, may be gone on from (before 17). Rows that the upstream's own slot needs no more may have been
 * removed before this node's physical slot began to protect what the copy needs; those that it still needed then were not, and from then on none is,
 * for as long as the same stream goes on. Nor may it lie ahead of its consumer, which may be behind after another failover.
 */
export function readiness(facts: {
  readonly local: LogicalSlotRow;
  /** The upstream's. */
  readonly remote: LogicalSlotRow;
  /** What this node's physical slot on the upstream protects. */
  readonly protectedXmin: number | undefined;
  readonly bar: Bar | undefined;
  readonly stream: string;
  /** It was ready under the same primary, by the same stream. */
  readonly wasReady: boolean;
}): Readiness {
  const { local, remote, protectedXmin, stream, wasReady } = facts;
  const present = facts.bar?.stream === stream ? facts.bar : undefined;
  const not = (note: string, bar = present): Readiness => ({ bar, isReady: false, note });
  if (local.confirmedLsn === undefined || remote.confirmedLsn === undefined)
    return not('it has no position that could be compared', undefined);
  if (local.catalogXmin === undefined || remote.catalogXmin === undefined || protectedXmin === undefined)
    return not('the primary does not protect what it needs yet', undefined);
  if (precedes(local.catalogXmin, protectedXmin))
    return not('the primary does not protect all that it needs yet');
  const bar = present ?? { catalogXmin: remote.catalogXmin, confirmedLsn: remote.confirmedLsn, stream };
  if (local.confirmedLsn > remote.confirmedLsn)
    return not('it lies ahead of its consumer, which has to come as far first', bar);
  if (wasReady) return { bar, isReady: true, note: undefined };
  return precedes(local.catalogXmin, bar.catalogXmin) || local.confirmedLsn < bar.confirmedLsn
    ? not(
        'it is being brought up to where the primary was when it was copied; that goes on as its consumer does',
        bar,
      )
    : { bar, isReady: true, note: undefined };
}

/** Transaction ids go round. */
const precedes = (a: number, b: number): boolean => ((a - b) | 0) < 0;
