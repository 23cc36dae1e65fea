// What a person should know of the logical slots of a group: whether each is there, and which standbys could go on with it. For `settings get`
// and `status`; nothing is decided by it.
import type { NodeId } from '../base/ids.ts';
import type { AgentReport } from '../cluster/report.ts';
import { type GroupState, type LogicalSlot, type NodeState } from '../cluster/state.ts';

export interface LogicalSlotNotes {
  /** Where it is as it should be; undefined: nowhere. */
  readonly well: string | undefined;
  /** What is wrong with it, or to be waited for. */
  readonly problems: readonly string[];
}

export function logicalSlotNotes(options: {
  readonly slot: LogicalSlot;
  readonly group: GroupState;
  /** All of the group. */
  readonly nodes: readonly NodeState[];
  readonly reportOf: (node: NodeId) => AgentReport | undefined;
}): LogicalSlotNotes {
  const { slot, group, reportOf } = options;
  const { primary } = group.phase;
  const noteOf = (node: NodeId): string | undefined =>
    reportOf(node)?.logicalSlots?.find(({ name }) => name === slot.name)?.note;
  const here = noteOf(primary);
  switch (slot.standing) {
    case 'wanted':
      return {
        well: undefined,
        problems: [`not made on ${primary} yet${here === undefined ? '' : `: ${here}`}`],
      };
    case 'lost':
      return {
        well: undefined,
        problems: [
          `lost: ${slot.reason ?? 'nobody knows why'}; its consumer has to begin anew: unset it, and set it again`,
        ],
      };
    case 'unset':
      return {
        well: undefined,
        problems: [`to be dropped on ${primary}${here === undefined ? '' : `: ${here}`}`],
      };
    case 'made':
      return madeNotes(options, here);
  }
}

function madeNotes(
  { slot, group, nodes, reportOf }: Parameters<typeof logicalSlotNotes>[0],
  here: string | undefined,
): LogicalSlotNotes {
  const { primary } = group.phase;
  const ready: NodeId[] = [];
  const problems = here === undefined ? [] : [`on ${primary}: ${here}`];
  for (const node of nodes) {
    if (node.node === primary || isNeverPromoted(node)) continue;
    const report = reportOf(node.node);
    const found = report?.logicalSlots?.find(({ name }) => name === slot.name);
    if (found?.isReady === true) ready.push(node.node);
    else
      problems.push(
        `it would not survive a failover to ${node.node}: ${found?.note ?? (report === undefined ? 'its agent does not report' : `${node.node} is ${report.condition}`)}`,
      );
  }
  const well = `on ${primary}${ready.length === 0 ? '' : `; a failover to ${ready.join(' or ')} keeps it`}`;
  return { well, problems };
}

const isNeverPromoted = ({ options }: NodeState): boolean =>
  options !== undefined && (options.noFailover || options.applyDelayMs > 0);
