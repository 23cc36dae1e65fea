// Logical replication slots that a group is to have, and that have to survive a failover: what is asked for, and how far the primary's agent
// has come with it. Pure. Must never let a slot that was made once be made again by itself: it would begin at a later position, and whoever
// reads it would lack changes without knowing.
import type { LogIndex } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup } from './applied.ts';
import type { LogicalSlotChange, LogicalSlotWanted } from './commands.ts';
import type { ClusterState, LogicalSlot } from './state.ts';

export const LOGICAL_SLOT_PREFIX = 'logical_slots.';

export const LOGICAL_SLOT_COUNT_MAX = 8;
/** Each node has 16 slots in all: one for every other node, the logical ones, and two for what comes and goes, such as a clone. */
export const SLOT_COUNT_MAX = 14;
const REASON_LENGTH_MAX = 300;

export const LOGICAL_SLOT_RULE = 'DATABASE:PLUGIN or DATABASE:PLUGIN:two_phase, such as app:pgoutput';

/** `app:pgoutput:two_phase`, or undefined where the text is not of that form. */
export function parseLogicalSlot(text: string): LogicalSlotWanted | undefined {
  const [database, plugin, option, ...rest] = text.split(':');
  if (database === undefined || plugin === undefined || rest.length > 0) return undefined;
  if (option !== undefined && option !== 'two_phase') return undefined;
  const wanted = { database, plugin, isTwoPhase: option !== undefined };
  return wantedProblem(wanted) === undefined ? wanted : undefined;
}

export function logicalSlotText({ database, plugin, isTwoPhase }: LogicalSlotWanted): string {
  return `${database}:${plugin}${isTwoPhase ? ':two_phase' : ''}`;
}

/** What is wrong with the name of a logical slot, or undefined. */
export function logicalSlotNameProblem(name: string): string | undefined {
  const shown = JSON.stringify(name.slice(0, 70));
  if (!/^[a-z0-9_]{1,63}$/.test(name))
    return `${shown} is not the name of a replication slot: expected 1 to 63 lower-case letters, digits and _`;
  if (/_[0-9a-f]{8}$/.test(name))
    return `${shown} cannot name a logical slot: names that end in _ and eight hexadecimal digits are for the physical slots of members`;
  if (name.startsWith('pg_'))
    return `${shown} cannot name a logical slot: names that begin with pg_ are reserved`;
  return undefined;
}

function wantedProblem({ database, plugin }: LogicalSlotWanted): string | undefined {
  // As PostgreSQL, which cuts longer names short.
  if (new TextEncoder().encode(database).length > 63 || !/^[^\p{Cc}:]+$/u.test(database))
    return `${JSON.stringify(database.slice(0, 70))} is not the name of a database: expected 1 to 63 bytes without colons and control characters`;
  if (!/^[A-Za-z_][A-Za-z0-9_$]{0,62}$/.test(plugin))
    return `${JSON.stringify(plugin.slice(0, 70))} is not the name of an output plugin, such as pgoutput`;
  return undefined;
}

/** Why these changes cannot be made in a group of so many nodes, or undefined. */
export function logicalSlotsProblem(
  present: readonly LogicalSlot[],
  changes: readonly LogicalSlotChange[],
  nodeCount: number,
): string | undefined {
  for (const { name, wanted } of changes) {
    const slot = present.find((each) => each.name === name);
    const isPresent = slot !== undefined && slot.standing !== 'unset';
    if (wanted === undefined) {
      if (!isPresent) return `there is no logical slot ${name.slice(0, 70)}`;
      continue;
    }
    const problem = logicalSlotNameProblem(name) ?? wantedProblem(wanted);
    if (problem !== undefined) return problem;
    if (slot === undefined || isSame(slot, wanted)) continue;
    return isPresent
      ? `logical slot ${name} is ${logicalSlotText(slot)}; a slot cannot be changed: unset it first, and have its consumer begin anew`
      : `the former logical slot ${name} is not dropped yet, see sentinelctl settings get; set it again once it is`;
  }
  const count = changedLogicalSlots(present, changes, 0 as LogIndex).length;
  if (count > LOGICAL_SLOT_COUNT_MAX)
    return `there would be ${count} logical slots, with those that are still to be dropped; there may be ${LOGICAL_SLOT_COUNT_MAX} at most`;
  const memberCount = Math.max(0, nodeCount - 1);
  // Nodes may have come since: nobody is kept from any other change for that.
  return count > present.length && count + memberCount > SLOT_COUNT_MAX
    ? `there would be ${count} logical slots, and each node has one for every other node (${memberCount}) as well: ${SLOT_COUNT_MAX} in all at most`
    : undefined;
}

