// `sentinelctl fence`, `unfence`, `ack`, `settings set`, `pause`, `maintenance` and `failover --at`: what a person asks is checked, proposed, and answered
// for once it is in the log. The log decides.
import { delay } from '../base/clock.ts';
import type { NodeId } from '../base/ids.ts';
import { SETTINGS_FEATURE_LEVEL } from '../cluster/features.ts';
import { freshReport } from '../failover/view.ts';
import type { SteerOutcome, SteerRequest } from '../transport/types.ts';
import { adopt } from './adoption.ts';
import { findGroup } from './failover-watch.ts';
import { type NodeCommandOptions, steerNode } from './node-commands.ts';
import { scheduleRestart } from './scheduled-restart.ts';
import { steerPause } from './pauses.ts';
import { changeSettings } from './settings.ts';
import { steerSite } from './site.ts';
import { asCommand, planSteer } from './steer-plan.ts';
import { type SteerOptions, done, proposeAndSay, refused, withNodeNames } from './steering.ts';
import { switchOver } from './switchover.ts';

/** How long the answer waits for a fenced node to be stopped; it is stopped later all the same. */
const STOP_TIMEOUT_MS = 20_000;
const POLL_MS = 50;

export async function steer(
  options: SteerOptions & NodeCommandOptions,
  request: SteerRequest,
): Promise<SteerOutcome> {
  if (request.kind === 'node') return steerNode(options, request);
  if (request.kind === 'schedule-restart') return scheduleRestart(options, request);
  if (request.kind === 'adopt') return adopt(options, request);
  if (request.kind === 'promote-site' || request.kind === 'lead-site') return steerSite(options, request);
  if (request.kind === 'pause' || request.kind === 'resume' || request.kind === 'maintenance')
    return steerPause(options, request);
  const state = options.state();
  // An older peer could not read what is asked for, and would stop at it.
  if (state.featureLevel < SETTINGS_FEATURE_LEVEL)
    return refused('not every peer understands this yet: upgrade all of them first');
  if (request.kind === 'plan') return planSteer(options, request.of);
  if (request.kind === 'fence') return fence(options, request.node);
  if (request.kind === 'settings') {
    const group = findGroup(state, request.group);
    return typeof group === 'string' ? refused(group) : changeSettings(options, group, request);
  }
  const asked = asCommand(state, request, options.view().wallMs);
  if (typeof asked === 'string') return refused(asked);
  const outcome = await proposeAndSay(options, asked.command, asked.detail);
  return request.kind === 'unfence' ? withNodeNames(options, request.node, outcome) : outcome;
}

/** A primary is switched over first, so that nobody has to wait for what a failover would take. */
async function fence(options: SteerOptions, node: NodeId): Promise<SteerOutcome> {
  const state = options.state();
  const known = state.nodes.get(node);
  const group = known === undefined ? undefined : state.groups.get(known.group);
  if (group?.phase.kind === 'running' && group.phase.primary === node) {
    const request = { group: group.id, to: undefined };
    const moved = await switchOver({ ...options, request });
    if (moved.kind === 'refused')
      return refused(`${node} is the primary of group ${group.id}, and not fenced: ${moved.reason}`);
  }
  const outcome = await proposeAndSay(options, { kind: 'fence-node', node }, '');
  if (outcome.kind === 'refused') return withNodeNames(options, node, outcome);
  const startedMs = performance.now();
  while (performance.now() - startedMs < STOP_TIMEOUT_MS && !options.signal.aborted) {
    const condition = freshReport(options.view(), node)?.condition;
    if (condition === 'stopped' || condition === 'absent')
      return done(`${node} is fenced: its PostgreSQL is stopped`);
    await delay(POLL_MS, options.signal);
  }
  return done(
    `${node} is fenced; that its PostgreSQL is stopped is not known, for its agent has not said so`,
  );
}
