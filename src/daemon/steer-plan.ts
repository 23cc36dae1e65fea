// `--dry-run` of `sentinelctl fence`, `unfence`, `ack`, `settings` and `failover --at`: what is asked is checked as if in earnest, applied to a
// copy of the state as the log would, and told. Must never propose anything: it is not given what could.
import { unreachable } from '../base/assert.ts';
import type { NodeId } from '../base/ids.ts';
import { isRefused } from '../cluster/applied.ts';
import { foresee } from '../cluster/apply.ts';
import type { Command } from '../cluster/commands.ts';
import { PARAMETER_PREFIX, differences } from '../cluster/parameters.ts';
import { type ClusterState, type GroupState, nodesOfGroup } from '../cluster/state.ts';
import { SCHEDULE_VALID_MS } from '../failover/decide.ts';
import { switchoverObstacle } from '../failover/obstacles.ts';
import { freshReport } from '../failover/view.ts';
import type { PlannedRequest, SteerOutcome } from '../transport/types.ts';
import { findGroup } from './failover-watch.ts';
import { lossText, planned, strictObstacle } from './pauses.ts';
import { changeWarnings, checkChange, restartOrder } from './settings.ts';
import { type SteerOptions, refused, withNodeNames } from './steering.ts';

type Reading = Pick<SteerOptions, 'state' | 'view' | 'describeParameters'>;
type SimpleRequest = Extract<PlannedRequest, { readonly kind: 'unfence' | 'acknowledge' | 'schedule' }>;
type SettingsRequest = Extract<PlannedRequest, { readonly kind: 'settings' }>;

/** What is asked, as a command, with what is said once it is done; or why it is not even proposed. `wallMs` is now, of the host that is asked. */
export function asCommand(
  state: ClusterState,
  request: SimpleRequest,
  wallMs: number,
): { readonly command: Command; readonly detail: string } | string {
  if (request.kind === 'unfence')
    return {
      command: { kind: 'unfence-node', node: request.node },
      detail: `${request.node} is no longer fenced; it joins its group again`,
    };
  const group = findGroup(state, request.group, request.kind === 'schedule' ? request.at?.to : undefined);
  if (typeof group === 'string') return group;
  if (request.kind === 'acknowledge')
    return {
      command: { kind: 'acknowledge-failovers', group: group.id },
      detail: `the failovers of group ${group.id} are acknowledged; it fails over by itself again`,
    };
  const { at } = request;
  const command: Command = { kind: 'schedule-switchover', group: group.id, at };
  if (at === undefined)
    return { command, detail: `no switchover of group ${group.id} is scheduled any more` };
  const time = new Date(at.atMs).toISOString();
  if (at.atMs <= wallMs) return `${time} is past`;
  const target = at.to === undefined ? '' : ` to ${at.to}`;
  const until = new Date(at.atMs + SCHEDULE_VALID_MS).toISOString();
  const detail = `a switchover of group ${group.id}${target} begins at ${time}; where something stands against it then, it is tried again until ${until}`;
  return { command, detail };
}

/** What would happen, or why it could not be done. */
export async function planSteer(options: Reading, request: PlannedRequest): Promise<SteerOutcome> {
  switch (request.kind) {
    case 'fence':
      return withNodeNames(options, request.node, planFence(options, request.node));
    case 'unfence':
      return withNodeNames(options, request.node, planSimple(options, request));
    case 'acknowledge':
    case 'schedule':
      return planSimple(options, request);
    case 'settings': {
      const group = findGroup(options.state(), request.group);
      return typeof group === 'string' ? refused(group) : planSettings(options, group, request);
    }
    default:
      return unreachable(request);
  }
}

function planFence(options: Reading, node: NodeId): SteerOutcome {
  const state = options.state();
  const known = state.nodes.get(node);
  const group = known === undefined ? undefined : state.groups.get(known.group);
  const stopped = `the PostgreSQL of ${node} is stopped and stays so until it is unfenced`;
  if (group?.phase.kind === 'running' && group.phase.primary === node) {
    const obstacle = switchoverObstacle(state, group, undefined, options.view());
    return obstacle === undefined
      ? planned(`group ${group.id} switches over from ${node} to a standby, and ${stopped}`)
      : refused(`${node} is the primary of group ${group.id}, and not fenced: ${obstacle}`);
  }
  const after = foresee(state, { kind: 'fence-node', node }, options.view().wallMs);
  if (isRefused(after)) return refused(after.refused);
  if (group === undefined) return planned(stopped);
  const waits = strictObstacle(options, group, node);
  const warning = waits === undefined ? lossText(options, group, node) : `; warning: ${waits}`;
  return planned(`${stopped}; it is neither counted for commits nor promoted${warning}`);
}

function planSimple(options: Reading, request: SimpleRequest): SteerOutcome {
  const state = options.state();
  const view = options.view();
  const asked = asCommand(state, request, view.wallMs);
  if (typeof asked === 'string') return refused(asked);
  const after = foresee(state, asked.command, view.wallMs);
  if (isRefused(after)) return refused(after.refused);
  if (request.kind !== 'schedule' || request.at === undefined) return planned(asked.detail);
  const group = findGroup(state, request.group, request.at.to);
  if (typeof group === 'string') return refused(group);
  const instead =
    group.scheduled === undefined
      ? ''
      : `; it takes the place of the one for ${new Date(group.scheduled.atMs).toISOString()}`;
  const obstacle = switchoverObstacle(state, group, request.at.to, view);
  const now = obstacle === undefined ? '' : `; now this would stand against it: ${obstacle}`;
  return planned(`${asked.detail}${instead}${now}`);
}

async function planSettings(
  options: Reading,
  group: GroupState,
  request: SettingsRequest,
): Promise<SteerOutcome> {
  const checked = await checkChange(options, group, request);
  if (typeof checked === 'string') return refused(checked);
  const state = options.state();
  const after = foresee(state, checked.command, options.view().wallMs);
  if (isRefused(after)) return refused(after.refused);
  const before = state.groups.get(group.id) ?? group;
  const changed = after.groups.get(group.id) ?? before;
  const changes = [...differences(before, changed)];
  const lateParameters = checked.late.filter((name) =>
    changes.some(({ key }) => key === `${PARAMETER_PREFIX}${name}`),
  );
  const restartNodes = lateParameters.length === 0 ? [] : nodesThatRun(options, group);
  const texts = [
    changes.length === 0
      ? `group ${group.id} has all of it already`
      : `the settings of group ${group.id} change`,
    ...checked.notes,
    ...(restartNodes.length === 0
      ? []
      : [`PostgreSQL takes ${lateParameters.join(', ')} at its next start${restartOrder(lateParameters)}`]),
    ...changeWarnings(state, changed, request),
  ];
  const outcome = planned(texts.join('; '));
  return outcome.kind === 'done'
    ? { ...outcome, settings: { changes, lateParameters, restartNodes } }
    : outcome;
}

/** One that is stopped takes everything at its next start; of one that does not report nobody knows. */
function nodesThatRun({ state, view }: Reading, group: GroupState): readonly string[] {
  return nodesOfGroup(state(), group.id)
    .filter(({ node }) => {
      const condition = freshReport(view(), node)?.condition;
      return condition !== 'stopped' && condition !== 'absent';
    })
    .map(({ node }) => node);
}
