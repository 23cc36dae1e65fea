// Commands about nodes and the creation of groups: registering, the first primary, subjective judgements.
import {
  type Epoch,
  type LogIndex,
  type Timeline,
  epoch as toEpoch,
  logIndex as toIndex,
  timeline,
} from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup, withNode } from './applied.ts';
import { DEFAULT_GROUP_SETTINGS } from './apply-settings.ts';
import { loopRefusal } from './apply-cascade.ts';
import type { NodeOptions, NodeRegistration, SyncRule } from './commands.ts';
import { hasOptions } from './eligibility.ts';
import { CANDIDATES_FEATURE_LEVEL, CASCADE_FEATURE_LEVEL, SITE_FEATURE_LEVEL } from './features.ts';
import type { ClusterState, GroupState, NodeState } from './state.ts';
import { hasUnknownRule, nodesOfGroup } from './state.ts';

export const ALONE: SyncRule = { members: [], acks: 0 };

/** A node says, through its agent, where it is and which data directory it has. Repeating it is harmless. */
export function applyRegisterNode(state: ClusterState, command: CommandOf<'register-node'>): Applied {
  const { kind: _, options, ...rest } = command;
  if (state.removed.has(command.node)) {
    return refuse(`${command.node} was removed: sentinelctl node register ${command.node} lets it in again`);
  }
  // An older peer knows of no options: until all of them do, they are nobody's.
  const taken = options === undefined ? undefined : optionsAt(state.featureLevel, options);
  const registration = taken === undefined ? rest : { ...rest, options: taken };
  const known = state.nodes.get(command.node);
  if (known !== undefined && known.group !== command.group) {
    return refuse(`node ${command.node} belongs to group ${known.group}, not ${command.group}`);
  }
  if (known !== undefined && known.peer !== command.peer) {
    return refuse(`node ${command.node} is managed by peer ${known.peer}, not ${command.peer}`);
  }
  const sameAddress = [...state.nodes.values()].find(
    (node) => node.node !== command.node && node.host === command.host && node.port === command.port,
  );
  if (sameAddress !== undefined) {
    return refuse(
      `address ${command.host}:${command.port} of node ${command.node} is that of node ${sameAddress.node}`,
    );
  }
  const loop = taken?.upstream === undefined ? undefined : loopRefusal(state, command.node, taken.upstream);
  if (loop !== undefined) return refuse(loop);
  const upstream = taken?.upstream === undefined ? undefined : state.nodes.get(taken.upstream);
  if (upstream !== undefined && upstream.group !== command.group)
    return refuse(
      `the upstream of ${command.node}, ${upstream.node}, belongs to group ${upstream.group}, not ${command.group}`,
    );
  const group = state.groups.get(command.group);
  if (group !== undefined) {
    const conflict = dataDirectoryConflict(group, known, command);
    if (conflict !== undefined) return refuse(conflict);
  }
  const next = withSource(
    withNode(state, command.node, { ...registration, subjectiveDown: known?.subjectiveDown ?? [] }),
    group,
    registration,
  );
  if (group === undefined || known?.options?.upstream === taken?.upstream) return next;
  const cascades = group.cascades.filter(({ node }) => node !== command.node);
  return withGroup(next, { ...(next.groups.get(group.id) ?? group), cascades });
}

/** Which database a group that follows another site holds, its site leader's first copy says. */
function withSource(
  state: ClusterState,
  group: GroupState | undefined,
  { node, systemIdentifier }: NodeRegistration,
): ClusterState {
  const isFirst =
    group?.phase.kind === 'following' &&
    group.phase.primary === node &&
    group.systemIdentifier === undefined &&
    systemIdentifier !== undefined;
  return isFirst ? withGroup(state, { ...group, systemIdentifier }) : state;
}

function optionsAt(featureLevel: number, options: NodeOptions): NodeOptions | undefined {
  const { upstream, source, ...earlier } = options;
  const known: NodeOptions = {
    ...earlier,
    ...(featureLevel >= CASCADE_FEATURE_LEVEL && upstream !== undefined ? { upstream } : {}),
    ...(featureLevel >= SITE_FEATURE_LEVEL && source !== undefined ? { source } : {}),
  };
  return featureLevel >= CANDIDATES_FEATURE_LEVEL && hasOptions(known) ? known : undefined;
}

function dataDirectoryConflict(
  group: GroupState,
  known: NodeState | undefined,
  command: CommandOf<'register-node'>,
): string | undefined {
  if (
    group.systemIdentifier !== undefined &&
    command.systemIdentifier !== undefined &&
    command.systemIdentifier !== group.systemIdentifier
  ) {
    return `the data directory of ${command.node} has system identifier ${command.systemIdentifier}, group ${group.id} has ${group.systemIdentifier}: it holds another database`;
  }
  const before = known?.member;
  if (before === undefined || before === command.member) return undefined;
  if (hasUnknownRule(group)) {
    // mark: data-directory-of-lost-log
    return undefined;
  }
  const isCounted =
    group.rule.members.includes(before) || (group.next?.rule.members.includes(before) ?? false);
  if (isCounted) return `member ${before} is still in the sync rule of group ${group.id}`;
  const { phase } = group;
  const isPrimary = phase.kind !== 'creating' && phase.kind !== 'following' && phase.primary === command.node;
  if (isPrimary)
    return `${command.node} is the primary of group ${group.id}: its data directory cannot change`;
  return undefined;
}

/**
 * Chooses the first primary; where a node already has data, it must be that one. Until it has come up another one may be chosen
 * in its place: clients are let in only once the group runs, so that nothing is lost.
 */
