// What a leader sees, to test with: by default every agent is reachable, a is primary, and b and c stream from it.
// Never used outside tests.
import { type NodeId, type Timeline, timeline } from '../../base/ids.ts';
import { lsn } from '../../base/lsn.ts';
import type { AgentReport } from '../../cluster/report.ts';
import { A, B, C, type Log, memberOfNode } from '../../cluster/testing/example.ts';
import type { Command } from '../../cluster/commands.ts';
import { type Memory, decide } from '../decide.ts';
import { DEFAULT_FAILOVER_SETTINGS, type View } from '../view.ts';

export interface Seen {
  readonly condition?: AgentReport['condition'];
  readonly member?: AgentReport['member'];
  readonly ageMs?: number;
  /** Whom the node's walsenders serve. */
  readonly streamsTo?: readonly NodeId[];
  readonly fenceEpoch?: AgentReport['fenceEpoch'];
  readonly position?: bigint;
  readonly streamingFrom?: NodeId;
  readonly message?: string;
  readonly serverVersion?: string;
  readonly restores?: boolean;
  readonly serverStartedAtS?: number;
  readonly follows?: AgentReport['follows'];
  readonly strange?: string;
  readonly found?: AgentReport['found'];
  /** Undefined: 1. */
  readonly timeline?: number;
  readonly isSilentOfPosition?: true;
}

/** A node's own description; undefined: its agent was never heard of. */
export type SeenNodes = { readonly [node: string]: Seen | undefined };

export const ALL_WELL: SeenNodes = {
  a: { condition: 'primary', streamsTo: [B, C] },
  b: { condition: 'standby', streamingFrom: A },
  c: { condition: 'standby', streamingFrom: A },
};
/** Wall time when `nowMs` is 0. */
export const WALL_MS = 1_800_000_000_000;
const ON: Timeline = timeline(1);

export function viewOf(log: Log, nowMs: number, seen: SeenNodes = ALL_WELL): View {
  const reports = new Map<NodeId, { report: AgentReport; receivedAtMs: number }>();
  for (const node of [A, B, C]) {
    const found = seen[node];
    if (found !== undefined)
      reports.set(node, { report: reportOf(log, node, found), receivedAtMs: nowMs - (found.ageMs ?? 0) });
  }
  return { nowMs, wallMs: WALL_MS + nowMs, reports, settings: DEFAULT_FAILOVER_SETTINGS };
}

export function reportOf(log: Log, node: NodeId, seen: Seen): AgentReport {
  return {
    node,
    peer: log.state.nodes.get(node)?.peer ?? ('p1' as AgentReport['peer']),
    sequence: 1,
    startedAtMs: 0,
    member: seen.member ?? memberOfNode(node),
    condition: seen.condition ?? 'standby',
    fenceEpoch:
      seen.fenceEpoch ?? log.state.groups.values().next().value?.epoch ?? (0 as AgentReport['fenceEpoch']),
    timeline: seen.timeline === undefined ? ON : timeline(seen.timeline),
    position: seen.isSilentOfPosition === true ? undefined : lsn(seen.position ?? 100n),
    replayLsn: undefined,
    streamingFrom: seen.streamingFrom === undefined ? undefined : { host: seen.streamingFrom, port: 5432 },
    walSenders: (seen.streamsTo ?? []).map((to) => ({
      applicationName: memberOfNode(to),
      state: 'streaming',
      syncState: 'quorum',
      flushLsn: lsn(100n),
    })),
    serverVersion: seen.serverVersion,
    message: seen.message,
    restores: seen.restores,
    serverStartedAtS: seen.serverStartedAtS,
    ...(seen.follows === undefined ? {} : { follows: seen.follows }),
    ...(seen.strange === undefined ? {} : { strange: seen.strange }),
    ...(seen.found === undefined ? {} : { found: seen.found }),
  };
}

/** A leader that looks at one log, round after round. */
export function leaderOf(log: Log, seen: SeenNodes = ALL_WELL) {
  let memory: Memory = new Map();
  return {
    /** What it proposes `nowMs` after it began. */
    at(nowMs: number, now: SeenNodes = seen): readonly Command[] {
      const decision = decide(log.state, viewOf(log, nowMs, now), memory);
      memory = decision.memory;
      return decision.commands;
    },
    /** Another peer is elected. */
    change(): void {
      memory = new Map();
    },
  };
}
