// Logical slots on the wire: what a person asks for, what the primary's agent says of one, and how it stands in a snapshot.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { epoch, groupId, logIndex, nodeId } from '../base/ids.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type * as snapshot from '../gen/pg_sentinel/v1/snapshot_pb.ts';
import type { CommandOf } from './applied.ts';
import type { LogicalSlotChange, LogicalSlotWanted } from './commands.ts';
import { LogFormatError, NEWER, required } from './log-format.ts';
import type { LogicalSlot } from './state.ts';

export function encodeWanted({ database, plugin, isTwoPhase }: LogicalSlotWanted) {
  return { database, plugin, twoPhase: isTwoPhase } satisfies MessageInitShape<
    typeof pb.LogicalSlotWantedSchema
  >;
}

export function decodeWanted({ database, plugin, twoPhase }: pb.LogicalSlotWanted): LogicalSlotWanted {
  return { database, plugin, isTwoPhase: twoPhase };
}

/** The part of a change of settings that came with feature level 14. */
export function encodeSlotChanges(
  slots: readonly LogicalSlotChange[],
  hba: readonly string[] | undefined,
): Pick<MessageInitShape<typeof pb.ConfigureLogicalSlotsSchema>, 'slots' | 'hba'> {
  return {
    slots: slots.map(({ name, wanted }) => ({
      name,
      ...(wanted === undefined ? {} : { wanted: encodeWanted(wanted) }),
    })),
    ...(hba === undefined ? {} : { hba: { rules: [...hba] } }),
  };
}

export function decodeSlotChanges({
  slots,
  hba,
}: {
  readonly slots: readonly pb.LogicalSlotChange[];
  readonly hba?: pb.HbaRules | undefined;
}): {
  readonly logicalSlots: readonly LogicalSlotChange[];
  readonly hba?: readonly string[];
} {
  return {
    logicalSlots: slots.map(({ name, wanted }) => ({ name, wanted: wanted && decodeWanted(wanted) })),
    ...(hba === undefined ? {} : { hba: hba.rules }),
  };
}

export function encodeStanding(
  command: CommandOf<'logical-slot'>,
): MessageInitShape<typeof pb.LogicalSlotStandingSchema> {
  const { group, node, name, outcome, reason = '' } = command;
  return {
    ...{ group, node, name, outcome, reason },
    epoch: BigInt(command.epoch),
    setAt: BigInt(command.setAt),
  };
}

const OUTCOMES: Record<CommandOf<'logical-slot'>['outcome'], true> = {
  making: true,
  made: true,
  found: true,
  lost: true,
  gone: true,
};

export function decodeStanding(value: pb.LogicalSlotStanding): CommandOf<'logical-slot'> {
  const { outcome } = value;
  if (!Object.hasOwn(OUTCOMES, outcome))
    throw new LogFormatError(`"${outcome}" as what became of a logical slot is not known here: ${NEWER}`);
  return {
    kind: 'logical-slot',
    group: groupId(value.group),
    epoch: epoch(Number(value.epoch)),
    node: nodeId(value.node),
    name: value.name,
    setAt: logIndex(Number(value.setAt)),
    outcome: outcome as CommandOf<'logical-slot'>['outcome'],
    reason: value.reason === '' ? undefined : value.reason,
  };
}

const STANDINGS: Record<LogicalSlot['standing'], true> = {
  wanted: true,
  made: true,
  lost: true,
  unset: true,
};

export function decodeSlotStanding(text: string): LogicalSlot['standing'] {
  if (Object.hasOwn(STANDINGS, text)) return text as LogicalSlot['standing'];
  throw new LogFormatError(`"${text}" as how a logical slot stands is not known here: ${NEWER}`);
}

export function encodeSlot(slot: LogicalSlot) {
  const { name, setAt, standing, isOurs, reason = '' } = slot;
  return {
    ...{ name, standing, isOurs, reason },
    wanted: encodeWanted(slot),
    setAt: BigInt(setAt),
  } satisfies MessageInitShape<typeof snapshot.LogicalSlotSchema>;
}

export function decodeSlot(slot: snapshot.LogicalSlot): LogicalSlot {
  const { name, isOurs, reason } = slot;
  return {
    name,
    ...decodeWanted(required('wanted', slot.wanted)),
    setAt: logIndex(Number(slot.setAt)),
    standing: decodeSlotStanding(slot.standing),
    isOurs,
    reason: reason === '' ? undefined : reason,
  };
}
