// What an administrator keeps an eye on, to its wire form and back: part of an agent's report and of the status.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { DiskRoom, KeptBySlots, Upkeep } from '../cluster/report.ts';
import type * as pb from '../gen/pg_sentinel/v1/report_pb.ts';

export function encodeUpkeep(upkeep: Upkeep): MessageInitShape<typeof pb.UpkeepSchema> {
  const { dataDisk, walDisk, slots, archiver, readyCount, pendingRestart } = upkeep;
  return {
    dataDisk: dataDisk && encodeRoom(dataDisk),
    walDisk: walDisk && encodeRoom(walDisk),
    slots: slots && encodeSlots(slots),
    archiver,
    readyCount: readyCount === undefined ? undefined : whole(readyCount),
    pendingRestart: pendingRestart && { settings: [...pendingRestart] },
  };
}

export function decodeUpkeep(upkeep: pb.Upkeep): Upkeep {
  const { dataDisk, walDisk, slots, archiver, readyCount, pendingRestart } = upkeep;
  return {
    dataDisk: dataDisk && decodeRoom(dataDisk),
    walDisk: walDisk && decodeRoom(walDisk),
    slots: slots && decodeSlots(slots),
    archiver: archiver && { isOn: archiver.isOn, isFailing: archiver.isFailing },
    readyCount: readyCount === undefined ? undefined : Number(readyCount),
    pendingRestart: pendingRestart?.settings,
  };
}

function encodeSlots(slots: KeptBySlots): MessageInitShape<typeof pb.Upkeep_SlotsSchema> {
  const { keptBytes, most, safeBytes, unreserved = [], lost = [], leftLogical = [] } = slots;
  return {
    keptBytes: whole(keptBytes),
    most,
    ...(safeBytes === undefined ? {} : { safeBytes: whole(safeBytes) }),
    unreserved: [...unreserved],
    lost: [...lost],
    leftLogical: [...leftLogical],
  };
}

function decodeSlots(slots: pb.Upkeep_Slots): KeptBySlots {
  const { keptBytes, most, safeBytes, unreserved, lost, leftLogical } = slots;
  return {
    keptBytes: Number(keptBytes),
    most,
    ...(safeBytes === undefined ? {} : { safeBytes: Number(safeBytes) }),
    ...(unreserved.length === 0 ? {} : { unreserved }),
    ...(lost.length === 0 ? {} : { lost }),
    ...(leftLogical.length === 0 ? {} : { leftLogical }),
  };
}

function encodeRoom(room: DiskRoom): MessageInitShape<typeof pb.Upkeep_DiskRoomSchema> {
  return { freeBytes: whole(room.freeBytes), totalBytes: whole(room.totalBytes) };
}

function decodeRoom(room: pb.Upkeep_DiskRoom): DiskRoom {
  return { freeBytes: Number(room.freeBytes), totalBytes: Number(room.totalBytes) };
}

/** A figure that is none, such as that of a slot ahead of its node, counts as nothing. */
const whole = (value: number): bigint => BigInt(Math.max(0, Math.round(value)));
