// Logical slots in this data directory that nobody is to go on from any more: dropped, or they would keep WAL for ever. Only those that this agent knows
// to be ours; what it knows of others it forgets.
import type { MemberId } from '../base/ids.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import { isOursStill } from './logical-slot-steps.ts';
import { type Round, dropIdle } from './logical-slot-round.ts';

/** All but those of the log that `isKept`; left out: all of the log's are. */
export async function dropForgotten(
  round: Round,
  member: MemberId,
  isKept: (slot: LogicalSlot) => boolean = () => true,
): Promise<void> {
  const { context, memory, slots } = round;
  const isWanted = (name: string, setAt: number): boolean =>
    slots.some((slot) => slot.name === name && slot.setAt === setAt && isKept(slot));
  const forgotten = (await memory.all(member)).filter(({ name, setAt }) => !isWanted(name, setAt));
  if (forgotten.length === 0) return;
  const { slots: present, walEnd } = await round.find();
  for (const known of forgotten) {
    const { name } = known;
    const found = present.find((slot) => slot.name === name);
    if (found !== undefined && isOursStill(known, found)) {
      // None while somebody reads from it; and on a standby PostgreSQL itself drops the copies that it has made.
      if (found.activePid !== undefined || (found.isSynced && walEnd === undefined)) continue;
      if (!(await dropIdle(round, name))) continue;
      context.log('info', `logical slot ${name} was dropped: nobody is to go on from it here`);
    }
    await memory.forget(member, name);
  }
}
