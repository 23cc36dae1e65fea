// The agent of a host: one loop of passes that compares the duty of the log with the local PostgreSQL and does what is missing, a
// step at a time, so that anything may happen in between (src/actions/agent.ts is what it stands for).
// Must never act on anything but the log's duty, nor on one below its fence file, nor before the log was read through a leader.
import { epoch as toEpoch, timeline } from '../../../src/base/ids.ts';
import { lsn } from '../../../src/base/lsn.ts';
import type { AgentReport } from '../../../src/cluster/report.ts';
import { duties } from '../../../src/failover/duties.ts';
import { agentStarted, checkActed, checkFence } from '../checks/group-checks.ts';
import { startRead } from '../cluster/reads.ts';
import { note } from '../describe.ts';
import { EVENT, type Host, type World, after } from '../world.ts';
import { foundServer } from './adoption.ts';
import { carryOut } from './duty-steps.ts';
import { type Agent, type Pass, localMember, register } from './pass.ts';
import { restartAsScheduled } from './person-steps.ts';
import { GROUP, type Postgres, describeNode, hasPriority } from './postgres.ts';
import { timelineOf } from '../../../src/failover/testing/wal.ts';

const REPORT_EVERY_US = 90_000;

export function createAgent(world: World, host: Host): Agent {
  const agent: Agent = {
    isCaughtUp: false,
    catchUp: undefined,
    confirmation: undefined,
    stoppedAtUs: -1,
    goneSinceUs: -1,
    hasSeenPrimary: false,
    registerAgainUs: 0,
    cutAt: undefined,
    fetching: undefined,
    change: undefined,
    proposing: new Set(),
    passNumber: 0,
    nextPassUs: 0,
    reportedAtUs: -REPORT_EVERY_US,
    seenGroup: undefined,
    seenNode: undefined,
  };
  if (host.postgres !== undefined) agentStarted(world, host.postgres);
  schedulePass(world, host, agent, 1000 + world.random.below(10_000));
  return agent;
}

function schedulePass(world: World, host: Host, agent: Agent, delayUs: number): void {
  agent.passNumber += 1;
  agent.nextPassUs = world.timeline.nowUs + delayUs;
  after(world, delayUs, { kind: EVENT.agent, host: host.place, boot: host.boot, ref: agent.passNumber });
}

/** The log has moved on: a new duty is looked at soon. */
export function dutyMayHaveChanged(world: World, host: Host): void {
  const { agent, replica, postgres } = host;
  if (agent === undefined || replica === undefined || postgres === undefined) return;
  const group = replica.state.groups.get(GROUP);
  const node = replica.state.nodes.get(postgres.name);
  if (group === agent.seenGroup && node === agent.seenNode && agent.isCaughtUp) return;
  agent.seenGroup = group;
  agent.seenNode = node;
  if (agent.nextPassUs - world.timeline.nowUs > 1500)
    schedulePass(world, host, agent, 200 + world.random.below(1200));
}

export function onAgent(world: World, host: Host, passNumber: number): void {
  const { agent, postgres: node, replica } = host;
  if (agent === undefined || node === undefined || replica === undefined || passNumber !== agent.passNumber)
    return;
  const { nowUs } = world.timeline;
  if (host.pausedUntilUs > nowUs) {
    schedulePass(world, host, agent, host.pausedUntilUs - nowUs + world.random.below(5000));
    return;
  }
  const before = world.trace.lines === undefined ? '' : describeNode(node);
  const isBusy = stepAgent({ world, host, agent, node, state: replica.state });
  if (world.trace.lines !== undefined && describeNode(node) !== before)
    note(world, host, () => describeNode(node));
  if (nowUs - agent.reportedAtUs >= REPORT_EVERY_US || isBusy) sendReport(world, host, node, agent);
  const { agentPassUs } = world.profile;
  const delayUs = isBusy ? 500 + world.random.below(4000) : agentPassUs + world.random.below(agentPassUs);
  if (host.agent === agent) schedulePass(world, host, agent, delayUs);
}

/** One step; true where the next one should follow soon. */
function stepAgent(pass: Pass): boolean {
  const { agent, node, state, world, host } = pass;
  if (!isCaughtUp(pass)) return false;
  const duty = duties(state, node.name);
  if (duty.kind === 'none') {
    if (state.nodes.get(node.name) === undefined && duty.isRemoved !== true) register(pass);
    return false;
  }
  const fence = node.fence;
  if (
    duty.incarnation < fence.incarnation ||
    (duty.incarnation === fence.incarnation && duty.epoch < fence.epoch)
  )
    return false;
  if (duty.incarnation !== fence.incarnation || duty.epoch !== fence.epoch) {
    const raised = { incarnation: duty.incarnation, epoch: duty.epoch };
    checkFence(node, raised);
    node.fence = raised;
    agent.confirmation = undefined;
    note(world, host, () => `fence ${duty.incarnation}/${duty.epoch}: ${duty.kind}`);
    return true;
  }
  const isKnown = state.nodes.get(node.name)?.member === localMember(node);
  if (!isKnown) register(pass);
  checkActed(world, node, duty);
  if (restartAsScheduled(pass, duty)) return true;
  return carryOut(pass, duty);
}

/** Before the log was read through a leader, nobody knows what of it is past. */
function isCaughtUp({ world, host, agent }: Pass): boolean {
  if (agent.isCaughtUp) return true;
  if (agent.catchUp === undefined || agent.catchUp.state === 'refused')
    agent.catchUp = startRead(world, host, undefined);
  else if (agent.catchUp.state === 'ready') agent.isCaughtUp = true;
  return agent.isCaughtUp;
}

const streamingFrom = ({ receiver }: Postgres): AgentReport['streamingFrom'] =>
  receiver === undefined || receiver.sender === 0 ? undefined : { host: receiver.upstream, port: 5432 };

/** Live figures for whoever leads, beside the log. */
function sendReport(world: World, host: Host, node: Postgres, agent: Agent): void {
  const leader = host.raft?.leader;
  const target = leader === undefined ? undefined : world.hostOf.get(leader);
  agent.reportedAtUs = world.timeline.nowUs;
  if (target === undefined) return;
  const state = host.replica?.state;
  const report: AgentReport = {
    node: node.name,
    peer: node.peer,
    sequence: world.timeline.count,
    startedAtMs: host.boot,
    member: localMember(node),
    condition: !node.isFit ? 'absent' : !node.isUp ? 'stopped' : node.role,
    fenceEpoch: toEpoch(node.fence.epoch),
    timeline: timeline(timelineOf(node.wal)),
    position: lsn(BigInt(node.wal.length)),
    replayLsn: undefined,
    streamingFrom: streamingFrom(node),
    walSenders: node.senders.map((sender) => ({
      applicationName: sender.member,
      state: 'streaming',
      syncState: hasPriority(sender) ? 'quorum' : 'async',
      flushLsn: lsn(BigInt(sender.flush)),
    })),
    serverVersion: undefined,
    message: undefined,
    found: state?.groups.has(GROUP) === true ? undefined : foundServer(node),
    serverStartedAtS: node.isUp ? node.startCount : undefined,
  };
  const delayUs = target === host ? 50 : 100 + world.random.below(world.network.delayUsMax);
  after(world, delayUs, {
    kind: EVENT.report,
    host: target.place,
    boot: target.boot,
    ref: { from: host.place, report },
  });
}
