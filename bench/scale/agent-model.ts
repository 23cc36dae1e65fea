// A node and its agent as the benchmark pretends them: what the agent does on its duty of the log, one step at a time. The work of a real
// agent is left out (processes, files, fsync, WAL): a step takes no time, so what is measured is what the cluster adds. Pure.
import { unreachable } from '../../src/base/assert.ts';
import {
  type Epoch,
  type GroupId,
  type MemberId,
  type NodeId,
  type PeerId,
  type Timeline,
  epoch,
  makeMemberId,
  timeline,
} from '../../src/base/ids.ts';
import { type Lsn, lsn } from '../../src/base/lsn.ts';
import type { Command } from '../../src/cluster/commands.ts';
import type { AgentReport } from '../../src/cluster/report.ts';
import type { ClusterState } from '../../src/cluster/state.ts';
import { type Duty, duties } from '../../src/failover/duties.ts';
import type { ServerRole } from './servers-plan.ts';

export interface NodeModel {
  readonly node: NodeId;
  readonly group: GroupId;
  readonly peer: PeerId;
  readonly host: string;
  readonly port: number;
  /** Undefined: no data directory yet. */
  readonly member: MemberId | undefined;
  readonly server: ServerRole;
  /** Crashed, and not to be started yet. */
  readonly isCrashed: boolean;
  /** Of a standby: whom it streams from. */
  readonly upstream: NodeId | undefined;
  readonly timeline: Timeline;
  readonly position: Lsn;
  readonly fenceEpoch: Epoch;
}

export interface Step {
  readonly model: NodeModel;
  /** What the log still lacks; proposed again until it is there. */
  readonly wanted: readonly Command[];
}

const FIRST_POSITION = lsn(0x1000000n);

export function newNode(place: Pick<NodeModel, 'node' | 'group' | 'peer' | 'host' | 'port'>): NodeModel {
  return {
    ...place,
    member: undefined,
    server: 'down',
    isCrashed: false,
    upstream: undefined,
    timeline: timeline(1),
    position: FIRST_POSITION,
    fenceEpoch: epoch(0),
  };
}

/** One step of the agent; the same model where there is nothing to do. `others`: the other nodes of the group. */
export function stepAgent(before: NodeModel, others: readonly NodeModel[], state: ClusterState): Step {
  const duty = duties(state, before.node);
  if (duty.kind === 'none') {
    const isKnown = state.nodes.has(before.node);
    return { model: before, wanted: isKnown ? [] : [registration(before)] };
  }
  const model = duty.epoch > before.fenceEpoch ? { ...before, fenceEpoch: duty.epoch } : before;
  const idle: Step = { model, wanted: [] };
  if (model.isCrashed) return idle;
  switch (duty.kind) {
    case 'create':
      return create(model, duty);
    case 'follow':
      return follow(model, others, state, duty);
    case 'cut':
      return cut(model, state, duty);
    case 'promote':
      return promote(model, duty);
    case 'primary':
      return lead(model, others, duty);
    case 'hand-over':
    case 'stopped':
    case 'hands-off':
    case 'removed':
      // Nobody asks for any of these here.
      return idle;
    default:
      return unreachable(duty);
  }
}

type DutyOf<K extends Duty['kind']> = Extract<Duty, { readonly kind: K }>;

const systemIdentifier = (group: GroupId): string => `7${group.replaceAll(/\D/g, '')}`;

function registration({ node, group, peer, host, port, member }: NodeModel): Command {
  const identifier = member === undefined ? undefined : systemIdentifier(group);
  const what = { node, group, peer, host, port, member, systemIdentifier: identifier, priority: 100 };
  return { kind: 'register-node', ...what };
}

function create(model: NodeModel, { group, epoch: at }: DutyOf<'create'>): Step {
  const member = model.member ?? makeMemberId(model.node, '00000001');
  const ready: Command = {
    kind: 'group-ready',
    group,
    epoch: at,
    member,
    systemIdentifier: systemIdentifier(group),
    timeline: model.timeline,
  };
  return { model: same(model, { ...model, member, server: 'primary' }), wanted: [ready] };
}

/** Its WAL lies on the history of the new timeline: nothing was written that the standbys lack. */
function follow(
  model: NodeModel,
  others: readonly NodeModel[],
  state: ClusterState,
  { upstream }: DutyOf<'follow'>,
): Step {
  const source = others.find(({ node }) => node === upstream.node);
  const isOpen = source?.server === 'primary' && source.timeline === upstream.timeline;
  const member =
    model.member ?? (isOpen && upstream.isReady ? makeMemberId(model.node, '00000001') : undefined);
  if (member === undefined) return { model, wanted: [] };
  const here = same(model, { ...model, member, server: 'standby' });
  if (state.nodes.get(model.node)?.member !== member) return { model: here, wanted: [registration(here)] };
  const isStreaming = model.server === 'standby' && isOpen;
  const next = isStreaming
    ? { ...here, upstream: source.node, timeline: source.timeline, position: source.position }
    : { ...here, upstream: undefined };
  return { model: same(model, next), wanted: [] };
}

