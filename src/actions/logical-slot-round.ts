// What a round of looking after the logical slots goes by, whatever this node's part.
import type { LogicalSlotReport } from '../cluster/report.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { Found } from '../postgres/logical-slots.ts';
import { type AgentContext, query } from './context.ts';
import type { SlotMemory } from './logical-slot-memory.ts';

/** What a round goes by. */
export interface Round {
  readonly context: AgentContext;
  readonly memory: SlotMemory;
  readonly slots: readonly LogicalSlot[];
  readonly majorVersion: number;
  /** Of the log. */
  readonly incarnation: number;
  readonly signal: AbortSignal;
  readonly find: () => Promise<Found>;
  /** What was the matter with a slot when this was last looked at. */
  readonly noteOf: (name: string) => string | undefined;
  readonly say: (report: LogicalSlotReport) => void;
}

/** A server process that is at work for a connection of ours ends soon after that is closed, and lets go of its slot. */
export const NOTICE_CLOSED = "set client_connection_check_interval = '100ms'";

/**
 * Never one that somebody reads from, one that decodes something else, which is another one, or what PostgreSQL synchronises, which it drops itself; whether
 * it was there and was dropped.
 */
export async function dropIdle(
  { context, signal }: Pick<Round, 'context' | 'signal'>,
  { name, text }: { readonly name: string; readonly text: string },
): Promise<boolean> {
  const { session, options } = context.instance;
  const isSynced = options.binaries.version >= 17 ? 'synced and pg_is_in_recovery()' : 'false';
  const rows = await session.query(
    `select pg_drop_replication_slot(slot_name) from pg_replication_slots
     where slot_name = $1 and database || ':' || plugin || case when two_phase then ':two_phase' else '' end = $2
       and slot_type = 'logical' and active_pid is null and not (${isSynced})`,
    [name, text],
    query(context, signal),
  );
  return rows.length > 0;
}
