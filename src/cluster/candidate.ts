// Which reports allow whom to be promoted (DESIGN of failover: docs/failover.md, step 3). Used twice: by the leader that
// proposes, and by apply on every peer, which checks the proposal again.
import type { MemberId, NodeId } from '../base/ids.ts';
import type { CutReport, SyncRule } from './commands.ts';
import { reportsSuffice } from './quorum.ts';
import type { Floor, GroupState } from './state.ts';

/** Orders positions in the WAL: by timeline, then by LSN. Positive where `a` is ahead. */
export function comparePositions(
  a: Pick<CutReport, 'timeline' | 'position'>,
  b: Pick<CutReport, 'timeline' | 'position'>,
): number {
  if (a.timeline !== b.timeline) return a.timeline - b.timeline;
  return a.position === b.position ? 0 : a.position > b.position ? 1 : -1;
}

/** A report at or above the floor's switch point holds everything that was acknowledged before that promotion. */
function isAtOrAboveFloor(report: CutReport, floor: Floor): boolean {
  if (report.timeline >= floor.timeline) return true;
  return report.timeline === floor.from.timeline && report.position >= floor.from.position;
}

function respectsFloor(report: CutReport, floor: Floor | undefined, cut: ReadonlySet<MemberId>): boolean {
  if (floor === undefined || isAtOrAboveFloor(report, floor)) return true;
  return reportsSuffice(floor.rule, floor.next, cut) && respectsFloor(report, floor.before, cut);
}

/**
 * Why `candidate` must not be promoted on these reports, or undefined where it may be. A report on a timeline that the log
 * never assigned (somebody promoted that node by hand) proves nothing: its WAL left the group's history at an unknown point.
 */
export function candidateRefusal(
  group: GroupState,
  formerPrimary: NodeId,
  allReports: readonly CutReport[],
  candidate: CutReport,
): string | undefined {
  const assigned = highestAssigned(group);
  if (candidate.timeline > assigned)
    return `${candidate.node} is on timeline ${candidate.timeline}, which the log never assigned`;
  const reports = allReports.filter((report) => report.timeline <= assigned);
  const others = reports.filter((report) => report.node !== formerPrimary);
  const cut = new Set(others.map((report) => report.member));
  if (candidate.node !== formerPrimary && reportsSuffice(group.rule, group.next?.rule, cut)) {
    const ahead = others.find((report) => comparePositions(report, candidate) > 0);
    if (ahead !== undefined) return `${ahead.node} holds more WAL than ${candidate.node}`;
    if (respectsFloor(candidate, group.floor, cut)) return undefined;
    return `${candidate.node} stands below the switch point of the promotion to timeline ${group.floor?.timeline}`;
  }
  const former = reports.find((report) => report.node === formerPrimary);
  if (former === undefined) {
    return `${cut.size} of ${membersToHear(group.rule, group.next?.rule)} members of the sync rule have cut their WAL streams, which is too few without ${formerPrimary}`;
  }
  if (candidate.node === formerPrimary) return undefined;
  if (candidate.timeline === former.timeline && candidate.position >= former.position) return undefined;
  return `${candidate.node} lacks WAL that the former primary ${formerPrimary} holds`;
}

/** The timeline of the latest promotion, finished or not; that of the first primary before any. */
function highestAssigned(group: GroupState): number {
  return group.phase.kind === 'creating' ? 0 : group.phase.timeline;
}

function membersToHear(rule: SyncRule, next: SyncRule | undefined): number {
  return new Set([...rule.members, ...(next?.members ?? [])]).size;
}

/** The members of the rule that a promotion begins with: those of the reports that can follow the candidate directly. */
export function followersAtOnce(
  formerPrimary: NodeId,
  reports: readonly CutReport[],
  candidate: CutReport,
): MemberId[] {
  return reports
    .filter(
      (report) =>
        report.node !== candidate.node &&
        report.node !== formerPrimary &&
        !report.stopped &&
        report.timeline === candidate.timeline &&
        report.position <= candidate.position,
    )
    .map((report) => report.member)
    .sort();
}
