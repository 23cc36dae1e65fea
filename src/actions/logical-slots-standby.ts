// Logical slots on a standby: PostgreSQL 17 and later synchronises them itself; before, this agent has copied them and moves them on behind the
// primary's. Must never move one on beyond what its consumer has confirmed: it would lack changes after a failover.
import { formatLsn } from '../base/lsn.ts';
import { logicalSlotText } from '../cluster/logical-slots.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';
import { findLogicalSlots } from '../postgres/logical-slots.ts';
import { withSource } from '../postgres/source-connection.ts';
import { closeFresh, connectFresh } from './fresh-session.ts';
import type { CopyNotes } from './logical-slot-copy.ts';
import type { KnownSlot } from './logical-slot-memory.ts';
import { type Bar, foreignText, isSame, readiness, restartNote } from './logical-slot-steps.ts';
import { NOTICE_CLOSED, type Round, dropIdle } from './logical-slot-round.ts';
import { dropForgotten, forgetAbsent, isToKeep, positionOf } from './logical-slots-forgotten.ts';
import { type FollowDuty, sourceOf } from './upstream-source.ts';

/** By slot and entry: see {@link readiness}. */
export type Bars = Map<string, Bar>;

const REMOTE_TIMEOUT_MS = 3000;
const ADVANCE_TIMEOUT_MS = 30_000;
/** PostgreSQL before 17 says so of WAL that is gone. */
const WAL_GONE = '58P01';

/**
 * Logical slots are kept by standbys that stream from the primary itself: PostgreSQL synchronises from no other, and rows that a copy needs are protected
 * by this node's slot on the primary alone.
 */
export async function cascadeRound(round: Round, duty: FollowDuty): Promise<void> {
  const member = round.context.localMember();
  if (member === undefined) return;
  const { memory, slots } = round;
  await dropForgotten(round, member, { isKept: () => false, timeline: undefined });
  const fit = (await memory.all(member)).filter(({ standing }) => standing === 'fit');
  await memory.note(member, ...fit.map((slot) => ({ ...slot, standing: 'unfit' as const })));
  for (const { name } of slots)
    round.say({ name, isReady: false, note: `it follows ${duty.upstream.node}, which is a standby` });
}

/** 17 and later: looks only, but for what stands in the way of PostgreSQL. */
export async function syncRound(round: Round, duty: FollowDuty): Promise<void> {
  const { context, memory, slots } = round;
  const member = context.localMember();
  if (member === undefined) return;
  await dropForgotten(round, member, { isKept: isToKeep, timeline: undefined });
  const found = await round.find();
  await forgetAbsent(round, member, found.slots);
  const { node } = context.instance.options;
  for (const slot of slots) {
    const { name, setAt } = slot;
    const local = found.slots.find((each) => each.name === name);
    const noted = (await memory.all(member)).find((each) => each.name === name);
    const known = noted?.setAt === setAt ? noted : undefined;
    const isStreaming = found.receiver?.timeline === duty.upstream.timeline;
    const isFormer = known !== undefined && isOfEntry(known) && local?.isSynced === false;
    if (isStreaming && isFormer && isToKeep(slot) && isSame(local, slot) && local.isFailover) {
      // Of a former primary: PostgreSQL would synchronise none at all for its sake. Before the new primary is there it may be the only one.
      if (await dropIdle(round, { name, text: logicalSlotText(slot) }))
        context.log(
          'info',
          `logical slot ${name} of its time as primary was dropped: it is synchronised anew`,
        );
    }
    const formerAt = local === undefined ? undefined : formerPosition(local, noted, setAt);
    const note =
      syncNote({ local, slot, node, isLogical: found.walLevel === 'logical' }) ??
      (isStreaming ? undefined : notStreaming(round, duty)) ??
      (formerAt === undefined ? undefined : FORMER_NOTE);
    // What it found under that primary before stays so while the stream is interrupted.
    if (local?.isSynced === true && isStreaming && isToKeep(slot))
      await memory.note(member, {
        ...{
          name,
          setAt,
          standing: note === undefined ? 'fit' : 'unfit',
          text: logicalSlotText(slot),
          formerAt,
        },
        ...{ timeline: duty.upstream.timeline, incarnation: round.incarnation, isOurs: slot.isOurs },
      });
    round.say({ name, isReady: note === undefined, note });
  }
}

/**
 * Where a slot stands that PostgreSQL may have synchronised from an earlier one of that name: between two looks at the primary, half a minute apart, it
 * does not notice that there is another. Undefined: it is no such slot, or has moved on since, which only the new one lets it.
 */
function formerPosition(
  local: LogicalSlotRow,
  noted: KnownSlot | undefined,
  setAt: number,
): string | undefined {
  if (!local.isSynced || noted === undefined || noted.standing === 'gone') return undefined;
  const present = positionOf(local);
  if (noted.setAt !== setAt) return present;
  return noted.formerAt === present ? present : undefined;
}

const isOfEntry = ({ standing }: KnownSlot): boolean => standing === 'fit' || standing === 'unfit';

const FORMER_NOTE =
  'what is here may be the copy of a former slot of that name until PostgreSQL has moved it on, which goes on as its consumer does';

const notStreaming = ({ context }: Round, { upstream }: FollowDuty): string =>
  `${context.instance.options.node} does not stream from ${upstream.node} at present`;

