// `sentinelctl settings`: what is wanted of a group, with the history of it; and a change, which is checked, proposed, and answered for once
// it is in the log.
import { failbackProblem, settingsProblem, understoodSettings } from '../cluster/apply-settings.ts';
import type { Command, ParameterChange } from '../cluster/commands.ts';
import {
  HBA_FEATURE_LEVEL,
  LOGICAL_SLOTS_FEATURE_LEVEL,
  PARAMETERS_FEATURE_LEVEL,
} from '../cluster/features.ts';
import {
  LOGICAL_SLOT_PREFIX,
  logicalSlotVersionProblem,
  logicalSlotsProblem,
} from '../cluster/logical-slots.ts';
import {
  PARAMETER_PREFIX,
  changedParameters,
  differences,
  hbaProblem,
  parametersProblem,
} from '../cluster/parameters.ts';
import type { NodeId } from '../base/ids.ts';
import type { AgentReport } from '../cluster/report.ts';
import { type ClusterState, type GroupState, nodesOfGroup } from '../cluster/state.ts';
import { type View, freshReport } from '../failover/view.ts';
import type { SettingsOutcome, SteerOutcome, SteerRequest } from '../transport/types.ts';
import { STANDBY_LIMIT_NAMES } from '../postgres/effective-parameters.ts';
import { hbaLinesProblem, hbaWarnings } from '../cluster/hba-rules.ts';
import { type ParameterRow, valueProblem } from '../postgres/parameter-values.ts';
import { RESERVED_PARAMETERS } from '../postgres/reserved-parameters.ts';
import { changeText, hbaText, logicalSlotChangeText, parameterText, settingsText } from './event-text.ts';
import { findGroup } from './failover-watch.ts';
import { quorumShortage, strictShortage } from './group-notices.ts';
import { logicalSlotNotes } from './logical-slot-notes.ts';
import { type SteerOptions, done, proposeAndSay, refused } from './steering.ts';

type SettingsRequest = Extract<SteerRequest, { readonly kind: 'settings' }>;

/** What is asked before a change is proposed; it proposes nothing. */
type Reading = Pick<SteerOptions, 'state' | 'view' | 'describeParameters'>;

/** A change that may be proposed. */
export interface CheckedChange {
  readonly command: Command;
  /** Parameters that PostgreSQL takes at its next start only. */
  readonly late: readonly string[];
  readonly notes: readonly string[];
}

/** The change as a command, once all but the log has been asked whether it makes sense; else what is wrong with it. */
export async function checkChange(
  options: Reading,
  group: GroupState,
  request: SettingsRequest,
): Promise<CheckedChange | string> {
  const { change, parameters = [], hba, logicalSlots, onlyRevision, by = '' } = request;
  const state = options.state();
  const problem =
    settingsProblem({ ...group.settings, ...change }) ??
    failbackProblem(state, group, change.failback ?? group.settings.failback) ??
    parametersProblem(changedParameters(group.parameters, parameters), parameters) ??
    hbaProblem(hba ?? []) ??
    hbaLinesProblem(hba ?? []) ??
    logicalSlotsProblem(group.logicalSlots, logicalSlots ?? [], nodesOfGroup(state, group.id).length) ??
    reservedProblem(parameters);
  if (problem !== undefined) return problem;
  const understood = understoodSettings(state, change);
  if (Object.keys(change).some((key) => !Object.hasOwn(understood, key)))
    return 'not every peer understands this yet: upgrade all of them first';
  if (hba !== undefined && state.featureLevel < HBA_FEATURE_LEVEL)
    return 'not every peer understands rules for pg_hba.conf yet: upgrade all of them first';
  if (logicalSlots !== undefined && state.featureLevel < LOGICAL_SLOTS_FEATURE_LEVEL)
    return 'not every peer understands logical slots yet: upgrade all of them first';
  const unkept = versionProblem(options, group, request);
  if (unkept !== undefined) return unkept;
  const isSimple = parameters.length === 0 && onlyRevision === undefined;
  const isOld = state.featureLevel < PARAMETERS_FEATURE_LEVEL;
  if (isOld && !isSimple) return 'not every peer understands this yet: upgrade all of them first';
  const checked = await checkValues(options, group, parameters);
  if (checked.problem !== undefined) return checked.problem;
  // Only the change: another person may be changing something else at the same time.
  const command: Command = isOld
    ? { kind: 'change-settings', group: group.id, settings: change }
    : {
        ...{ kind: 'configure', group: group.id, settings: change, parameters, by },
        ...(hba === undefined ? {} : { hba }),
        ...(logicalSlots === undefined ? {} : { logicalSlots }),
        ...(onlyRevision === undefined ? {} : { onlyRevision }),
      };
  return { command, late: checked.late, notes: checked.notes };
}

