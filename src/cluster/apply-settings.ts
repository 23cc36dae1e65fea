// Changing what is wanted of a group (DESIGN: durability, acknowledgements, lease, limits). A setting takes effect by the decisions that
// read it; nothing is acknowledged by another rule before that rule is committed (apply-rule.ts).
import { type Applied, type CommandOf, refuse, withGroup } from './applied.ts';
import type { Failback, GroupSettings, SitePolicy } from './commands.ts';
import { type LogIndex, isName } from '../base/ids.ts';
import { parsedFailback } from './eligibility.ts';
import {
  CANDIDATES_FEATURE_LEVEL,
  HBA_FEATURE_LEVEL,
  LOGICAL_SLOTS_FEATURE_LEVEL,
  PARAMETERS_FEATURE_LEVEL,
  SETTINGS_FEATURE_LEVEL,
  SLOTS_FEATURE_LEVEL,
} from './features.ts';
import { changedLogicalSlots, logicalSlotsProblem } from './logical-slots.ts';
import { byProblem, changedParameters, hbaProblem, parametersProblem, recorded } from './parameters.ts';
import { fewestAcks, isLeased } from './quorum.ts';
import { type ClusterState, type GroupState, nodesOfGroup } from './state.ts';

/** Of a new group, and of one that was created before groups had settings. */
export const DEFAULT_GROUP_SETTINGS: GroupSettings = {
  durability: 'quorum',
  acks: 1,
  leaseMs: 5000,
  maxLagBytes: 1 << 20,
  maxFailovers: 5,
  failoverWindowMs: 3_600_000,
  slotRetentionMs: 86_400_000,
  maxSlotWalBytes: 10 * 2 ** 30,
  sitePolicy: 'ignore',
  failback: 'off',
  failbackAfterMs: 300_000,
};

const SITE_POLICIES: Readonly<Record<SitePolicy, true>> = { ignore: true, prefer: true, majority: true };

export const isSitePolicy = (text: string): text is SitePolicy => Object.hasOwn(SITE_POLICIES, text);

export function isFailback(text: string): text is Failback {
  return text === 'off' || (/^(node|site):/.test(text) && isName(text.slice('node:'.length)));
}

/** Of each number: its name for people, smallest and largest value, both included, and unit. */
const SETTING_LIMITS: Readonly<
  Record<
    Exclude<keyof GroupSettings, 'durability' | 'sitePolicy' | 'failback'>,
    readonly [string, number, number, string]
  >
> = {
  acks: ['acks', 1, 16, ''],
  leaseMs: ['lease', 1000, 300_000, ' ms'],
  maxLagBytes: ['max_lag', 0, 2 ** 50, ' bytes'],
  maxFailovers: ['max_failovers', 1, 1000, ''],
  failoverWindowMs: ['failover_window', 1000, 30 * 86_400_000, ' ms'],
  slotRetentionMs: ['slot_retention', 1000, 365 * 86_400_000, ' ms'],
  // PostgreSQL keeps as much in any case (wal_keep_size in our settings), and takes megabytes below 2^31.
  maxSlotWalBytes: ['max_slot_wal', 2 ** 28, 2 ** 50, ' bytes'],
  failbackAfterMs: ['failback_after', 1000, 30 * 86_400_000, ' ms'],
};

export function applyChangeSettings(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'change-settings'>,
  atMs: number,
): Applied {
  if (state.groups.has(command.group) && state.featureLevel < SETTINGS_FEATURE_LEVEL)
    return refuse('not every peer understands settings yet: upgrade all of them first');
  return change(state, { ...command, parameters: [], by: '' }, { index, atMs });
}