function syncNote(facts: {
  readonly local: LogicalSlotRow | undefined;
  readonly slot: LogicalSlot;
  readonly node: string;
  readonly isLogical: boolean;
}): string | undefined {
  const { local, slot } = facts;
  if (!facts.isLogical) return restartNote(facts.node, false);
  if (local === undefined) return 'PostgreSQL has not synchronised it yet';
  if (!local.isSynced)
    return local.activePid === undefined
      ? foreignText(local)
      : `process ${local.activePid} reads from the slot of that name here`;
  if (local.isTemporary)
    return 'PostgreSQL has not synchronised it up to where it is fit to go on from; that goes on as its consumer does';
  if (local.isLost) return 'its copy is invalidated; PostgreSQL makes it anew';
  return isSame(local, slot) ? undefined : foreignText(local);
}

/** Before 17. */
export async function copyRound(
  round: Round,
  duty: FollowDuty,
  { bars, copyNotes }: { readonly bars: Bars; readonly copyNotes: CopyNotes },
): Promise<void> {
  const { context, memory, signal } = round;
  const member = context.localMember();
  if (member === undefined) return;
  await dropForgotten(round, member, { isKept: isToKeep, timeline: undefined });
  const slots = round.slots.filter(({ standing }) => standing === 'made');
  if (slots.length === 0) return;
  const upstream = await findUpstream(round, duty);
  const found = await round.find();
  await forgetAbsent(round, member, found.slots);
  const { node } = context.instance.options;
  for (const slot of slots) {
    const { name, setAt } = slot;
    const tell = (note: string): void => round.say({ name, isReady: false, note });
    const local = found.slots.find((each) => each.name === name);
    const remote = upstream.slots.find((each) => each.name === name);
    const known = (await memory.all(member)).find((each) => each.name === name && each.setAt === setAt);
    signal.throwIfAborted();
    if (local === undefined) {
      const why = copyNotes.get(name);
      tell(
        `${why === undefined ? '' : `${why}; `}it is copied when ${node} is started again: sentinelctl node restart ${node}`,
      );
    } else if (!isSame(local, slot)) tell(foreignText(local));
    else if (known === undefined || known.standing === 'gone')
      tell(
        `a slot of that name on ${node} is not known to be a copy: drop it there (pg_drop_replication_slot)`,
      );
    else if (local.isLost) tell(await dropLost(round, local, known, 'its copy was invalidated'));
    else if (remote === undefined || !isSame(remote, slot)) tell(`${duty.upstream.node} does not have it`);
    else if (found.receiver?.timeline !== duty.upstream.timeline) tell(notStreaming(round, duty));
    else {
      const { stream } = found.receiver;
      const { timeline } = duty.upstream;
      const key = `${name} ${setAt} ${timeline}`;
      const failure = await advance(round, local, remote, known);
      const wasReady = known.standing === 'fit' && known.timeline === timeline && known.stream === stream;
      const next = readiness({
        ...{ local, remote, stream, wasReady, bar: bars.get(key) },
        protectedXmin: upstream.protectedXmin.get(member),
      });
      if (next.bar === undefined) bars.delete(key);
      else bars.set(key, next.bar);
      const note = failure ?? next.note;
      const isReady = next.isReady && (failure === undefined || wasReady);
      const standing = isReady ? 'fit' : 'unfit';
      const { incarnation } = round;
      await memory.note(member, {
        ...{ name, setAt, standing, timeline, incarnation, stream },
        ...{ isOurs: known.isOurs, text: logicalSlotText(slot) },
      });
      round.say({ name, isReady, note });
    }
  }
}

function findUpstream(round: Round, duty: FollowDuty): ReturnType<typeof findLogicalSlots> {
  const { context, majorVersion, signal } = round;
  const source = sourceOf(context, duty, 'pg_sentinel_slots');
  return withSource(source, { timeoutMs: REMOTE_TIMEOUT_MS, signal }, (client) =>
    findLogicalSlots(majorVersion, async (text) => (await client.query<{ found: unknown }>(text)).rows),
  );
}

/** Up to what the consumer has confirmed on the primary, as far as this node has replayed that; why it could not be, or undefined. */
async function advance(
  round: Round,
  local: LogicalSlotRow,
  remote: LogicalSlotRow,
  known: KnownSlot,
): Promise<string | undefined> {
  const { context, signal } = round;
  if (remote.confirmedLsn === undefined || local.confirmedLsn === undefined) return undefined;
  if (remote.confirmedLsn <= local.confirmedLsn) return undefined;
  const { name, database } = local;
  const client = await connectFresh(context, {
    ...{ name: 'pg_sentinel_slots', database, queryTimeoutMs: ADVANCE_TIMEOUT_MS },
  });
  const abort = (): void => closeFresh(client);
  signal.addEventListener('abort', abort);
  try {
    signal.throwIfAborted();
    await client.query(`set statement_timeout = ${ADVANCE_TIMEOUT_MS - 1000}`);
    await client.query(NOTICE_CLOSED);
    // PostgreSQL goes no further than what is replayed.
    await client.query('select pg_replication_slot_advance($1, $2::pg_lsn)', [
      name,
      formatLsn(remote.confirmedLsn),
    ]);
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    const { message, code } = error as Error & { readonly code?: string };
    if (code === WAL_GONE)
      return await dropLost(round, local, known, `its copy cannot be moved on: ${message}`);
    return `its copy cannot be moved on: ${message}`;
  } finally {
    signal.removeEventListener('abort', abort);
    closeFresh(client);
  }
}

/** It is copied anew at the next start. */
async function dropLost(round: Round, local: LogicalSlotRow, known: KnownSlot, why: string): Promise<string> {
  const { context, memory } = round;
  const member = context.localMember();
  if (!known.isOurs) return `${why}; drop it there (pg_drop_replication_slot)`;
  if ((await dropIdle(round, known)) && member !== undefined) await memory.forget(member, local.name);
  return `${why}; it is copied when ${context.instance.options.node} is started again`;
}