export async function changeSettings(
  options: SteerOptions,
  group: GroupState,
  request: SettingsRequest,
): Promise<SteerOutcome> {
  const checked = await checkChange(options, group, request);
  if (typeof checked === 'string') return refused(checked);
  const outcome = await proposeAndSay(options, checked.command, '');
  if (outcome.kind === 'refused') return outcome;
  const now = options.state().groups.get(group.id) ?? group;
  const warnings = changeWarnings(options.state(), now, request);
  if (differences(group, now).next().done === true)
    return done([`group ${group.id} has all of it already`, ...warnings].join('; '));
  const text = outcomeText(settingsText(now.settings), request);
  const late =
    checked.late.length === 0
      ? []
      : [
          `PostgreSQL takes ${checked.late.join(', ')} at its next start, see sentinelctl status${restartOrder(checked.late)}`,
        ];
  return done(`group ${group.id}: ${[text, ...checked.notes, ...late, ...warnings].join('; ')}`);
}

/** What whoever changes it should know, of the group as it is once that is done. */
export function changeWarnings(
  state: ClusterState,
  after: GroupState,
  { change, hba }: SettingsRequest,
): readonly string[] {
  const isOfDurability = change.acks !== undefined || change.durability !== undefined;
  const shortage = isOfDurability
    ? (strictShortage(state, after) ?? quorumShortage(state, after))
    : undefined;
  return [...(shortage === undefined ? [] : [`warning: ${shortage}`]), ...hbaWarnings(hba ?? [])];
}

/** Those that are ours; what was set may be taken out again in any case. */
function reservedProblem(parameters: readonly ParameterChange[]): string | undefined {
  for (const { name, value } of parameters) {
    const reason = RESERVED_PARAMETERS.get(name);
    if (reason !== undefined && value !== undefined)
      return `${PARAMETER_PREFIX}${name} cannot be set: pg-sentinel sets ${name} itself (${reason})`;
  }
  return undefined;
}

/** By the version of the primary, where its agent reports; else that agent says so later. */
function versionProblem(
  { view }: Reading,
  group: GroupState,
  { logicalSlots = [] }: SettingsRequest,
): string | undefined {
  const version = Number.parseInt(freshReport(view(), group.phase.primary)?.serverVersion ?? '', 10);
  for (const { name, wanted } of logicalSlots) {
    const problem = wanted && logicalSlotVersionProblem(wanted, version);
    if (problem !== undefined) return `${LOGICAL_SLOT_PREFIX}${name}: ${problem}`;
  }
  return undefined;
}

interface CheckedValues {
  readonly problem?: string;
  readonly late: readonly string[];
  readonly notes: readonly string[];
}

