// What a round of looking after the logical slots goes by, whatever this node's part.
import type { LogicalSlotReport } from '../cluster/report.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { Found } from '../postgres/logical-slots.ts';
import { type AgentContext, query } from './context.ts';
import type { Reign, SlotMemory } from './logical-slot-memory.ts';

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

/**
 * The primary of that timeline. `parent`: which it leaves, where its promotion is under way and the log does not have it yet.
 */
export function reignOf(context: AgentContext, timeline: number, parent?: number): Reign {
  const branches = context.group()?.branches ?? [];
  return {
    timeline,
    parent: parent ?? branches.find((branch) => branch.timeline === timeline)?.parent,
    opened: branches.map((branch) => branch.timeline),
  };
}

/** A server process that is at work for a connection of ours ends soon after that is closed, and lets go of its slot. */
export const NOTICE_CLOSED = "set client_connection_check_interval = '100ms'";

/** Never one that somebody reads from; whether it was there and was dropped. */
export async function dropIdle({ context, signal }: Round, name: string): Promise<boolean> {
  return (await context.instance.session.query(DROP_IDLE, [name], query(context, signal))).length > 0;
}

export const DROP_IDLE = `
  select pg_drop_replication_slot(slot_name) from pg_replication_slots
  where slot_name = $1 and slot_type = 'logical' and active_pid is null`;