/** With parameters of PostgreSQL; where it names a revision, only if that is the present one. */
export function applyConfigure(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'configure'>,
  atMs: number,
): Applied {
  if (state.groups.has(command.group) && state.featureLevel < PARAMETERS_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  if (command.hba !== undefined && state.groups.has(command.group) && state.featureLevel < HBA_FEATURE_LEVEL)
    return refuse('not every peer understands rules for pg_hba.conf yet: upgrade all of them first');
  if (
    command.logicalSlots !== undefined &&
    state.groups.has(command.group) &&
    state.featureLevel < LOGICAL_SLOTS_FEATURE_LEVEL
  )
    return refuse('not every peer understands logical slots yet: upgrade all of them first');
  const { group, onlyRevision } = command;
  const present = state.groups.get(group)?.settingsRevision;
  if (onlyRevision !== undefined && present !== undefined && present !== onlyRevision)
    return refuse(
      `the settings of group ${group} were changed meanwhile (revision ${present}, expected ${onlyRevision})`,
    );
  return change(state, command, { index, atMs });
}

/** Settings that came later, with the feature level that brought them. */
const BROUGHT_BY: Partial<Readonly<Record<keyof GroupSettings, number>>> = {
  slotRetentionMs: SLOTS_FEATURE_LEVEL,
  maxSlotWalBytes: SLOTS_FEATURE_LEVEL,
  sitePolicy: CANDIDATES_FEATURE_LEVEL,
  failback: CANDIDATES_FEATURE_LEVEL,
  failbackAfterMs: CANDIDATES_FEATURE_LEVEL,
};

/** The feature level that brought the latest of the settings in the change. */
export function settingsLevel(change: Partial<GroupSettings>): number {
  const keys = Object.entries(change).flatMap(([key, value]) => (value === undefined ? [] : [key]));
  const levels = keys.map((key) => BROUGHT_BY[key as keyof GroupSettings] ?? 0);
  return Math.max(SETTINGS_FEATURE_LEVEL, ...levels);
}

/** The change as every peer applies it: an older one passes over what it does not know, and takes the rest. */
export function understoodSettings(
  { featureLevel }: Pick<ClusterState, 'featureLevel'>,
  change: Partial<GroupSettings>,
): Partial<GroupSettings> {
  const isKnown = (key: string): boolean =>
    (BROUGHT_BY[key as keyof GroupSettings] ?? SETTINGS_FEATURE_LEVEL) <= featureLevel;
  return Object.fromEntries(Object.entries(change).filter(([key]) => isKnown(key)));
}

function change(
  state: ClusterState,
  command: Omit<CommandOf<'configure'>, 'kind'>,
  at: { readonly index: LogIndex; readonly atMs: number },
): Applied {
  const group = state.groups.get(command.group);
  if (group === undefined) return refuse(`there is no group ${command.group}`);
  const settings: GroupSettings = { ...group.settings, ...understoodSettings(state, command.settings) };
  const parameters = changedParameters(group.parameters, command.parameters);
  const hba = command.hba ?? group.hba;
  const slotChanges = command.logicalSlots ?? [];
  const problem =
    settingsProblem(settings) ??
    failbackProblem(state, group, settings.failback) ??
    parametersProblem(parameters, command.parameters) ??
    hbaProblem(hba) ??
    logicalSlotsProblem(group.logicalSlots, slotChanges, nodesOfGroup(state, group.id).length) ??
    byProblem(command.by);
  if (problem !== undefined) return refuse(problem);
  if (isLeased(group) && settings.leaseMs < group.settings.leaseMs) {
    // The primary may hold a lease of the present length, and a promotion would no longer wait for its end.
    return refuse(
      `lease cannot become shorter than ${group.settings.leaseMs} ms while the primary goes by a lease: set the durability to quorum first`,
    );
  }
  if (group.next !== undefined && group.next.rule.acks < fewestAcks({ ...group, settings })) {
    // Commits may be acknowledged by that rule already, and a change is not withdrawn.
    return refuse(
      `the sync rule of group ${group.id} is being changed to fewer acknowledgements than strict asks for: try again once that is done`,
    );
  }
  const logicalSlots = changedLogicalSlots(group.logicalSlots, slotChanges, at.index);
  const changed = { ...group, settings, parameters, hba, logicalSlots };
  const isRecorded = state.featureLevel >= PARAMETERS_FEATURE_LEVEL;
  return withGroup(state, isRecorded ? recorded(group, changed, { ...at, by: command.by }) : changed);
}

/** Where a change names a node or a site that nobody has heard of. One that has gone since stays. */
export function failbackProblem(
  state: ClusterState,
  group: Pick<GroupState, 'id' | 'settings'>,
  failback: Failback,
): string | undefined {
  if (failback === group.settings.failback || failback === 'off') return undefined;
  const { kind, name } = parsedFailback(failback);
  if (kind === 'node')
    return [...state.nodes.values()].some(({ node, group: of }) => node === name && of === group.id)
      ? undefined
      : `failback is ${failback}, but there is no node ${name} in group ${group.id}`;
  return [...state.peers.values()].some(({ site }) => site === name)
    ? undefined
    : `failback is ${failback}, but no peer is in a site ${name}`;
}

/** What is wrong with the settings, or undefined. */
export function settingsProblem(settings: GroupSettings): string | undefined {
  for (const [key, [name, min, max, unit]] of Object.entries(SETTING_LIMITS)) {
    const value = settings[key as keyof typeof SETTING_LIMITS];
    if (!Number.isSafeInteger(value) || value < min || value > max)
      return `${name} is ${value}${unit}; it must be a whole number from ${min} to ${max}${unit}`;
  }
  return undefined;
}
