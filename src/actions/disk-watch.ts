// Says in the log when a disk of the node runs full, and when it has room again. Must not flap, nor go quiet while it lasts.
import { type DiskLevel, type Disk, diskLevel, diskText, disksOf } from '../cluster/disk-room.ts';
import type { Upkeep } from '../cluster/report.ts';

/** While it lasts it is said again, more often where PostgreSQL may soon have to stop. */
const AGAIN_MS: Readonly<Record<Exclude<DiskLevel, 'ok'>, number>> = { low: 86_400_000, critical: 1_800_000 };

type Said = { readonly level: DiskLevel; readonly atMs: number };

export function createDiskWatch(options: {
  readonly log: (level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>) => void;
  readonly directories: Readonly<Record<Disk['which'], string>>;
  readonly nowMs: () => number;
}): {
  /** Called with every report; cheap. A disk that could not be read stays as it was. */
  look(upkeep: Upkeep): void;
} {
  const said = new Map<Disk['which'], Said>();
  const say = (disk: Disk, level: DiskLevel): void => {
    const { freeBytes, freePercent } = disk;
    const fields = { directory: options.directories[disk.which], freeBytes, freePercent };
    if (level === 'critical')
      options.log('error', `${diskText(disk)}: PostgreSQL stops when it is full; make room`, fields);
    else if (level === 'low') options.log('warn', diskText(disk), fields);
    else options.log('info', `there is room again: ${diskText(disk)}`, fields);
  };
  return {
    look(upkeep) {
      const nowMs = options.nowMs();
      for (const disk of disksOf(upkeep)) {
        const { level: before, atMs } = said.get(disk.which) ?? { level: 'ok', atMs: nowMs };
        const level = diskLevel(disk, before);
        const isAgain = level === before && (level === 'ok' || nowMs - atMs < AGAIN_MS[level]);
        if (isAgain) continue;
        said.set(disk.which, { level, atMs: nowMs });
        say(disk, level);
      }
    },
  };
}
