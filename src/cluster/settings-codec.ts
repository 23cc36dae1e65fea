// Settings of a group on the wire: whole in snapshots, and what a person changes of them in the log.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { logIndex, memberId } from '../base/ids.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type * as snapshot from '../gen/pg_sentinel/v1/snapshot_pb.ts';
import type { CommandOf } from './applied.ts';
import { DEFAULT_GROUP_SETTINGS, isFailback, isSitePolicy } from './apply-settings.ts';
import type { Durability, Failback, GroupSettings, SitePolicy } from './commands.ts';
import { LogFormatError, NEWER, required } from './log-format.ts';
import { decodeSlot, encodeSlot } from './slots-codec.ts';
import type { AbsentMember, GroupState, SettingsRecord } from './state.ts';

const DURABILITY: Record<Durability, true> = { quorum: true, strict: true, async: true };

export function encodeSettings(settings: GroupSettings): MessageInitShape<typeof pb.GroupSettingsSchema> {
  const { durability, acks, maxFailovers } = settings;
  return {
    durability,
    acks,
    maxFailovers,
    ...encodePlaces(settings),
    leaseMs: BigInt(settings.leaseMs),
    maxLagBytes: BigInt(settings.maxLagBytes),
    failoverWindowMs: BigInt(settings.failoverWindowMs),
    slotRetentionMs: BigInt(settings.slotRetentionMs),
    maxSlotWalBytes: BigInt(settings.maxSlotWalBytes),
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
    slotRetentionMs: Number(settings.slotRetentionMs ?? DEFAULT_GROUP_SETTINGS.slotRetentionMs),
    maxSlotWalBytes: Number(settings.maxSlotWalBytes ?? DEFAULT_GROUP_SETTINGS.maxSlotWalBytes),
    ...decodePlaces(settings),
  };
}

/** What came with feature level 6; defaults are left out, so that a group that has nothing else is written as ever. */
function encodePlaces({ sitePolicy, failback, failbackAfterMs }: GroupSettings) {
  const defaults = DEFAULT_GROUP_SETTINGS;
  return {
    ...(sitePolicy === defaults.sitePolicy ? {} : { sitePolicy }),
    ...(failback === defaults.failback ? {} : { failback }),
    ...(failbackAfterMs === defaults.failbackAfterMs ? {} : { failbackAfterMs: BigInt(failbackAfterMs) }),
  };
}

function decodePlaces({
  sitePolicy,
  failback,
  failbackAfterMs,
}: pb.GroupSettings): Pick<GroupSettings, 'sitePolicy' | 'failback' | 'failbackAfterMs'> {
  const defaults = DEFAULT_GROUP_SETTINGS;
  return {
    sitePolicy: sitePolicy === '' ? defaults.sitePolicy : decodeSitePolicy(sitePolicy),
    failback: failback === '' ? defaults.failback : decodeFailback(failback),
    failbackAfterMs: failbackAfterMs === 0n ? defaults.failbackAfterMs : Number(failbackAfterMs),
  };
}

function decodeSitePolicy(text: string): SitePolicy {
  if (isSitePolicy(text)) return text;
  throw new LogFormatError(`site_policy "${text}" is not known here: ${NEWER}`);
}

function decodeFailback(text: string): Failback {
  if (isFailback(text)) return text;
  throw new LogFormatError(`failback "${text}" is not known here: ${NEWER}`);
}

function decodeDurability(durability: string): Durability {
  if (!Object.hasOwn(DURABILITY, durability))
    throw new LogFormatError(`durability "${durability}" is not known here: ${NEWER}`);
  return durability as Durability;
}

export function encodeChange(
  change: Partial<GroupSettings>,
): MessageInitShape<typeof pb.SettingsChangeSchema> {
  const {
    leaseMs,
    maxLagBytes,
    failoverWindowMs,
    slotRetentionMs,
    maxSlotWalBytes,
    failbackAfterMs,
    ...rest
  } = change;
  return {
    ...rest,
    ...(leaseMs === undefined ? {} : { leaseMs: BigInt(leaseMs) }),
    ...(maxLagBytes === undefined ? {} : { maxLagBytes: BigInt(maxLagBytes) }),
    ...(failoverWindowMs === undefined ? {} : { failoverWindowMs: BigInt(failoverWindowMs) }),
    ...(slotRetentionMs === undefined ? {} : { slotRetentionMs: BigInt(slotRetentionMs) }),
    ...(maxSlotWalBytes === undefined ? {} : { maxSlotWalBytes: BigInt(maxSlotWalBytes) }),
    ...(failbackAfterMs === undefined ? {} : { failbackAfterMs: BigInt(failbackAfterMs) }),
  };
}

