// Logical decoding on a server that was found: what of it stands against adopting it, and what its owner should know of the slots that are there. Pure.
import {
  logicalSlotNameProblem,
  logicalSlotText,
  logicalSlotVersionProblem,
  parseLogicalSlot,
} from '../cluster/logical-slots.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';

export interface FoundLogical {
  readonly isPrimary: boolean;
  readonly majorVersion: number;
  /** Of a setting, as in `FoundFacts`. */
  readonly value: (name: string) => string;
  /** All but temporary ones. */
  readonly logicalSlots: readonly LogicalSlotRow[];
  /** Nodes of the group beside this one. */
  readonly otherNodeCount: number;
}

export function* logicalProblems({ isPrimary, value, logicalSlots }: FoundLogical): Iterable<string> {
  const readerLimit = value('synchronized_standby_slots');
  if (isPrimary && readerLimit !== '')
    yield `synchronized_standby_slots is '${readerLimit}': its standbys get other slots, and readers of logical slots would wait for these; set it to '' first (ALTER SYSTEM SET synchronized_standby_slots = '', then pg_reload_conf())`;
  // What PostgreSQL itself synchronises is the copy of a slot of the primary.
  const decoded = logicalSlots.filter(({ isSynced }) => !isPrimary && !isSynced);
  if (decoded.length > 0)
    yield `logical replication slots of a standby (${decoded.map(({ name }) => name).join(', ')}): pg-sentinel switches hot_standby_feedback off there, without which what they need is removed; drop them (pg_drop_replication_slot), and have their consumers read from the primary`;
}

export function* logicalNotices(found: FoundLogical): Iterable<string> {
  const { isPrimary, value, logicalSlots, otherNodeCount } = found;
  if (!isPrimary) return;
  for (const slot of logicalSlots) yield `logical replication slot ${slot.name}${slotNotice(slot, found)}`;
  const [senders, needed] = [Number(value('max_wal_senders')), otherNodeCount + logicalSlots.length];
  if (logicalSlots.length > 0 && senders < needed)
    yield `max_wal_senders is ${senders} until its restart, and the ${otherNodeCount} other nodes and ${logicalSlots.length} logical slots may need one each`;
}

/** Kept short: a report cuts what is long. */
function slotNotice(slot: LogicalSlotRow, { majorVersion }: FoundLogical): string {
  const { name } = slot;
  if (slot.isLost) return ' is invalidated: nobody can read from it any more; drop it';
  const wanted = parseLogicalSlot(logicalSlotText(slot));
  const unnamed =
    logicalSlotNameProblem(name) ??
    (wanted === undefined
      ? 'its database or plugin cannot be named'
      : logicalSlotVersionProblem(wanted, majorVersion));
  return unnamed === undefined
    ? ` goes on, and is kept by no switchover or failover before it is named: sentinelctl settings set logical_slots.${name}=${logicalSlotText(slot)}`
    : ` goes on, but no switchover or failover keeps it: ${unnamed}`;
}
