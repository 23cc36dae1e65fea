// Whether a data directory comes from the one that a restored group began with. The cluster that the backup is of has the same system identifier,
// and its old data directories may lie on hosts of the new group: they are not ours to rewind, to clone over or to open. Changes nothing.
import type { Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
import type { ControlData } from './control-data.ts';
import { listHistories, readHistory } from './timelines.ts';

/** Where the group's first timeline, `assigned`, left the one that the backup was recovered on. */
export interface Beginning {
  readonly timeline: Timeline;
  readonly position: Lsn;
  readonly assigned: Timeline;
}

/** By the history files in its pg_wal; undefined where none is of `assigned` or later, as in a clone that was never started. */
export async function beganAt(
  dataDirectory: string,
  { timeline, position, assigned }: Beginning,
): Promise<boolean | undefined> {
  for (const history of await listHistories(dataDirectory)) {
    if (history.empty || history.timeline < assigned) continue;
    const entries = (await readHistory(dataDirectory, history.timeline)) ?? [];
    const at =
      history.timeline === assigned
        ? entries.length
        : entries.findIndex((entry) => entry.timeline === assigned);
    const parent = entries[at - 1];
    if (parent === undefined) return false;
    return parent.timeline === timeline && parent.switchLsn === position;
  }
  return undefined;
}

/** Whether it is of another cluster, or of the group's time before it was restored. */
export async function isStranger(
  dataDirectory: string,
  control: Pick<ControlData, 'checkpointTimeline' | 'minRecoveryTimeline'>,
  beginning: Beginning,
): Promise<boolean> {
  const began = await beganAt(dataDirectory, beginning);
  if (began !== undefined) return !began;
  return Math.max(control.checkpointTimeline, control.minRecoveryTimeline ?? 0) < beginning.assigned;
}