export function decodeChange(change: pb.SettingsChange): Partial<GroupSettings> {
  const { durability, acks, leaseMs, maxLagBytes, maxFailovers, failoverWindowMs } = change;
  const { slotRetentionMs, maxSlotWalBytes } = change;
  const { sitePolicy, failback, failbackAfterMs } = change;
  return {
    ...(durability === undefined ? {} : { durability: decodeDurability(durability) }),
    ...(acks === undefined ? {} : { acks }),
    ...(leaseMs === undefined ? {} : { leaseMs: Number(leaseMs) }),
    ...(maxLagBytes === undefined ? {} : { maxLagBytes: Number(maxLagBytes) }),
    ...(maxFailovers === undefined ? {} : { maxFailovers }),
    ...(failoverWindowMs === undefined ? {} : { failoverWindowMs: Number(failoverWindowMs) }),
    ...(slotRetentionMs === undefined ? {} : { slotRetentionMs: Number(slotRetentionMs) }),
    ...(maxSlotWalBytes === undefined ? {} : { maxSlotWalBytes: Number(maxSlotWalBytes) }),
    ...(sitePolicy === undefined ? {} : { sitePolicy: decodeSitePolicy(sitePolicy) }),
    ...(failback === undefined ? {} : { failback: decodeFailback(failback) }),
    ...(failbackAfterMs === undefined ? {} : { failbackAfterMs: Number(failbackAfterMs) }),
  };
}

/** The members of a group in a snapshot that are absent. */
export function encodeAbsent({ member, sinceMs, givenUpAtMs }: AbsentMember) {
  return {
    member,
    sinceMs: BigInt(sinceMs),
    ...(givenUpAtMs === undefined ? {} : { givenUpAtMs: BigInt(givenUpAtMs) }),
  } satisfies MessageInitShape<typeof snapshot.AbsentMemberSchema>;
}

export function decodeAbsent({ member, sinceMs, givenUpAtMs }: snapshot.AbsentMember): AbsentMember {
  return {
    member: memberId(member),
    sinceMs: Number(sinceMs),
    givenUpAtMs: givenUpAtMs === undefined ? undefined : Number(givenUpAtMs),
  };
}

type Configure = Omit<CommandOf<'configure'>, 'kind' | 'group'>;

/** All but the group, which whoever asks may leave out. */
export function encodeConfigure({ settings, parameters, onlyRevision, by }: Configure) {
  return {
    settings: encodeChange(settings),
    parameters: parameters.map(({ name, value }) => ({ name, ...(value === undefined ? {} : { value }) })),
    ...(onlyRevision === undefined ? {} : { onlyRevision: BigInt(onlyRevision) }),
    by,
  } satisfies MessageInitShape<typeof pb.ConfigureSchema>;
}

export function decodeConfigure(
  value: Pick<pb.Configure, 'settings' | 'parameters' | 'onlyRevision' | 'by'>,
): Configure {
  return {
    settings: decodeChange(required('settings', value.settings)),
    parameters: value.parameters.map(({ name, value: to }) => ({ name, value: to })),
    ...(value.onlyRevision === undefined ? {} : { onlyRevision: logIndex(Number(value.onlyRevision)) }),
    by: value.by,
  };
}

type Kept = Pick<GroupState, 'parameters' | 'hba' | 'logicalSlots' | 'settingsRevision' | 'settingsHistory'>;

/** The part of a group in a snapshot that came with feature level 4. */
export function encodeParameters(group: Kept) {
  return {
    parameters: [...group.parameters].map(([name, value]) => ({ name, value })),
    hba: [...group.hba],
    logicalSlots: group.logicalSlots.map(encodeSlot),
    settingsRevision: BigInt(group.settingsRevision),
    settingsHistory: group.settingsHistory.map(encodeRecord),
  } satisfies MessageInitShape<typeof snapshot.SnapshotGroupSchema>;
}

export function decodeParameters(group: snapshot.SnapshotGroup): Kept {
  return {
    parameters: new Map(group.parameters.map(({ name, value }) => [name, value])),
    hba: group.hba,
    logicalSlots: group.logicalSlots.map(decodeSlot),
    settingsRevision: logIndex(Number(group.settingsRevision)),
    settingsHistory: group.settingsHistory.map(decodeRecord),
  };
}

export function encodeRecord({ index, atMs, by, differences, more }: SettingsRecord) {
  return {
    index: BigInt(index),
    atMs: BigInt(Math.trunc(atMs)),
    by,
    differences: differences.map(({ key, from, to }) => ({
      key,
      ...(from === undefined ? {} : { from }),
      ...(to === undefined ? {} : { to }),
    })),
    more,
  } satisfies MessageInitShape<typeof snapshot.SettingsRecordSchema>;
}

export function decodeRecord(record: snapshot.SettingsRecord): SettingsRecord {
  return {
    index: logIndex(Number(record.index)),
    atMs: Number(record.atMs),
    by: record.by,
    differences: record.differences.map(({ key, from, to }) => ({ key, from, to })),
    more: record.more,
  };
}
