// Where the WAL of a stopped primary ends, read from its files: the end of its last valid record, as crash recovery would
// find it. So a crashed primary can report its position without being started. Only reads. A stopped standby is started
// cut off instead (position.ts).
import type { Timeline } from '../base/ids.ts';
import { formatLsn } from '../base/lsn.ts';
import { endedAsStandby, readControlData } from './control-data.ts';
import type { Position } from './position.ts';
import { allGone } from './processes.ts';
import { readHistory, timelineOf } from './timelines.ts';
import { openPages, scanRecords } from './wal-records.ts';

/**
 * The timeline and end of the last valid record. Throws when PostgreSQL runs, when the node was last a standby, or when the WAL does
 * not even reach the latest checkpoint (its files are damaged or missing).
 */
export async function readWalEnd(options: {
  readonly dataDirectory: string;
  readonly signal?: AbortSignal | undefined;
}): Promise<Position> {
  const { dataDirectory } = options;
  const left = allGone({ dataDirectory, sharedMemoryId: undefined });
  if (!left.gone)
    throw new Error(
      `cannot read the end of WAL of ${dataDirectory}: PostgreSQL runs in it (processes ${left.pids.join(', ')})`,
    );
  const control = await readControlData(dataDirectory);
  if (endedAsStandby(control)) {
    throw new Error(
      `cannot read the end of WAL of ${dataDirectory}: it was a standby (${control.state}); start it cut off and let it replay`,
    );
  }
  // A primary that crashed before its first checkpoint after the promotion has its new timeline only here.
  const newest = Math.max(control.checkpointTimeline, control.minRecoveryTimeline ?? 0) as Timeline;
  const history = await readHistory(dataDirectory, newest);
  if (history === undefined)
    throw new Error(
      `cannot read the end of WAL of ${dataDirectory}: the history file of timeline ${newest} is missing`,
    );
  const pages = openPages({ ...control, dataDirectory, newest, history });
  try {
    const end = await scanRecords({
      pages,
      from: control.checkpointRedo,
      segmentBytes: BigInt(control.walSegmentBytes),
      signal: options.signal,
    });
    if (end <= control.checkpoint) {
      throw new Error(
        `the WAL of ${dataDirectory} ends at ${formatLsn(end)}, before its latest checkpoint at ${formatLsn(control.checkpoint)}; restore or clone it`,
      );
    }
    return { timeline: timelineOf(history, newest, end), position: end };
  } finally {
    await pages.close();
  }
}
