// What a person should know of the WAL that replication slots keep, before a disk is full or a slot is lost. Pure; said by the node's agent and by
// `sentinelctl node check`.
import type { Upkeep } from './report.ts';

export interface SlotWarning {
  readonly kind: 'lost' | 'unreserved' | 'left' | 'budget' | 'disk';
  readonly text: string;
}

/** Of what a slot may keep (`max_slot_wal`). */
const BUDGET_SHARE = 0.8;
/** So much a disk has to have free in any case: PostgreSQL keeps as much without any slot. */
const DISK_BYTES_MIN = 2 ** 28;

export function* slotWarnings(upkeep: Upkeep | undefined): Iterable<SlotWarning> {
  const slots = upkeep?.slots;
  if (slots === undefined) return;
  const { keptBytes, most, safeBytes, unreserved = [], lost = [], leftLogical = [] } = slots;
  if (lost.length > 0)
    yield {
      kind: 'lost',
      text: `lost replication slots, WAL that they need was removed: ${lost.join(', ')}`,
    };
  if (unreserved.length > 0)
    yield {
      kind: 'unreserved',
      text: `replication slots that keep more than max_slot_wal, and are lost at the next checkpoint: ${unreserved.join(', ')}`,
    };
  if (leftLogical.length > 0)
    yield {
      kind: 'left',
      text: `logical slots on a standby that nobody reads from and no setting names: ${leftLogical.join(', ')}; they keep WAL there up to max_slot_wal, and may keep dead rows on the primary: drop them there if nobody needs them (pg_drop_replication_slot)`,
    };
  if (most === undefined) return;
  const kept = `replication slot ${most} keeps ${megabytes(keptBytes)} of WAL`;
  const budget = safeBytes === undefined ? undefined : keptBytes + safeBytes;
  if (budget !== undefined && keptBytes >= BUDGET_SHARE * budget && !unreserved.includes(most))
    yield { kind: 'budget', text: `${kept}, and is lost beyond ${megabytes(budget)} (max_slot_wal)` };
  const freeBytes = upkeep?.walDisk?.freeBytes;
  if (freeBytes !== undefined && keptBytes >= DISK_BYTES_MIN && keptBytes >= freeBytes)
    yield { kind: 'disk', text: `${kept}, more than the disk of pg_wal has free: ${megabytes(freeBytes)}` };
}

const megabytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MB`;
