// What this agent knows of the logical slots in its data directory: which of them are the log's, and whether they may be gone on from. In a file, for a
// restart of sentineld must not make a good slot doubtful, and what the log has forgotten meanwhile has to be dropped.
import { readFile } from 'node:fs/promises';
import type { MemberId } from '../base/ids.ts';
import { writeFileDurably } from '../postgres/durable-files.ts';

/** `own`: of a primary. `unready`: a copy that may lack what it needs. `ready`: a copy that does not. */
export type KnownStanding = 'own' | 'ready' | 'unready';

export interface KnownSlot {
  readonly name: string;
  /** Index of the entry that asked for it. */
  readonly setAt: number;
  readonly standing: KnownStanding;
}

export interface SlotMemory {
  /** Of that data directory. */
  all(member: MemberId): Promise<readonly KnownSlot[]>;
  /** Durable once it returns; nothing is written where nothing has changed. */
  note(member: MemberId, slot: KnownSlot): Promise<void>;
  forget(member: MemberId, name: string): Promise<void>;
}

interface Contents {
  readonly member: string;
  readonly slots: readonly KnownSlot[];
}

export function openSlotMemory(path: string): SlotMemory {
  let known: Contents | undefined;

  const read = async (member: MemberId): Promise<Contents> => {
    known ??= parse(await readFile(path, 'utf8').catch(() => ''));
    return known.member === member ? known : { member, slots: [] };
  };
  const write = async (contents: Contents): Promise<void> => {
    await writeFileDurably({ path, content: JSON.stringify(contents), mode: 0o600, owner: undefined });
    known = contents;
  };

  return {
    async all(member) {
      return (await read(member)).slots;
    },
    async note(member, slot) {
      const { slots } = await read(member);
      const present = slots.find(({ name }) => name === slot.name);
      if (present?.setAt === slot.setAt && present.standing === slot.standing) return;
      await write({ member, slots: [...slots.filter((each) => each !== present), slot] });
    },
    async forget(member, name) {
      const { slots } = await read(member);
      if (slots.some((each) => each.name === name))
        await write({ member, slots: slots.filter((each) => each.name !== name) });
    },
  };
}

const STANDINGS: ReadonlySet<unknown> = new Set<KnownStanding>(['own', 'ready', 'unready']);

/** What is not readable knows of no slot: those that are found are doubtful then. */
function parse(text: string): Contents {
  try {
    const value = JSON.parse(text) as Contents;
    const slots = value.slots.filter(
      ({ name, setAt, standing }) =>
        typeof name === 'string' && typeof setAt === 'number' && STANDINGS.has(standing),
    );
    return { member: String(value.member), slots };
  } catch {
    return { member: '', slots: [] };
  }
}