/** Why a server of that version could not make such a slot and keep it over a failover, or undefined. */
export function logicalSlotVersionProblem(
  { isTwoPhase }: LogicalSlotWanted,
  majorVersion: number,
): string | undefined {
  // 17 does not tell standbys from where on prepared transactions are decoded: those before would be passed over (fixed in 18).
  return isTwoPhase && majorVersion === 17
    ? 'PostgreSQL 17 does not keep a slot with two_phase over a failover (other versions do): leave :two_phase out'
    : undefined;
}

/** The slots after the changes, in the order of their names. One that is taken out stays until the primary's agent has dropped it. */
export function changedLogicalSlots(
  present: readonly LogicalSlot[],
  changes: readonly LogicalSlotChange[],
  index: LogIndex,
): readonly LogicalSlot[] {
  if (changes.length === 0) return present;
  const next = new Map(present.map((slot) => [slot.name, slot]));
  for (const { name, wanted } of changes) {
    const slot = next.get(name);
    if (wanted === undefined) {
      if (slot !== undefined) next.set(name, { ...slot, standing: 'unset', reason: undefined });
    } else if (slot === undefined)
      next.set(name, {
        ...{ name, ...wanted, setAt: index, standing: 'wanted', isOurs: false, reason: undefined },
      });
  }
  return [...next.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function isSame(slot: LogicalSlot, wanted: LogicalSlotWanted): boolean {
  return slot.standing !== 'unset' && logicalSlotText(slot) === logicalSlotText(wanted);
}

/** The primary's agent says how a slot stands. */
export function applyLogicalSlot(state: ClusterState, command: CommandOf<'logical-slot'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const { node, name, setAt, outcome } = command;
  if (group.phase.kind !== 'running' || group.phase.primary !== node)
    return refuse(`${node} is not the primary of group ${group.id}`);
  const slot = group.logicalSlots.find((each) => each.name === name && each.setAt === setAt);
  if (slot === undefined) return refuse(`there is no logical slot ${name} of entry ${setAt}`);
  if (!FROM[outcome].includes(slot.standing)) return refuse(`logical slot ${name} is ${slot.standing}`);
  const others = group.logicalSlots.filter((each) => each !== slot);
  if (outcome === 'gone') return withGroup(state, { ...group, logicalSlots: others });
  const next = { ...slot, ...changeBy(command) };
  const logicalSlots = [...others, next].sort((a, b) => (a.name < b.name ? -1 : 1));
  return withGroup(state, { ...group, logicalSlots });
}

function changeBy({ outcome, reason = '' }: CommandOf<'logical-slot'>): Partial<LogicalSlot> {
  // Before there is one: a standby may have it synchronised before anybody says that it is made.
  if (outcome === 'making') return { isOurs: true };
  if (outcome === 'lost') return { standing: 'lost', reason: reason.slice(0, REASON_LENGTH_MAX) };
  return { standing: 'made', isOurs: outcome === 'made', reason: undefined };
}

/** Found: by whomever it was made, also again after it was lost. */
const FROM: Readonly<Record<CommandOf<'logical-slot'>['outcome'], readonly LogicalSlot['standing'][]>> = {
  making: ['wanted'],
  made: ['wanted'],
  found: ['wanted', 'lost'],
  lost: ['made'],
  gone: ['unset'],
};