function cut(model: NodeModel, state: ClusterState, duty: DutyOf<'cut'>): Step {
  if (duty.wasPrimary || model.server === 'primary')
    return { model: same(model, { ...model, server: 'down', upstream: undefined }), wanted: [] };
  if (model.member === undefined) return { model, wanted: [] };
  const next = same(model, { ...model, server: 'standby', upstream: undefined });
  const phase = state.groups.get(duty.group)?.phase;
  const { node, member, timeline: on, position } = next;
  const hasReported = phase?.kind === 'fencing' && phase.reports.some((report) => report.node === node);
  if (hasReported || member === undefined) return { model: next, wanted: [] };
  const { group, epoch: at } = duty;
  const where = { node, member, timeline: on, position, stopped: false };
  return { model: next, wanted: [{ kind: 'cut-report', group, epoch: at, ...where }] };
}

function promote(model: NodeModel, duty: DutyOf<'promote'>): Step {
  const { group, epoch: at, from } = duty;
  const isOpen = model.server === 'primary' && model.timeline === duty.timeline;
  const position = isOpen ? model.position : lsn(from.position + 0x100n);
  const next = {
    ...model,
    server: 'primary',
    upstream: undefined,
    timeline: duty.timeline,
    position,
  } as const;
  const promoted: Command = {
    kind: 'promoted',
    group,
    epoch: at,
    node: model.node,
    timeline: duty.timeline,
    switchLsn: from.position,
  };
  return { model: same(model, next), wanted: [promoted] };
}

function lead(model: NodeModel, others: readonly NodeModel[], duty: DutyOf<'primary'>): Step {
  const next = same(model, { ...model, server: 'primary', upstream: undefined, timeline: duty.timeline });
  const { group, epoch: at, next: change, rule, floor } = duty;
  const streaming = streamingFrom(model, others).map(({ member }) => member);
  const holds = ({ members, acks }: typeof rule): boolean =>
    streaming.filter((member) => member !== undefined && members.includes(member)).length >= acks;
  const wanted: Command[] = [];
  if (change !== undefined && holds(change.rule))
    wanted.push({ kind: 'commit-rule', group, epoch: at, change: change.change });
  if (floor !== undefined && holds(rule)) wanted.push({ kind: 'floor-passed', group, epoch: at });
  return { model: next, wanted };
}

function streamingFrom({ node }: NodeModel, others: readonly NodeModel[]): readonly NodeModel[] {
  return others.filter(({ server, upstream }) => server === 'standby' && upstream === node);
}

/** As `before` where nothing differs, so that whoever looks for changes finds none. */
function same(before: NodeModel, after: NodeModel): NodeModel {
  const keys = Object.keys(after) as (keyof NodeModel)[];
  return keys.every((key) => before[key] === after[key]) ? before : after;
}

/** What the agent tells the peers, with all that a real one tells of a healthy node. */
export function reportOf(
  model: NodeModel,
  others: readonly NodeModel[],
  sent: { readonly sequence: number; readonly startedAtMs: number },
): AgentReport {
  const { node, peer, member, server, fenceEpoch } = model;
  const isUp = server !== 'down';
  const source = others.find((other) => other.node === model.upstream);
  const walSenders = server === 'primary' ? streamingFrom(model, others) : [];
  return {
    ...{ node, peer, ...sent, member, fenceEpoch },
    condition: isUp ? server : member === undefined ? 'absent' : 'stopped',
    timeline: isUp ? model.timeline : undefined,
    position: isUp ? model.position : undefined,
    replayLsn: server === 'standby' ? model.position : undefined,
    streamingFrom: source && { host: source.host, port: source.port },
    walSenders: walSenders.map((other) => ({
      applicationName: other.member ?? other.node,
      state: 'streaming',
      syncState: 'quorum',
      flushLsn: other.position,
    })),
    serverVersion: '15.0',
    message: undefined,
    isGuarded: server === 'primary' ? true : undefined,
    upkeep: {
      dataDisk: { freeBytes: 100 * 2 ** 30, totalBytes: 200 * 2 ** 30 },
      walDisk: { freeBytes: 100 * 2 ** 30, totalBytes: 200 * 2 ** 30 },
      slots: { keptBytes: 0, most: undefined },
      archiver: { isOn: false, isFailing: false },
      readyCount: 0,
      pendingRestart: [],
    },
  };
}
