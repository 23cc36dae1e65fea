// What a round of looking after the logical slots goes by, whatever this node's part.
import type { LogicalSlotReport } from '../cluster/report.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { Found } from '../postgres/logical-slots.ts';
import type { AgentContext } from './context.ts';
import type { SlotMemory } from './logical-slot-memory.ts';

/** What a round goes by. */
export interface Round {
  readonly context: AgentContext;
  readonly memory: SlotMemory;
  readonly slots: readonly LogicalSlot[];
  readonly majorVersion: number;
  readonly signal: AbortSignal;
  readonly find: () => Promise<Found>;
  /** What was the matter with a slot when this was last looked at. */
  readonly noteOf: (name: string) => string | undefined;
  readonly say: (report: LogicalSlotReport) => void;
}

/** Never one that somebody reads from. */
export const DROP_IDLE = `
  select pg_drop_replication_slot(slot_name) from pg_replication_slots
  where slot_name = $1 and slot_type = 'logical' and active_pid is null`;
