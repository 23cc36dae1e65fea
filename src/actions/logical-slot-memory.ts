// What this agent knows of the logical slots in its data directory: which of them are the log's, who has made them, and whether they may be gone on
// from. In a file, for a restart of sentineld must not make a good slot doubtful, and what the log has forgotten meanwhile has to be dropped.
import type { MemberId } from '../base/ids.ts';
import { readOwnFile, writeFileDurably } from '../postgres/durable-files.ts';

/**
 * `fit`: its consumer may go on from it, and lacks nothing. `unfit`: it may lack what it needs, or not be where its consumer is. `left`: of no entry any
 * more, not fit, and left there, which was said: it must not pass as fit for a later entry. `gone`: what was there under that name is not, or is
 * invalid, so that whatever is there hereafter is new.
 */
export type KnownStanding = 'fit' | 'unfit' | 'left' | 'gone';

export interface KnownSlot {
  readonly name: string;
  /** Index of the entry that asked for it. */
  readonly setAt: number;
  /** What it decodes (see `logicalSlotText`): one that differs is another, of somebody else's. */
  readonly text: string;
  readonly standing: KnownStanding;
  /**
   * Of the primary under which that was found: what another primary has done since is not known. A promotion says of all that are fit then that they are
   * so on its own timeline (see {@link isFitAfter}): on a primary nothing else counts.
   */
  readonly timeline: number;
  /** Of the log that had the entry: one that is recovered by force may have lost it, and nobody has unset the slot then. */
  readonly incarnation: number;
  /** Made or copied here, or by PostgreSQL's synchronisation of one that was: nobody else's slot is dropped. */
  readonly isOurs: boolean;
  /** Of a copy: the WAL stream while which that was found. What a later one has brought may have cost it its catalog rows. */
  readonly stream?: string | undefined;
  /**
   * Of one that PostgreSQL has synchronised, perhaps from an earlier slot of that name: where that stood. Until it has moved on from there, or was seen
   * not to be there, it may be that one still.
   */
  readonly formerAt?: string | undefined;
}

/** One note for each name. Each throws where the file cannot be read or written; the next call tries again. */
export interface SlotMemory {
  /** Of that data directory. */
  all(member: MemberId): Promise<readonly KnownSlot[]>;
  /** Durable once it returns, and known from then on; nothing is written where nothing has changed. */
  note(member: MemberId, ...slots: readonly KnownSlot[]): Promise<void>;
  forget(member: MemberId, name: string): Promise<void>;
  /** Changes all at once, and returns them: known from then on, and durable with whatever is written next, such as by {@link keep}. */
  judge(member: MemberId, verdict: (slot: KnownSlot) => KnownSlot): Promise<readonly KnownSlot[]>;
  /** What is known is durable once it returns. */
  keep(): Promise<void>;
}

/** Of the file: there are eight at most. */
const BYTES_MAX = 1 << 20;

interface Contents {
  readonly member: string;
  readonly slots: readonly KnownSlot[];
}

export function openSlotMemory(path: string): SlotMemory {
  let known: Contents | undefined;
  /** The file has all that is known. */
  let isKept = true;

  const read = async (member: MemberId): Promise<readonly KnownSlot[]> => {
    // What cannot be read may be so later: to know nothing for it would make good slots doubtful for ever. The directory is the postgres user's.
    known ??= parse((await readOwnFile(path, undefined, BYTES_MAX)) ?? '');
    return known.member === member ? known.slots : [];
  };
  const write = async (contents: Contents): Promise<void> => {
    await writeFileDurably({ path, content: JSON.stringify(contents), mode: 0o600, owner: undefined });
    known = contents;
    isKept = true;
  };
  // A round that was broken off may still be writing when the next one begins.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work);
    last = next.catch(() => undefined);
    return next;
  };

  return {
    all: (member) => inTurn(() => read(member)),
    note: (member, ...changed) =>
      inTurn(async () => {
        const slots = await read(member);
        const isNoted = (slot: KnownSlot): boolean => slots.some((each) => isSame(each, slot));
        if (isKept && changed.every(isNoted)) return;
        const others = slots.filter(({ name }) => !changed.some((slot) => slot.name === name));
        await write({ member, slots: [...others, ...changed] });
      }),
    forget: (member, name) =>
      inTurn(async () => {
        const slots = await read(member);
        if (slots.some((each) => each.name === name))
          await write({ member, slots: slots.filter((each) => each.name !== name) });
      }),
    judge: (member, verdict) =>
      inTurn(async () => {
        const slots = await read(member);
        const judged = slots.map(verdict);
        if (judged.every((slot, at) => slot === slots[at])) return slots;
        known = { member, slots: judged };
        isKept = false;
        return judged;
      }),
    keep: () =>
      inTurn(async () => {
        if (known !== undefined && !isKept) await write(known);
      }),
  };
}

const isSame = (a: KnownSlot, b: KnownSlot): boolean =>
  a.name === b.name &&
  a.setAt === b.setAt &&
  a.text === b.text &&
  a.standing === b.standing &&
  a.timeline === b.timeline &&
  a.incarnation === b.incarnation &&
  a.isOurs === b.isOurs &&
  a.stream === b.stream &&
  a.formerAt === b.formerAt;

const STANDINGS: ReadonlySet<unknown> = new Set<KnownStanding>(['fit', 'unfit', 'left', 'gone']);

/** What is not readable knows of no slot: those that are found are not ours then, and not fit. */
function parse(text: string): Contents {
  try {
    const value = JSON.parse(text) as Contents;
    const slots = value.slots.filter(
      ({ name, text, setAt, standing, timeline, incarnation, isOurs }) =>
        typeof name === 'string' &&
        typeof text === 'string' &&
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

/** A promotion: the timeline that it is about to open. */
export interface Reign {
  readonly timeline: number;
  /** Which it leaves. */
  readonly parent: number;
  /** All timelines that promotions in the group are known to have opened. */
  readonly opened: readonly number[];
}

/**
 * Whether what was found fit once will be so after that promotion: no other primary has reigned in between, from which its consumer may have read.
 * Pure.
 */
export function isFitAfter(known: KnownSlot, { timeline, parent, opened }: Reign): boolean {
  if (known.standing !== 'fit') return false;
  if (known.timeline === timeline) return true;
  if (known.timeline > timeline || known.timeline < parent) return false;
  return !opened.some((each) => each > known.timeline && each < timeline);
}

/** Whether a slot may be gone on from on the primary of that timeline: it was found so there, or by its promotion. Pure. */
export const isFitOn = (known: KnownSlot | undefined, timeline: number): boolean =>
  known?.standing === 'fit' && known.timeline === timeline;

/** {@link isFitOn}, or what was there before was seen to be gone. Pure. */
export const isFitOrNew = (known: KnownSlot | undefined, timeline: number): boolean =>
  known?.standing === 'gone' || isFitOn(known, timeline);
