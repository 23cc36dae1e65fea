// Whether a standby synchronises its upstream's logical slots by PostgreSQL's own means (17 and later). It is switched on only while PostgreSQL runs and
// decodes logically: with less than that in force, 17.0 to 17.5 shut themselves down.
import { readControlData } from '../postgres/control-data.ts';
import { changeSlotSync } from '../postgres/upstream.ts';
import { type AgentContext, query } from './context.ts';
import type { FollowDuty } from './upstream-source.ts';

/** PostgreSQL synchronises from a primary only, never from another standby. */
export const followsPrimary = (context: AgentContext, duty: FollowDuty): boolean =>
  context.group()?.phase.primary === duty.upstream.node;

/** In a pass: a cut writes the same file. */
export async function keepSlotSync(
  context: AgentContext,
  duty: FollowDuty,
  signal: AbortSignal,
): Promise<void> {
  const { binaries, dataDirectory, user } = context.instance.options;
  if (binaries.version < 17) return;
  // Neither the log nor the data directory has a logical slot, and it is off.
  if (context.instance.parameters()?.ours['wal_level'] === 'replica') return;
  const syncsSlots = isSyncDue(await readFacts(context, duty, signal));
  if (await changeSlotSync({ dataDirectory, syncsSlots, owner: user.owner }))
    context.log('info', `slot synchronisation is ${syncsSlots ? 'on' : 'off'}`);
}

/** What counts for whether slots are synchronised. */
export interface SyncFacts {
  readonly followsPrimary: boolean;
  /** The log has logical slots. */
  readonly hasSlots: boolean;
  /** There is one here that PostgreSQL has synchronised. */
  readonly hasSynced: boolean;
  /** `wal_level` in force here. */
  readonly walLevel: string;
  /** The primary's, as far as it was replayed. */
  readonly isPrimaryLogical: boolean;
}

/** Pure. Nobody but PostgreSQL can drop a slot that it has synchronised, and only as long as this is on. */
export const isSyncDue = (facts: SyncFacts): boolean =>
  facts.followsPrimary &&
  facts.walLevel === 'logical' &&
  facts.isPrimaryLogical &&
  (facts.hasSlots || facts.hasSynced);

async function readFacts(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<SyncFacts> {
  const { logicalSlots, dataDirectory } = context.instance.options;
  const [row] = await context.instance.session.query<{ level: string; synced: boolean }>(
    `select current_setting('wal_level') as level, exists (select from pg_replication_slots where synced) as synced`,
    [],
    query(context, signal),
  );
  return {
    followsPrimary: followsPrimary(context, duty),
    hasSlots: logicalSlots().length > 0,
    hasSynced: row?.synced === true,
    walLevel: row?.level ?? '',
    isPrimaryLogical: (await readControlData(dataDirectory)).isWalLogical,
  };
}
