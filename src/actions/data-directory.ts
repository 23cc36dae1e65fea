// What a data directory on this host is fit for. Decides nothing and changes nothing.
import { readdir } from 'node:fs/promises';
import type { NodeId } from '../base/ids.ts';
import { type ControlData, readControlData } from '../postgres/control-data.ts';
import { MEMBER_FILE, type Member, readMember } from '../postgres/member.ts';
import { REINIT_MARKER } from '../postgres/reinit-marker.ts';
import { RESTORE_MARKER } from '../postgres/restore-marker.ts';
import { isRewindInterrupted } from '../postgres/rewind-marker.ts';

export type DataDirectory =
  /** Missing or empty. */
  | { readonly kind: 'absent' }
  /** It holds something that is not PostgreSQL's, or a database that cannot be told to be ours: never touched. */
  | { readonly kind: 'foreign'; readonly reason: string }
  /** Ours, and fit only to be replaced by a clone: a rewind was interrupted, or it is damaged. */
  | {
      readonly kind: 'unfit';
      readonly reason: string;
      /** It was restored from a backup, for a group that has not begun. */
      readonly isRestoring?: true;
    }
  | { readonly kind: 'ready'; readonly control: ControlData; readonly member: Member | undefined };

/** While the same PostgreSQL runs on it a data directory changes hands only by force: it is looked at again after this. */
const INSPECTED_AGAIN_MS = 2000;

export interface Inspection {
  /** As found within the last two seconds by the PostgreSQL that runs on it now; where none runs, as it is now. */
  recent(): Promise<DataDirectory>;
  /** As it is now. */
  fresh(): Promise<DataDirectory>;
}

/** `postmasterPid`: of the PostgreSQL that runs on the directory, undefined while none does. */
export function createInspection(options: {
  readonly inspect: () => Promise<DataDirectory>;
  readonly postmasterPid: () => number | undefined;
  readonly nowMs: () => number;
}): Inspection {
  let last: { readonly found: DataDirectory; readonly pid: number; readonly atMs: number } | undefined;
  const fresh = async (): Promise<DataDirectory> => {
    last = undefined;
    const pid = options.postmasterPid();
    const atMs = options.nowMs();
    const found = await options.inspect();
    if (pid !== undefined) last = { found, pid, atMs };
    return found;
  };
  return {
    fresh,
    recent() {
      const isRecent =
        last !== undefined &&
        last.pid === options.postmasterPid() &&
        options.nowMs() - last.atMs <= INSPECTED_AGAIN_MS;
      return isRecent && last !== undefined ? Promise.resolve(last.found) : fresh();
    },
  };
}

export async function inspectDataDirectory(dataDirectory: string, node: NodeId): Promise<DataDirectory> {
  const names: readonly string[] = await readdir(dataDirectory).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  });
  if (names.length === 0) return { kind: 'absent' };
  if (!names.includes('PG_VERSION')) {
    return {
      kind: 'foreign',
      reason: `${dataDirectory} holds files (${names.slice(0, 3).join(', ')}) but no PostgreSQL; empty it or set another data_directory`,
    };
  }
  if (await isRewindInterrupted(dataDirectory))
    return { kind: 'unfit', reason: 'a pg_rewind was interrupted' };
  if (names.includes(RESTORE_MARKER))
    return { kind: 'unfit', reason: 'its restore from a backup was not finished', isRestoring: true };
  if (names.includes(REINIT_MARKER))
    return { kind: 'unfit', reason: 'sentinelctl node reinit was asked for' };
  try {
    const control = await readControlData(dataDirectory);
    return {
      kind: 'ready',
      control,
      member: await readMember({ dataDirectory, node, systemIdentifier: control.systemIdentifier }),
    };
  } catch (error) {
    const { message } = error as Error;
    if (names.includes(MEMBER_FILE)) return { kind: 'unfit', reason: message };
    return {
      kind: 'foreign',
      reason: `${dataDirectory} holds a PostgreSQL that pg-sentinel has not made and cannot read (${message}); restore it or move it away`,
    };
  }
}
