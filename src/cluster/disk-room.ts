// How full the disks of a node are, and from when on a person should know: before PostgreSQL stops because it cannot write. Pure; said by the node's
// agent, by `sentinelctl status` and by `sentinelctl node check`.
import type { DiskRoom, Upkeep } from './report.ts';

/** Percent that are free: below the first it is low, below the second PostgreSQL may soon have to stop. */
export const FREE_PERCENT_LIMIT = { warning: 15, critical: 5 } as const;
/** So much more than a limit has to be free before it counts as past again: a log that is written and removed must not say it each time. */
const MARGIN_PERCENT = 2;

export type DiskLevel = 'ok' | 'low' | 'critical';

/** Of a node: the disk of its data directory, and that of `pg_wal` where it is another. */
export interface Disk {
  readonly which: 'data' | 'wal';
  readonly freeBytes: number;
  readonly freePercent: number;
}

/** Percent to one place, rounded down: 4.99 % are less than 5 %. Undefined where it is not known. */
function freePercent(room: DiskRoom | undefined): number | undefined {
  if (room === undefined || room.totalBytes <= 0) return undefined;
  return Math.floor((1000 * room.freeBytes) / room.totalBytes) / 10;
}

/** Those that are known; mostly both directories are on one, which need not be said twice. */
export function disksOf(upkeep: Upkeep | undefined): readonly Disk[] {
  const { dataDisk, walDisk } = upkeep ?? {};
  const [data, wal] = [freePercent(dataDisk), freePercent(walDisk)];
  const isOne = wal === data && walDisk?.totalBytes === dataDisk?.totalBytes;
  return [...diskOf('data', data, dataDisk), ...(isOne ? [] : diskOf('wal', wal, walDisk))];
}

const diskOf = (which: Disk['which'], percent: number | undefined, room: DiskRoom | undefined): Disk[] =>
  percent === undefined || room === undefined
    ? []
    : [{ which, freeBytes: room.freeBytes, freePercent: percent }];

/** Beginning from `before`: it gets worse at a limit, and better only a margin above it. */
export function diskLevel({ freePercent: percent }: Disk, before: DiskLevel = 'ok'): DiskLevel {
  const { warning, critical } = FREE_PERCENT_LIMIT;
  const leave = (limit: number, isIn: boolean): number => (isIn ? limit + MARGIN_PERCENT : limit);
  if (percent < leave(critical, before === 'critical')) return 'critical';
  return percent < leave(warning, before !== 'ok') ? 'low' : 'ok';
}

/** `its disk has 4.2 % free (1203 MB)`. */
export function diskText({ which, freePercent: percent, freeBytes }: Disk): string {
  const disk = which === 'data' ? 'its disk' : 'its disk of pg_wal';
  return `${disk} has ${percent} % free (${Math.floor(freeBytes / 2 ** 20)} MB)`;
}
