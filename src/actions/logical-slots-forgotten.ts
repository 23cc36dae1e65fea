// Logical slots in this data directory that nobody is to go on from any more: dropped, or they would keep WAL for ever. Only those that this agent knows
// to be ours; what it knows of others it forgets, and says that they are left.
import type { MemberId } from '../base/ids.ts';
import { logicalSlotText } from '../cluster/logical-slots.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';
import type { KnownSlot } from './logical-slot-memory.ts';
import { isOursStill } from './logical-slot-steps.ts';
import { type Round, dropIdle } from './logical-slot-round.ts';

/** All but those of the log that `isKept`; left out: all of the log's are. */
export async function dropForgotten(
  round: Round,
  member: MemberId,
  isKept: (slot: LogicalSlot) => boolean = () => true,
): Promise<void> {
  const { memory, slots } = round;
  const isWanted = (name: string, setAt: number): boolean =>
    slots.some((slot) => slot.name === name && slot.setAt === setAt && isKept(slot));
  const forgotten = (await memory.all(member)).filter(({ name, setAt }) => !isWanted(name, setAt));
  if (forgotten.length === 0) return;
  const { slots: present, walEnd } = await round.find();
  for (const known of forgotten) {
    const found = present.find(({ name }) => name === known.name);
    if (found !== undefined && !(await isDone(round, known, found, walEnd !== undefined))) continue;
    await memory.forget(member, known.name);
  }
}

/** False: it is to be dropped, which cannot be now. */
async function isDone(
  round: Round,
  known: KnownSlot,
  found: LogicalSlotRow,
  isPrimary: boolean,
): Promise<boolean> {
  const { context } = round;
  const { name } = known;
  const { node } = context.instance.options;
  // PostgreSQL itself drops the copies that it has made.
  if (found.isSynced && !isPrimary) return !known.isOurs;
  if (!isOursStill(known, found)) {
    context.announce(
      `logical slot ${name} on ${node}, which is not of pg-sentinel's making, is left there: it keeps WAL and dead rows; drop it if nobody needs it (pg_drop_replication_slot)`,
    );
    return true;
  }
  // Nobody has unset what the log has lost, and its consumer may still read from it.
  const isLostByLog = known.incarnation !== round.incarnation;
  if (isLostByLog && isPrimary) {
    context.announce(
      `logical slot ${name} on ${node} is left there: the log, which was recovered by force since, does not have it; set it again (sentinelctl settings set logical_slots.${name}=${logicalSlotText(found)}), or drop it (pg_drop_replication_slot)`,
    );
    return true;
  }
  // None while somebody reads from it.
  if (found.activePid !== undefined || !(await dropIdle(round, name))) return false;
  context.log('info', `logical slot ${name} was dropped: nobody is to go on from it here`);
  return true;
}
