// Logical slots in this data directory that nobody is to go on from any more: dropped, or they would keep WAL for ever. Only those that this agent knows
// to be ours. Must never forget one that is there and is not fit: set again, it would pass as fit.
import { formatLsn } from '../base/lsn.ts';
import type { MemberId } from '../base/ids.ts';
import { logicalSlotText } from '../cluster/logical-slots.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';
import { type KnownSlot, isFitOrNew } from './logical-slot-memory.ts';
import { isOursStill } from './logical-slot-steps.ts';
import { type Round, dropIdle } from './logical-slot-round.ts';

export interface KeptSlots {
  /** Which of the log's are kept here; left out: all. */
  readonly isKept?: (slot: LogicalSlot) => boolean;
  /** Of the primary that this node is; undefined: it is a standby. */
  readonly timeline: number | undefined;
}

/** All but those of the log that are kept. */
export async function dropForgotten(round: Round, member: MemberId, kept: KeptSlots): Promise<void> {
  const { memory, slots } = round;
  const { isKept = () => true } = kept;
  const isWanted = (name: string, setAt: number): boolean =>
    slots.some((slot) => slot.name === name && slot.setAt === setAt && isKept(slot));
  const forgotten = (await memory.all(member)).filter(({ name, setAt }) => !isWanted(name, setAt));
  if (forgotten.length === 0) return;
  const { slots: present } = await round.find();
  for (const known of forgotten) {
    const found = present.find(({ name }) => name === known.name);
    const next = isThat(known, found) ? await lookAfter(round, known, found, kept.timeline) : undefined;
    if (next === undefined) await memory.forget(member, known.name);
    else await memory.note(member, next);
  }
}

/** On a standby. Whatever comes under that name hereafter is another one. */
export async function forgetAbsent(
  { memory }: Round,
  member: MemberId,
  present: readonly LogicalSlotRow[],
): Promise<void> {
  for (const known of await memory.all(member))
    if (
      !isThat(
        known,
        present.find(({ name }) => name === known.name),
      )
    )
      await memory.forget(member, known.name);
}

/** Else it is another one, of which nothing is known. */
const isThat = (known: KnownSlot, found: LogicalSlotRow | undefined): found is LogicalSlotRow =>
  found !== undefined && logicalSlotText(found) === known.text;

/** What is known of it from now on; undefined: it is gone, or may count again. */
async function lookAfter(
  round: Round,
  known: KnownSlot,
  found: LogicalSlotRow,
  timeline: number | undefined,
): Promise<KnownSlot | undefined> {
  const { context } = round;
  const { name } = known;
  const { node } = context.instance.options;
  const isPrimary = timeline !== undefined;
  // PostgreSQL itself drops the copies that it has made, and may be given another slot of that name before it does.
  if (found.isSynced && !isPrimary)
    return {
      ...known,
      standing: 'unfit',
      formerAt: isStill(round, known) ? known.formerAt : positionOf(found),
    };
  // Nobody reads from one of ours on a standby.
  if (known.standing === 'left' && (isPrimary || !known.isOurs)) return known;
  const isFit = isPrimary && isFitOrNew(known, timeline);
  const left = isFit ? undefined : ({ ...known, standing: 'left' } as const);
  if (!isOursStill(known, found)) {
    context.announce(
      `logical slot ${name} on ${node}, which is not of pg-sentinel's making, is left there: it keeps WAL and dead rows; drop it if nobody needs it (pg_drop_replication_slot)${isFit ? '' : UNFIT}`,
    );
    return left;
  }
  // Nobody has unset what the log has lost, and its consumer may still read from it.
  const isLostByLog = known.incarnation !== round.incarnation;
  if (isLostByLog && isPrimary) {
    const advice = isFit
      ? `set it again (sentinelctl settings set logical_slots.${name}=${known.text}), or drop it (pg_drop_replication_slot)`
      : `drop it (pg_drop_replication_slot)${UNFIT}`;
    context.announce(
      `logical slot ${name} on ${node} is left there: the log, which was recovered by force since, does not have it; ${advice}`,
    );
    return left;
  }
  // None while somebody reads from it.
  if (found.activePid !== undefined || !(await dropIdle(round, known))) return known;
  context.log('info', `logical slot ${name} was dropped: nobody is to go on from it here`);
  return undefined;
}

/** The entry by which it was made stands: only this node has no use for it at present. */
const isStill = ({ slots }: Round, known: KnownSlot): boolean =>
  slots.some((slot) => slot.name === known.name && slot.setAt === known.setAt && isToKeep(slot));

/** Others of the log are of no use to anybody: they are lost, or a person has unset them. */
export const isToKeep = ({ standing }: LogicalSlot): boolean => standing === 'wanted' || standing === 'made';

const UNFIT = ', before a slot of that name is set again: it is not known to be fit to go on from';

/** Of a slot that PostgreSQL has synchronised: each move of the primary's shows there. */
export const positionOf = ({ confirmedLsn }: LogicalSlotRow): string =>
  confirmedLsn === undefined ? 'none' : formatLsn(confirmedLsn);