export function applyCreateGroup(
  state: ClusterState,
  index: LogIndex,
  command: Pick<CommandOf<'create-group'>, 'group' | 'primary'>,
): Applied {
  const present = state.groups.get(command.group)?.phase;
  if (present !== undefined && (present.kind !== 'creating' || present.primary === command.primary))
    return refuse(`group ${command.group} exists`);
  // It has a database (apply-replacement.ts): one that is empty must never take its place.
  if (state.groups.get(command.group)?.systemIdentifier !== undefined)
    return refuse(
      `group ${command.group} is to go on with the database of ${present?.primary}, and begins with no other node`,
    );
  const nodes = nodesOfGroup(state, command.group);
  const primary = nodes.find((node) => node.node === command.primary);
  if (primary === undefined)
    return refuse(`node ${command.primary} is not registered in group ${command.group}`);
  const follower = nodes.find((node) => node.options?.source !== undefined);
  if (follower !== undefined)
    return refuse(`${follower.node} is to follow another site: group ${command.group} begins with that`);
  const withData = nodes.filter((node) => node.systemIdentifier !== undefined);
  if (withData.length > 0 && (withData.length > 1 || withData[0]?.node !== command.primary)) {
    return refuse(
      `data exists already on ${withData.map((node) => node.node).join(', ')}: expected on at most one node, the first primary`,
    );
  }
  return withGroup(state, newGroup(command.group, index, { kind: 'creating', primary: command.primary }));
}

/** As every group begins: alone, with the default settings. */
export function newGroup(id: GroupState['id'], index: LogIndex, phase: GroupState['phase']): GroupState {
  return {
    id,
    epoch: toEpoch(index),
    phase,
    settings: DEFAULT_GROUP_SETTINGS,
    parameters: new Map(),
    hba: [],
    logicalSlots: [],
    settingsRevision: toIndex(0),
    settingsHistory: [],
    rule: ALONE,
    next: undefined,
    floor: undefined,
    highestTimeline: timeline(1),
    branches: [],
    systemIdentifier: undefined,
    failovers: 0,
    fenced: [],
    paused: undefined,
    pausedNodes: [],
    absent: [],
    failbackAtMs: undefined,
    failbackCount: 0,
    toAdopt: [],
    cascades: [],
    restore: undefined,
    restarts: [],
    recentFailovers: [],
    scheduled: undefined,
  };
}

export function applyGroupReady(state: ClusterState, command: CommandOf<'group-ready'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  if (group.phase.kind !== 'creating')
    return refuse(`group ${group.id} is ${group.phase.kind}, not creating`);
  // One that it has already had is none of that (apply-replacement.ts).
  const restore = group.systemIdentifier === undefined ? group.restore : undefined;
  if (restore !== undefined && restore.reached?.assigned !== command.timeline)
    return refuse(
      `group ${group.id} is to begin on timeline ${restore.reached?.assigned ?? 'that is not assigned yet'}, not on ${command.timeline}`,
    );
  if (restore !== undefined && restore.reached?.systemIdentifier !== command.systemIdentifier)
    return refuse(
      `group ${group.id} was restored as system ${restore.reached?.systemIdentifier}, not ${command.systemIdentifier}`,
    );
  if (group.systemIdentifier !== undefined && group.systemIdentifier !== command.systemIdentifier)
    return refuse(
      `group ${group.id} is to go on with system ${group.systemIdentifier}, not ${command.systemIdentifier}`,
    );
  const node = state.nodes.get(group.phase.primary);
  if (node === undefined) return refuse(`node ${group.phase.primary} is not registered`);
  const withMember = withNode(state, node.node, {
    ...node,
    member: command.member,
    systemIdentifier: command.systemIdentifier,
  });
  return withGroup(withMember, {
    ...group,
    phase: { kind: 'running', primary: group.phase.primary, timeline: command.timeline },
    highestTimeline: highest(group.highestTimeline, command.timeline),
    systemIdentifier: command.systemIdentifier,
  });
}

export function highest(a: Timeline, b: Timeline): Timeline {
  return a > b ? a : b;
}

/** One peer's judgement, replacing its earlier one. It counts towards a failover from `command.epoch` only. */
export function applySubjectiveDown(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'subjective-down'>,
): Applied {
  const found = judgedNode(state, command.node, command.epoch);
  if (isRefused(found)) return found;
  if (!state.membership.voters.includes(command.peer)) return refuse(`peer ${command.peer} is not a voter`);
  const others = found.subjectiveDown.filter((entry) => entry.peer !== command.peer);
  const entry = { peer: command.peer, epoch: command.epoch, evidence: command.evidence, index };
  return withNode(state, command.node, { ...found, subjectiveDown: [...others, entry] });
}

export function applySubjectiveUp(state: ClusterState, command: CommandOf<'subjective-up'>): Applied {
  const node = state.nodes.get(command.node);
  if (node === undefined) return refuse(`there is no node ${command.node}`);
  const remaining = node.subjectiveDown.filter((entry) => entry.peer !== command.peer);
  return withNode(state, command.node, { ...node, subjectiveDown: remaining });
}

function judgedNode(
  state: ClusterState,
  id: NodeState['node'],
  epoch: Epoch,
): NodeState | { readonly refused: string } {
  const node = state.nodes.get(id);
  if (node === undefined) return refuse(`there is no node ${id}`);
  const group = state.groups.get(node.group);
  if (group === undefined) return refuse(`there is no group ${node.group}`);
  if (group.epoch !== epoch) return refuse(`group ${group.id} is at epoch ${group.epoch}, not ${epoch}`);
  return node;
}
