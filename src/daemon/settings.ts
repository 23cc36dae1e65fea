// `sentinelctl settings`: what is wanted of a group, with the history of it; and a change, which is checked, proposed, and answered for once
// it is in the log.
import { settingsProblem } from '../cluster/apply-settings.ts';
import type { Command, ParameterChange } from '../cluster/commands.ts';
import { PARAMETERS_FEATURE_LEVEL } from '../cluster/features.ts';
import { changedParameters, parametersProblem } from '../cluster/parameters.ts';
import type { ClusterState, GroupState } from '../cluster/state.ts';
import type { SettingsOutcome, SteerOutcome, SteerRequest } from '../transport/types.ts';
import { parameterText, settingsText } from './event-text.ts';
import { findGroup } from './failover-watch.ts';
import { type SteerOptions, done, proposeAndSay, refused } from './steering.ts';

type SettingsRequest = Extract<SteerRequest, { readonly kind: 'settings' }>;

export async function changeSettings(
  options: SteerOptions,
  group: GroupState,
  request: SettingsRequest,
): Promise<SteerOutcome> {
  const { change, parameters = [], onlyRevision, by = '' } = request;
  const problem =
    settingsProblem({ ...group.settings, ...change }) ??
    parametersProblem(changedParameters(group.parameters, parameters), parameters);
  if (problem !== undefined) return refused(problem);
  const isSimple = parameters.length === 0 && onlyRevision === undefined;
  const isOld = options.state().featureLevel < PARAMETERS_FEATURE_LEVEL;
  if (isOld && !isSimple) return refused('not every peer understands this yet: upgrade all of them first');
  // Only the change: another person may be changing something else at the same time.
  const command: Command = isOld
    ? { kind: 'change-settings', group: group.id, settings: change }
    : {
        ...{ kind: 'configure', group: group.id, settings: change, parameters, by },
        ...(onlyRevision === undefined ? {} : { onlyRevision }),
      };
  const outcome = await proposeAndSay(options, command, '');
  if (outcome.kind === 'refused') return outcome;
  const { settings } = options.state().groups.get(group.id) ?? group;
  return done(`group ${group.id}: ${outcomeText(settingsText(settings), change, parameters)}`);
}

function outcomeText(
  settings: string,
  change: SettingsRequest['change'],
  parameters: readonly ParameterChange[],
): string {
  const texts = parameters.map(parameterText);
  const isOfParameters = parameters.length > 0 && Object.keys(change).length === 0;
  return (isOfParameters ? texts : [settings, ...texts]).join('; ');
}

export function settingsView(options: {
  readonly state: ClusterState;
  readonly group: string | undefined;
}): SettingsOutcome {
  const group = findGroup(options.state, options.group);
  if (typeof group === 'string') return { kind: 'refused', reason: group };
  const { id, settingsRevision: revision, settings, settingsHistory: history } = group;
  const parameters = [...group.parameters].map(([name, value]) => ({
    name,
    value,
    pendingRestart: [],
    overrides: [],
  }));
  return { kind: 'view', view: { group: id, revision, settings, parameters, history } };
}
