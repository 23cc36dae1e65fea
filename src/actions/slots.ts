// Physical replication slots: one for each other member of the group, on the primary and on every standby, so that whoever
// is promoted has them before its followers connect. Slots of members that are gone are dropped, or WAL would be kept for ever.
import { type MemberId, slotPrefix } from '../base/ids.ts';
import { formatLsn, lagBytes, lsn, parseLsn } from '../base/lsn.ts';
import { type Slot, createSlot, dropSlot, listSlots, renewIdleSlot } from '../postgres/sql.ts';
import { type AgentContext, query } from './context.ts';

/** A member id is the name of a node with eight hexadecimal digits; other slots belong to somebody else and are left alone. */
function isMemberSlot(context: AgentContext, name: string): boolean {
  const [, owner] = /^([a-z][a-z0-9_]*)_[0-9a-f]{8}$/.exec(name) ?? [];
  return (
    owner !== undefined && context.instance.options.slotOwners().some((node) => slotPrefix(node) === owner)
  );
}

/** An administrator may drop a slot; its member cannot come back without, nor be promoted over. */
const LOOK_EVERY_MS = 2000;
/** Moving a slot on writes it to disk. */
export const ADVANCE_SLOTS_EVERY_MS = 10_000;

/**
 * {@link keepSlots} whenever the members are others, and from time to time for what somebody else has done; then `rest`, which does not depend on
 * it. What PostgreSQL refuses is noted for a person (`slotProblem`), for it may do so for long, as where others have taken all slots; any other failure is
 * thrown after `rest`.
 */
export async function lookAfterSlots(
  context: AgentContext,
  members: readonly MemberId[],
  signal: AbortSignal,
  rest: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  let failure: Error | undefined;
  const look = async (): Promise<void> => {
    noteProblem(context, await keepSlots(context, members, signal).then(() => undefined, refusalOf));
  };
  try {
    await context.once(`slots ${members.join(' ')}`, look, LOOK_EVERY_MS);
  } catch (error) {
    signal.throwIfAborted();
    failure = error as Error;
  }
  await rest();
  if (failure !== undefined) throw failure;
}

/** Throws what PostgreSQL has not said. */
function refusalOf(error: unknown): string {
  if ((error as { code?: string }).code === undefined) throw error;
  return `replication slots of members cannot all be kept: ${(error as Error).message}`;
}

function noteProblem({ notes, log }: AgentContext, problem: string | undefined): void {
  if (problem !== undefined && problem !== notes.slotProblem) log('warn', problem);
  notes.slotProblem = problem;
}

/** `slotProblem` of a primary, whose commits wait for members or not, with what follows from it. Pure. `readerLimit`: in force; undefined before 17. */
export function slotNote(
  { notes, instance }: Pick<AgentContext, 'notes' | 'instance'>,
  { readerLimit, waits }: { readonly readerLimit: string | undefined; readonly waits: boolean },
): string | undefined {
  if (notes.slotProblem === undefined) return undefined;
  // The first releases of 17 refuse a list that names a slot which is not there.
  const isFree = waits && readerLimit === '' && instance.options.logicalSlots().length > 0;
  return isFree
    ? `${notes.slotProblem}; nothing holds consumers of logical slots back meanwhile`
    : notes.slotProblem;
}

/**
 * Drops what is nobody's any more, which makes room, then creates what is missing and makes anew what is lost: all that can be before it throws. One
 * cheap query where nothing is to be done.
 */
export async function keepSlots(
  context: AgentContext,
  members: readonly MemberId[],
  signal: AbortSignal,
): Promise<void> {
  const { session } = context.instance;
  const present = await listSlots(session, query(context, signal));
  let failure: Error | undefined;
  const attempt = async (work: Promise<unknown>): Promise<void> => {
    await work.catch((error: unknown) => {
      // One that gives no answer would give none for the others.
      if (signal.aborted || (error as { code?: string }).code === undefined) throw error;
      failure ??= error as Error;
    });
  };
  for (const slot of present) {
    const isOurs = isMemberSlot(context, slot.name);
    if (isOurs && !members.some((member) => member === slot.name) && slot.activePid === undefined)
      await attempt(dropSlot(session, slot.name, query(context, signal)));
  }
  for (const member of members) {
    const slot = present.find(({ name }) => name === member);
    if (slot !== undefined && (slot.walStatus !== 'lost' || slot.activePid !== undefined)) continue;
    await attempt(makeSlot(context, member, slot !== undefined, signal));
  }
  if (failure !== undefined) throw failure;
}

async function makeSlot(
  context: AgentContext,
  member: MemberId,
  isLost: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { session } = context.instance;
  if (isLost) {
    // PostgreSQL takes no more connections through it. Its member can do without where its WAL is still there.
    context.announce(
      `replication slot ${member} is lost: it fell behind by more than max_slot_wal, and WAL that it needs was removed; it is made anew, and a member that lacks that WAL is cloned`,
    );
    await dropSlot(session, member, query(context, signal));
  }
  await createSlot(session, member, query(context, signal));
}

const KEPT_BYTES_MAX = 64 << 20;

/**
 * Slots that nobody reads here are moved on with what this node holds, or they would keep all WAL: on a standby all, but for those of
 * cascading standbys that stream from it (`readers`); on a primary those of the `only` members, which stream from a standby. What lies less than
 * {@link KEPT_BYTES_MAX} back is kept for those, for they may lag, and come to follow it.
 *
 * Those that still keep dead rows, for a member that followed this node once, are made anew first: nobody would ever move that on, and by
 * `hot_standby_feedback` a standby hands it on to the primary, which could not vacuum for ever. What WAL a new one may lack of the old one's,
 * `wal_keep_size` keeps, which is more than an idle slot does.
 */
export async function advanceIdleSlots(
  context: AgentContext,
  { readers = [], only }: { readonly readers?: readonly string[]; readonly only?: readonly string[] },
  signal: AbortSignal,
): Promise<void> {
  const { session } = context.instance;
  const isIdle = ({ name, activePid }: Slot): boolean =>
    isMemberSlot(context, name) &&
    !readers.includes(name) &&
    only?.includes(name) !== false &&
    activePid === undefined;
  const [row] = await session.query<{ end: string | null }>(
    'select (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end)::text as "end"',
    [],
    query(context, signal),
  );
  if (row === undefined || row.end === null) return;
  const end = parseLsn(row.end);
  for (const slot of (await listSlots(session, query(context, signal))).filter(isIdle)) {
    if (slot.holdsRowsBack) {
      await renewIdleSlot(session, slot.name, query(context, signal));
      continue;
    }
    if (slot.restartLsn === undefined) continue;
    const kept = only === undefined ? 0 : KEPT_BYTES_MAX;
    if (lagBytes(end, parseLsn(slot.restartLsn)) < KEPT_BYTES_MAX + kept) continue;
    await session.query(
      'select pg_replication_slot_advance($1, $2::pg_lsn)',
      [slot.name, formatLsn(lsn(end - BigInt(kept)))],
      query(context, signal),
    );
  }
}
