// Agent reports to their wire form and back (proto/pg_sentinel/v1/report.proto).
// Must never fail on a word of a later version where a general one will do.
import { create } from '@bufbuild/protobuf';
import { epoch, groupId, memberId, nodeId, peerId, timeline } from '../base/ids.ts';
import { type Lsn, lsn } from '../base/lsn.ts';
import type { AgentReport, FoundServer, NodeCondition, Upkeep } from '../cluster/report.ts';
import * as pb from '../gen/pg_sentinel/v1/report_pb.ts';
import { decodeUpkeep, encodeUpkeep } from './upkeep-codec.ts';

export function encodeReport(report: AgentReport): pb.AgentReport {
  return create(pb.AgentReportSchema, {
    ...report,
    sequence: BigInt(report.sequence),
    startedAtMs: BigInt(Math.trunc(report.startedAtMs)),
    fenceEpoch: BigInt(report.fenceEpoch),
    walSenders: [...report.walSenders],
    refusedProbes: [...(report.refusedProbes ?? [])],
    upkeep: report.upkeep && encodeUpkeep(report.upkeep),
    ...encodeParameters(report),
    found: report.found && encodeFound(report.found),
    logicalSlots: (report.logicalSlots ?? []).map(({ name, isReady, note = '', isAbsent = false }) => ({
      ...{ name, isReady, note, isAbsent },
    })),
    serverStartedAtS: report.serverStartedAtS === undefined ? undefined : BigInt(report.serverStartedAtS),
  });
}

function encodeParameters({ parameters }: AgentReport) {
  if (parameters === undefined) return { parameters: undefined };
  const { pendingRestart, overridden, limits, hbaProblem } = parameters;
  return {
    parameters: {
      ...(hbaProblem === undefined ? {} : { hbaProblem }),
      pendingRestart: [...pendingRestart],
      overridden: [...overridden],
      limits: Object.fromEntries(limits),
    },
  };
}

function decodeParameters(parameters: pb.ParameterReport | undefined): Pick<AgentReport, 'parameters'> {
  if (parameters === undefined) return {};
  const { pendingRestart, overridden, limits, hbaProblem } = parameters;
  return {
    parameters: {
      ...{ pendingRestart, overridden, limits: new Map(Object.entries(limits)) },
      ...(hbaProblem === undefined ? {} : { hbaProblem }),
    },
  };
}

function encodeFound(found: FoundServer) {
  const { kept, replaced, hba, notices, problems } = found;
  const lists = {
    kept: [...kept],
    replaced: [...replaced],
    hba: [...hba],
    notices: [...notices],
    problems: [...problems],
  };
  return { ...found, ...lists };
}

function decodeFound(found: pb.FoundServer): FoundServer {
  const { version, freeSlots, upstream, kept, replaced, hba, notices, problems } = found;
  return {
    role: found.role === 'primary' ? 'primary' : 'standby',
    version,
    timeline: timeline(found.timeline),
    upstream: upstream && { host: upstream.host, port: upstream.port },
    freeSlots,
    ...{ kept, replaced, hba, notices, problems },
  };
}

function decodeLogicalSlots(slots: readonly pb.LogicalSlotReport[]): Pick<AgentReport, 'logicalSlots'> {
  if (slots.length === 0) return {};
  return {
    logicalSlots: slots.map(({ name, isReady, note, isAbsent }) => ({
      ...{ name, isReady },
      note: note === '' ? undefined : note,
      ...(isAbsent ? { isAbsent } : {}),
    })),
  };
}

function foundBytes(found: FoundServer | undefined): number {
  if (found === undefined) return 0;
  const { kept, replaced, hba, notices, problems } = found;
  const texts = [...kept, ...replaced, ...hba, ...notices, ...problems];
  return texts.reduce((sum, text) => sum + text.length * 3 + 8, 256);
}

