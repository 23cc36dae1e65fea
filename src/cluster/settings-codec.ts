// Settings of a group on the wire: whole in snapshots, and what a person changes of them in the log.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type { Durability, GroupSettings } from './commands.ts';
import { LogFormatError, NEWER } from './log-format.ts';

const DURABILITY: Record<Durability, true> = { quorum: true, strict: true, async: true };

export function encodeSettings(settings: GroupSettings): MessageInitShape<typeof pb.GroupSettingsSchema> {
  const { durability, acks, maxFailovers } = settings;
  return {
    durability,
    acks,
    maxFailovers,
    leaseMs: BigInt(settings.leaseMs),
    maxLagBytes: BigInt(settings.maxLagBytes),
    failoverWindowMs: BigInt(settings.failoverWindowMs),
  };
}

export function decodeSettings(settings: pb.GroupSettings): GroupSettings {
  const { durability, acks, maxFailovers } = settings;
  return {
    durability: decodeDurability(durability),
    acks,
    maxFailovers,
    leaseMs: Number(settings.leaseMs),
    maxLagBytes: Number(settings.maxLagBytes),
    failoverWindowMs: Number(settings.failoverWindowMs),
  };
}

function decodeDurability(durability: string): Durability {
  if (!Object.hasOwn(DURABILITY, durability))
    throw new LogFormatError(`durability "${durability}" is not known here: ${NEWER}`);
  return durability as Durability;
}

export function encodeChange(
  change: Partial<GroupSettings>,
): MessageInitShape<typeof pb.SettingsChangeSchema> {
  const { leaseMs, maxLagBytes, failoverWindowMs, ...rest } = change;
  return {
    ...rest,
    ...(leaseMs === undefined ? {} : { leaseMs: BigInt(leaseMs) }),
    ...(maxLagBytes === undefined ? {} : { maxLagBytes: BigInt(maxLagBytes) }),
    ...(failoverWindowMs === undefined ? {} : { failoverWindowMs: BigInt(failoverWindowMs) }),
  };
}

export function decodeChange(change: pb.SettingsChange): Partial<GroupSettings> {
  const { durability, acks, leaseMs, maxLagBytes, maxFailovers, failoverWindowMs } = change;
  return {
    ...(durability === undefined ? {} : { durability: decodeDurability(durability) }),
    ...(acks === undefined ? {} : { acks }),
    ...(leaseMs === undefined ? {} : { leaseMs: Number(leaseMs) }),
    ...(maxLagBytes === undefined ? {} : { maxLagBytes: Number(maxLagBytes) }),
    ...(maxFailovers === undefined ? {} : { maxFailovers }),
    ...(failoverWindowMs === undefined ? {} : { failoverWindowMs: Number(failoverWindowMs) }),
  };
}
