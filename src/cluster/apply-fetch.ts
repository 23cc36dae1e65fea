// Fetching WAL before a promotion: a standby that is to be promoted takes what it lacks from another one that holds more. Both have cut
// their streams at this epoch. Must never let WAL come from the former primary, nor take a node for better than it has reported since.
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup } from './applied.ts';
import { type Fencing, candidateRefusal, comparePositions } from './candidate.ts';
import type { CutReport } from './commands.ts';
import { isLastChoice } from './eligibility.ts';
import { CASCADE_FEATURE_LEVEL } from './features.ts';
import { type ClusterState, type GroupState, type WalFetch, hasUnknownRule } from './state.ts';

/** The fetch that is under way, if any: there is one at a time. */
export function runningFetch({ fetches = [] }: Pick<Fencing, 'fetches'>): WalFetch | undefined {
  return fetches.find(({ isOver, failed }) => !isOver && failed === undefined);
}

export function applyFetchWal(state: ClusterState, command: CommandOf<'fetch-wal'>): Applied {
  if (state.featureLevel < CASCADE_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const { phase } = group;
  if (phase.kind !== 'fencing') return refuse(`group ${group.id} is ${phase.kind}, not fencing`);
  const [report, source] = [command.node, command.from].map((node) =>
    phase.reports.find((each) => each.node === node),
  );
  if (report === undefined) return refuse(`${command.node} has not reported at epoch ${group.epoch}`);
  if (source === undefined) return refuse(`${command.from} has not reported at epoch ${group.epoch}`);
  const refusal = fetchRefusal(state, group, phase, report, source);
  if (refusal !== undefined) return refuse(refusal);
  const upTo = { timeline: source.timeline, position: source.position };
  const preference = command.preference === undefined ? {} : { preference: command.preference };
  const fetch = {
    node: report.node,
    from: source.node,
    upTo,
    isOver: false,
    failed: undefined,
    ...preference,
  };
  // mark: fetch-begun
  return withGroup(state, { ...group, phase: { ...phase, fetches: [...(phase.fetches ?? []), fetch] } });
}

/**
 * Why the node of `report` must not, or need not, fetch from that of `source`; undefined where it may. Used by the leader too. Only where
 * the promotion is safe once it stands where the source does.
 */
export function fetchRefusal(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  report: CutReport,
  source: CutReport,
): string | undefined {
  if (hasUnknownRule(group) || group.rule.leased === true || group.next?.rule.leased === true)
    return `group ${group.id} has no sync rule that says what a candidate must hold`;
  const replaced = [report, source].find(({ node, member }) => state.nodes.get(node)?.member !== member);
  if (replaced !== undefined)
    return `${replaced.node} has another data directory than the one it reported of`;
  const { kind } = phase.cause;
  if (kind !== 'down' && kind !== 'promotion-failed' && kind !== 'followed')
    return `nobody fetches WAL in a ${kind} failover`;
  const { fetches = [] } = phase;
  if (runningFetch(phase) !== undefined) return 'another fetch is under way';
  if (fetches.some(({ node }) => node === report.node))
    return `${report.node} has fetched at this epoch already`;
  if (fetches.some(({ node, isOver }) => node === source.node && !isOver))
    return `${source.node} has not reported since it fetched WAL itself`;
  // What it is asked for may go on growing, and its clients may be told of it. A site leader was none.
  if (kind !== 'followed' && [report.node, source.node].includes(phase.primary)) {
    // mark: fetch-from-former-primary
    return `${phase.primary} is the former primary`;
  }
  if (report.stopped || source.stopped) return 'one of the two is stopped';
  if (report.timeline !== source.timeline || comparePositions(source, report) <= 0)
    return `${source.node} is not ahead of ${report.node} on its timeline`;
  const lifted = { ...report, position: source.position };
  const reports = phase.reports.map((each) => (each.node === report.node ? lifted : each));
  const refusal = candidateRefusal(state, group, { ...phase, reports }, lifted);
  if (refusal !== undefined) return refusal;
  return isLastChoice(state, group, lifted) ? `${report.node} is itself the last choice` : undefined;
}

export function applyFetchFailed(state: ClusterState, command: CommandOf<'fetch-failed'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const { phase } = group;
  const running = phase.kind === 'fencing' ? runningFetch(phase) : undefined;
  if (phase.kind !== 'fencing' || running?.node !== command.node)
    return refuse(`${command.node} is not fetching WAL`);
  const fetches = phase.fetches?.map((each) =>
    each === running ? { ...running, failed: command.reason } : each,
  );
  // mark: fetch-failed
  return withGroup(state, { ...group, phase: { ...phase, fetches: fetches ?? [] } });
}

/**
 * The node has reported: after its fetch, where it stands now. One from before its fetch may still come in, when that has begun or has been
 * given up; it says nothing of where the node stands meanwhile.
 */
export function fetchesAfter(
  { fetches }: Pick<Fencing, 'fetches'>,
  report: CutReport,
  afterFetch: boolean,
): Pick<Fencing, 'fetches'> {
  if (fetches === undefined) return {};
  const settled = (fetch: WalFetch): WalFetch => {
    if (fetch.node !== report.node || fetch.isOver || !afterFetch) return fetch;
    const hasAll = report.timeline === fetch.upTo.timeline && report.position >= fetch.upTo.position;
    if (!hasAll && fetch.failed === undefined) return fetch;
    if (hasAll) {
      // mark: fetch-done
    }
    return { ...fetch, isOver: true };
  };
  return { fetches: fetches.map(settled) };
}
