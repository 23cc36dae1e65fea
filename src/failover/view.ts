// What the leader sees beside the log when it decides: the agents' latest reports, their age, and its settings.
// The view only ever delays or withholds a proposal; what is proposed is checked again by apply against the log.
import type { NodeId } from '../base/ids.ts';
import type { AgentReport } from '../cluster/report.ts';

export interface FailoverSettings {
  /** A report older than this counts as "agent not reachable". */
  readonly reportFreshMs: number;
  /** A standby that has not streamed for so long leaves the sync rule, so that writes go on. */
  readonly syncMemberTimeoutMs: number;
  /** How long the leader waits for further nodes before it creates a group from those registered. */
  readonly creationWaitMs: number;
  /** A planned switchover whose primary has not stopped by then is called off. */
  readonly handOverTimeoutMs: number;
  /** How long the target of a planned switchover may take to report before another node, or the old primary, is chosen. */
  readonly targetTimeoutMs: number;
  /**
   * How long the promotion of a planned switchover waits for standbys that can be reached to report, so that it begins with enough
   * members: one that began alone could be followed by nobody, should the target fail.
   */
  readonly followersWaitMs: number;
  /**
   * How long a primary that was just promoted is given before it can be held for down again: judgements of the node it was
   * before (a crashed primary that is chosen again) stand until it answers the next probe.
   */
  readonly promotionGraceMs: number;
  /** How long a fencing that finds no candidate lasts before a primary that turned out to be well is given its group back. */
  readonly resumeAfterMs: number;
  /**
   * How long an unplanned fencing waits for the agent of a primary that is well, until it gives the group back without a word from there. Well
   * below proof_timeout, after which the guard stops a primary that nobody acknowledges.
   */
  readonly silentAgentMs: number;
  /** How long a standby that is to be promoted may take to fetch what it lacks from another one. */
  readonly fetchTimeoutMs: number;
  /** How long the upstream of a cascading standby has to be well until that streams from it; longer each time after it was lost. */
  readonly upstreamAfterMs: number;
  /** How long the upstream may be lost, or not be streamed from, until the standby is turned to the primary. */
  readonly upstreamLostMs: number;
  /** A member that is not heard, or does not stream, for so long is absent in the log. */
  readonly absentAfterMs: number;
}

export const DEFAULT_FAILOVER_SETTINGS: FailoverSettings = {
  reportFreshMs: 1000,
  syncMemberTimeoutMs: 700,
  creationWaitMs: 30_000,
  handOverTimeoutMs: 60_000,
  targetTimeoutMs: 3000,
  followersWaitMs: 1000,
  promotionGraceMs: 3000,
  resumeAfterMs: 1000,
  silentAgentMs: 10_000,
  fetchTimeoutMs: 8000,
  upstreamAfterMs: 5000,
  upstreamLostMs: 2000,
  absentAfterMs: 10_000,
};

export interface View {
  readonly nowMs: number;
  /** Milliseconds since 1970, for what is scheduled by people. May jump. */
  readonly wallMs: number;
  readonly reports: ReadonlyMap<NodeId, { readonly report: AgentReport; readonly receivedAtMs: number }>;
  readonly settings: FailoverSettings;
}

/** How old the node's latest report is, in milliseconds; undefined where there is none. */
export function reportAgeMs(view: View, node: NodeId): number | undefined {
  const entry = view.reports.get(node);
  return entry && view.nowMs - entry.receivedAtMs;
}

/** The node's report, unless it is too old to count as "its agent can be reached". */
export function freshReport(view: View, node: NodeId): AgentReport | undefined {
  const entry = view.reports.get(node);
  if (entry === undefined || view.nowMs - entry.receivedAtMs > view.settings.reportFreshMs) return undefined;
  return entry.report;
}