/** By the PostgreSQL that is the primary, where that answers. */
async function checkValues(
  { state, describeParameters }: Reading,
  group: GroupState,
  parameters: readonly ParameterChange[],
): Promise<CheckedValues> {
  if (describeParameters === undefined || parameters.length === 0) return { late: [], notes: [] };
  const primary = state().nodes.get(group.phase.primary);
  let rows: readonly ParameterRow[];
  try {
    if (primary === undefined) throw new Error('it is not registered');
    rows = await describeParameters(
      primary,
      parameters.map(({ name }) => name),
    );
  } catch (error) {
    const why = (error as Error).message;
    return {
      late: [],
      notes: [`not compared with what PostgreSQL takes: ${group.phase.primary} could not be asked (${why})`],
    };
  }
  const byName = new Map(rows.map((row) => [row.name.toLowerCase(), row]));
  const late: string[] = [];
  for (const { name, value } of parameters) {
    const row = byName.get(name);
    const problem = value === undefined ? undefined : valueProblem(name, value, row);
    if (problem !== undefined)
      return { problem: `${PARAMETER_PREFIX}${name}: "${value}" is given; ${problem}`, late, notes: [] };
    if (row?.context === 'postmaster') late.push(name);
  }
  return { late, notes: [] };
}

/** In which order nodes are restarted for these, where that counts. */
export function restartOrder(names: readonly string[]): string {
  const isLimit = names.some((name) => STANDBY_LIMIT_NAMES.includes(name));
  return isLimit ? '; to raise it restart the standbys first, to lower it the primary' : '';
}

function outcomeText(
  settings: string,
  { change, parameters = [], hba, logicalSlots = [] }: SettingsRequest,
): string {
  const { slotRetentionMs, maxSlotWalBytes } = change;
  // Of these `settingsText` says nothing.
  const ofSlots = changeText({
    ...(slotRetentionMs === undefined ? {} : { slotRetentionMs }),
    ...(maxSlotWalBytes === undefined ? {} : { maxSlotWalBytes }),
  });
  const texts = [
    ofSlots,
    ...parameters.map(parameterText),
    hbaText(hba),
    ...logicalSlots.map(logicalSlotChangeText),
  ].filter((text) => text !== '');
  const isOfServers = texts.length > 0 && Object.keys(change).length === 0;
  return (isOfServers ? texts : [settings, ...texts]).join('; ');
}

export function settingsView(options: {
  readonly state: ClusterState;
  readonly view: View;
  readonly group: string | undefined;
}): SettingsOutcome {
  const group = findGroup(options.state, options.group);
  if (typeof group === 'string') return { kind: 'refused', reason: group };
  const { id, settingsRevision: revision, settings, settingsHistory: history } = group;
  const reports = nodesOfGroup(options.state, id).map((node) => ({
    node: node.node,
    report: freshReport(options.view, node.node)?.parameters,
  }));
  const parameters = [...group.parameters].map(([name, value]) => ({
    name,
    value,
    pendingRestart: reports
      .filter((each) => each.report?.pendingRestart.includes(name))
      .map(({ node }) => node),
    overrides: reports.filter((each) => each.report?.overridden.includes(name)).map(({ node }) => node),
  }));
  const pending = new Set(reports.flatMap(({ report }) => report?.pendingRestart ?? []));
  const pendingOthers = [...pending]
    .filter((name) => !group.parameters.has(name))
    .toSorted()
    .map((name) => ({
      name,
      nodes: reports.filter(({ report }) => report?.pendingRestart.includes(name)).map(({ node }) => node),
    }));
  const hbaPending = reports.flatMap(({ node, report }) => {
    if (report === undefined) return group.hba.length === 0 ? [] : [{ node, reason: 'it does not report' }];
    return report.hbaProblem === undefined ? [] : [{ node, reason: report.hbaProblem }];
  });
  const nodes = nodesOfGroup(options.state, id);
  const logicalSlots = group.logicalSlots.map((slot) => {
    const { name, database, plugin, isTwoPhase, standing } = slot;
    const reportOf = (node: NodeId): AgentReport | undefined => freshReport(options.view, node);
    const { well, problems } = logicalSlotNotes({ slot, group, nodes, reportOf });
    const notes = well === undefined ? problems : [well, ...problems];
    return { name, wanted: { database, plugin, isTwoPhase }, standing, notes };
  });
  return {
    kind: 'view',
    view: {
      ...{ group: id, revision, settings, parameters, hba: group.hba, hbaPending, logicalSlots, history },
      ...(pendingOthers.length === 0 ? {} : { pendingOthers }),
    },
  };
}