/** About as many bytes as the encoded report has, and never fewer. */
export function reportBytes(report: AgentReport): number {
  const text = (value: string | undefined): number => (value?.length ?? 0) * 3 + 8;
  const { pendingRestart = [], overridden = [] } = report.parameters ?? {};
  const names = [...pendingRestart, ...overridden];
  return report.walSenders.reduce(
    (sum, sender) => sum + text(sender.applicationName) + text(sender.state) + text(sender.syncState) + 16,
    512 +
      names.reduce((sum, name) => sum + text(name), 0) +
      text(report.streamingFrom?.host) +
      text(report.serverVersion) +
      text(report.message) +
      text(report.follows) +
      text(report.strange) +
      (report.refusedProbes ?? []).reduce((sum, { node, why }) => sum + text(node) + text(why) + 8, 0) +
      text(report.parameters?.hbaProblem) +
      (report.logicalSlots ?? []).reduce((sum, { name, note }) => sum + text(name) + text(note) + 16, 0) +
      upkeepBytes(report.upkeep) +
      foundBytes(report.found),
  );
}

function upkeepBytes(upkeep: Upkeep | undefined): number {
  const { most, unreserved = [], lost = [], leftLogical = [] } = upkeep?.slots ?? {};
  const names = [most, ...unreserved, ...lost, ...leftLogical, ...(upkeep?.pendingRestart ?? [])];
  return names.reduce((sum, name) => sum + (name?.length ?? 0) * 3 + 8, 128);
}

/** Throws {@link InvariantError} where a name or number is damaged. */
export function decodeReport(report: pb.AgentReport): AgentReport {
  const { streamingFrom } = report;
  return {
    node: nodeId(report.node),
    peer: peerId(report.peer),
    sequence: Number(report.sequence),
    startedAtMs: Number(report.startedAtMs),
    member: report.member === undefined ? undefined : memberId(report.member),
    condition: decodeCondition(report.condition),
    fenceEpoch: epoch(Number(report.fenceEpoch)),
    timeline: report.timeline === undefined ? undefined : timeline(report.timeline),
    position: optionalLsn(report.position),
    replayLsn: optionalLsn(report.replayLsn),
    streamingFrom:
      streamingFrom === undefined ? undefined : { host: streamingFrom.host, port: streamingFrom.port },
    walSenders: report.walSenders.map((sender) => ({
      applicationName: sender.applicationName,
      state: sender.state,
      syncState: sender.syncState,
      flushLsn: optionalLsn(sender.flushLsn),
    })),
    serverVersion: report.serverVersion,
    message: report.message,
    isGuarded: report.isGuarded,
    upkeep: report.upkeep && decodeUpkeep(report.upkeep),
    ...decodeParameters(report.parameters),
    ...(report.found === undefined ? {} : { found: decodeFound(report.found) }),
    ...decodeLogicalSlots(report.logicalSlots),
    ...(report.restores === undefined ? {} : { restores: report.restores }),
    ...(report.serverStartedAtS === undefined ? {} : { serverStartedAtS: Number(report.serverStartedAtS) }),
    ...(report.sourceEnd === undefined ? {} : { sourceEnd: lsn(report.sourceEnd) }),
    ...(report.follows === undefined ? {} : { follows: groupId(report.follows) }),
    ...(report.strange === undefined ? {} : { strange: report.strange }),
    ...(report.refusedProbes.length === 0
      ? {}
      : { refusedProbes: report.refusedProbes.map(({ node, why }) => ({ node: nodeId(node), why })) }),
  };
}

const CONDITIONS: Record<NodeCondition, true> = {
  absent: true,
  stopped: true,
  starting: true,
  standby: true,
  primary: true,
  stopping: true,
  cloning: true,
  rewinding: true,
  failed: true,
};

/** A condition of a later version: nothing may be built on it, as on a node that failed. */
function decodeCondition(text: string): NodeCondition {
  return Object.hasOwn(CONDITIONS, text) ? (text as NodeCondition) : 'failed';
}

function optionalLsn(value: bigint | undefined): Lsn | undefined {
  return value === undefined ? undefined : lsn(value);
}
