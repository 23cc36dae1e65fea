// Logical slots in this data directory that the log has no more: dropped, or they would keep WAL for ever. Only those that this agent knows to be the log's.
import type { MemberId } from '../base/ids.ts';
import { query } from './context.ts';
import { DROP_IDLE, type Round } from './logical-slot-round.ts';

export async function dropForgotten(round: Round, member: MemberId): Promise<void> {
  const { context, memory, slots, signal } = round;
  const isWanted = (name: string, setAt: number): boolean =>
    slots.some((slot) => slot.name === name && slot.setAt === setAt);
  const forgotten = (await memory.all(member)).filter(({ name, setAt }) => !isWanted(name, setAt));
  if (forgotten.length === 0) return;
  const { slots: present } = await round.find();
  for (const { name } of forgotten) {
    const found = present.find((slot) => slot.name === name);
    // PostgreSQL drops the copies that it has made, and none while somebody reads from it.
    if (found !== undefined && found.activePid !== undefined) continue;
    if (found !== undefined && !found.isSynced) {
      await context.instance.session.query(DROP_IDLE, [name], query(context, signal));
      context.log('info', `logical slot ${name} was dropped: the log has it no more`);
    }
    await memory.forget(member, name);
  }
}
