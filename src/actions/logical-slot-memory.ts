// What this agent knows of the logical slots in its data directory: which of them are the log's, who has made them, and whether they may be gone on
// from. In a file, for a restart of sentineld must not make a good slot doubtful, and what the log has forgotten meanwhile has to be dropped.
import { readFile } from 'node:fs/promises';
import type { MemberId } from '../base/ids.ts';
import { writeFileDurably } from '../postgres/durable-files.ts';

/**
 * `fit`: its consumer may go on from it, and lacks nothing. `unfit`: it may lack what it needs, or not be where its consumer is. `gone`: what was
 * there under that name is not, or is invalid, so that whatever is there hereafter is new.
 */
export type KnownStanding = 'fit' | 'unfit' | 'gone';

export interface KnownSlot {
  readonly name: string;
  /** Index of the entry that asked for it. */
  readonly setAt: number;
  readonly standing: KnownStanding;
  /** Of the primary under which that was found: what another primary has done since is not known. See {@link isFitAfter}. */
  readonly timeline: number;
  /** Of the log that had the entry: one that is recovered by force may have lost it, and nobody has unset the slot then. */
  readonly incarnation: number;
  /** Made or copied here, or by PostgreSQL's synchronisation of one that was: nobody else's slot is dropped. */
  readonly isOurs: boolean;
  /** Of a copy: the WAL stream while which that was found. What a later one has brought may have cost it its catalog rows. */
  readonly stream?: string | undefined;
}

/** Each throws where the file cannot be read or written; the next call tries again. */
export interface SlotMemory {
  /** Of that data directory. */
  all(member: MemberId): Promise<readonly KnownSlot[]>;
  /** Durable once it returns; nothing is written where nothing has changed. */
  note(member: MemberId, ...slots: readonly KnownSlot[]): Promise<void>;
  forget(member: MemberId, name: string): Promise<void>;
}

interface Contents {
  readonly member: string;
  readonly slots: readonly KnownSlot[];
}

export function openSlotMemory(path: string): SlotMemory {
  let known: Contents | undefined;

  const read = async (member: MemberId): Promise<Contents> => {
    known ??= parse(await readFile(path, 'utf8').catch(unlessAbsent));
    return known.member === member ? known : { member, slots: [] };
  };
  const write = async (contents: Contents): Promise<void> => {
    await writeFileDurably({ path, content: JSON.stringify(contents), mode: 0o600, owner: undefined });
    known = contents;
  };
  // A round that was broken off may still be writing when the next one begins.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work);
    last = next.catch(() => undefined);
    return next;
  };

  return {
    all: (member) => inTurn(async () => (await read(member)).slots),
    note: (member, ...changed) =>
      inTurn(async () => {
        const { slots } = await read(member);
        const isNoted = (slot: KnownSlot): boolean => slots.some((each) => isSame(each, slot));
        if (changed.every(isNoted)) return;
        const others = slots.filter(({ name }) => !changed.some((slot) => slot.name === name));
        await write({ member, slots: [...others, ...changed] });
      }),
    forget: (member, name) =>
      inTurn(async () => {
        const { slots } = await read(member);
        if (slots.some((each) => each.name === name))
          await write({ member, slots: slots.filter((each) => each.name !== name) });
      }),
  };
}

/** Any other failure may pass, and to know nothing for it would make good slots doubtful for ever. */
function unlessAbsent(error: unknown): string {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
  throw error;
}

const isSame = (a: KnownSlot, b: KnownSlot): boolean =>
  a.name === b.name &&
  a.setAt === b.setAt &&
  a.standing === b.standing &&
  a.timeline === b.timeline &&
  a.incarnation === b.incarnation &&
  a.isOurs === b.isOurs &&
  a.stream === b.stream;

const STANDINGS: ReadonlySet<unknown> = new Set<KnownStanding>(['fit', 'unfit', 'gone']);

/** What is not readable knows of no slot: those that are found are not ours then, and not fit. */
function parse(text: string): Contents {
  try {
    const value = JSON.parse(text) as Contents;
    const slots = value.slots.filter(
      ({ name, setAt, standing, timeline, incarnation, isOurs }) =>
        typeof name === 'string' &&
        typeof setAt === 'number' &&
        STANDINGS.has(standing) &&
        typeof timeline === 'number' &&
        typeof incarnation === 'number' &&
        typeof isOurs === 'boolean',
    );
    return { member: String(value.member), slots };
  } catch {
    return { member: '', slots: [] };
  }
}

/** The reign of a primary: the timeline that it opened, or is about to. */
export interface Reign {
  readonly timeline: number;
  /** Which that one left; undefined: it is the group's first. */
  readonly parent: number | undefined;
  /** All timelines that promotions in the group are known to have opened. */
  readonly opened: readonly number[];
}

/**
 * Whether what was found fit once is so on the primary of that reign: no other primary has reigned in between, from which its consumer may have read.
 * Pure.
 */
export function isFitAfter(known: KnownSlot | undefined, { timeline, parent, opened }: Reign): boolean {
  if (known?.standing !== 'fit') return false;
  if (known.timeline === timeline) return true;
  if (known.timeline > timeline || parent === undefined || known.timeline < parent) return false;
  return !opened.some((each) => each > known.timeline && each < timeline);
}
