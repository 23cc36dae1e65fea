// Logical slots before PostgreSQL 17: copied from the primary's files while this standby does not run, since PostgreSQL reads them at its start only. Must
// never put a file there with which it would not start.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { settledWithin } from '../base/clock.ts';
import { logicalSlotText } from '../cluster/logical-slots.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import { readSlotFiles } from '../postgres/logical-slots.ts';
import { placeSlot, slotStateProblem, snapshotOf } from '../postgres/slot-files.ts';
import { DEFAULT_SETTINGS } from '../postgres/settings.ts';
import { withSource } from '../postgres/source-connection.ts';
import type { AgentContext } from './context.ts';
import type { SlotMemory } from './logical-slot-memory.ts';
import { type FollowDuty, sourceOf } from './upstream-source.ts';

/** Why a slot was not copied at the last start, by its name. */
export type CopyNotes = Map<string, string>;

const SOURCE_TIMEOUT_MS = 3000;

/** All of it: PostgreSQL is not started before. */
const COPY_TIMEOUT_MS = 5000;

/**
 * Those that this data directory lacks. Throws where the upstream cannot be asked, where it takes longer than {@link COPY_TIMEOUT_MS}, and the signal's
 * reason; what is wrong with one slot is noted.
 */
export async function copyMissingSlots(
  context: AgentContext,
  duty: FollowDuty,
  options: CopyOptions,
): Promise<void> {
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(COPY_TIMEOUT_MS)]);
  const copying = copyAll(context, duty, { ...options, signal });
  // A disk that does not answer heeds no signal; what is still to come then ends there.
  await settledWithin(copying, 2 * COPY_TIMEOUT_MS, signal);
  signal.throwIfAborted();
  await copying;
}

interface CopyOptions {
  readonly memory: SlotMemory;
  readonly slots: readonly LogicalSlot[];
  readonly notes: CopyNotes;
  readonly signal: AbortSignal;
}

async function copyAll(context: AgentContext, duty: FollowDuty, options: CopyOptions): Promise<void> {
  const { memory, slots, notes, signal } = options;
  const { dataDirectory, user } = context.instance.options;
  const member = context.localMember();
  const present = await readdir(join(dataDirectory, 'pg_replslot')).catch(() => undefined);
  const missing = slots.filter(({ name }) => present?.includes(name) === false);
  notes.clear();
  if (missing.length === 0 || present === undefined || member === undefined) return;
  const first = await firstSegment(dataDirectory);
  const source = sourceOf(context, duty, 'pg_sentinel_slots');
  await withSource(source, { timeoutMs: SOURCE_TIMEOUT_MS, signal }, async (client) => {
    let room = roomForCopies(present, duty.slots);
    for (const slot of missing) {
      const { name, setAt } = slot;
      try {
        signal.throwIfAborted();
        if (room <= 0) throw new Error('no replication slot is free here beside those of members');
        const { state, snapshot } = await readSlotFiles(client, name, snapshotOf);
        const problem = slotStateProblem(state, name);
        if (problem !== undefined) throw new Error(problem);
        if (first !== undefined && segmentOf(state, first.bytes) < first.number)
          throw new Error(
            'WAL that it needs is no longer here: it can be copied once its consumer has gone on',
          );
        signal.throwIfAborted();
        await memory.note(member, {
          ...{ name, setAt, standing: 'unfit', text: logicalSlotText(slot), isOurs: true },
          ...{ timeline: duty.upstream.timeline, incarnation: duty.incarnation },
        });
        signal.throwIfAborted();
        await placeSlot({ user, dataDirectory, name, state, snapshot, signal });
        room -= 1;
        context.log('info', `logical slot ${name} was copied from ${duty.upstream.node}`);
      } catch (error) {
        signal.throwIfAborted();
        const { message } = error as Error;
        notes.set(name, `it could not be copied (${message})`);
        context.log('warn', `logical slot ${name} could not be copied`, { error: message });
      }
    }
  });
}

/** With more slots than it has room for PostgreSQL does not start; those of `members` that are not `present` are made once it runs. */
export function roomForCopies(present: readonly string[], members: readonly string[]): number {
  return DEFAULT_SETTINGS.maxReplicationSlots - new Set([...present, ...members]).size;
}

/** The oldest segment of WAL that is here, counted from 0, and how large each is; undefined where there is none. */
async function firstSegment(
  dataDirectory: string,
): Promise<{ readonly number: bigint; readonly bytes: bigint } | undefined> {
  const folder = join(dataDirectory, 'pg_wal');
  const names = (await readdir(folder)).filter((name) => /^[0-9A-F]{24}$/.test(name));
  const [some] = names;
  if (some === undefined) return undefined;
  const bytes = BigInt((await stat(join(folder, some))).size);
  const each = 2n ** 32n / bytes;
  const numbers = names.map(
    (name) => BigInt(`0x${name.slice(8, 16)}`) * each + BigInt(`0x${name.slice(16)}`),
  );
  const number = numbers.reduce((least, next) => (next < least ? next : least));
  return { number, bytes };
}

function segmentOf(state: Buffer, bytes: bigint): bigint {
  const [high = '0', low = '0'] = snapshotOf(state).replace('.snap', '').split('-');
  return (BigInt(`0x${high}`) * 2n ** 32n + BigInt(`0x${low}`)) / bytes;
}
