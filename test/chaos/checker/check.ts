// The whole verdict on a history: a sentence for each promise that was broken, none where all is well. Pure.
import { checkHistory, largestGap } from '../../../harness/history.ts';
import { epochViolations, primariesOf } from './epochs.ts';
import type { Operation } from './operation.ts';
import { registerViolations } from './register.ts';

export interface Findings {
  /** Every id on the last primary, as often as it is there. */
  readonly ids: readonly string[];
  /** What each register held at first and holds now. */
  readonly registers: readonly { readonly key: string; readonly initial: string; readonly final: string }[];
}

export interface ChaosVerdict {
  readonly acked: number;
  readonly unknown: number;
  readonly failed: number;
  readonly lateReplies: number;
  /** Acknowledged and not there. */
  readonly lost: number;
  /** There twice, or acknowledged by a node whose turn was over. */
  readonly double: number;
  /** The longest time between two acknowledgements that followed each other, whoever got them. */
  readonly longestOutageMs: number;
  /** The nodes that acknowledged, in the order of their epochs. */
  readonly primaries: readonly string[];
  readonly violations: readonly string[];
}

const SHOWN_MAX = 20;

export function judge(operations: readonly Operation[], findings: Findings): ChaosVerdict {
  const primaries = primariesOf(operations);
  const history = checkHistory({ attempts: operations, readBack: findings.ids, primaries });
  const overlaps = epochViolations(operations);
  const violations = [
    ...history.lost.map(({ id, node }) => `lost: ${id}, acknowledged by ${node}`),
    ...history.duplicates.map((id) => `there twice: ${id}`),
    ...history.doubles.map(({ id, node }) => `acknowledged by ${node} after its turn: ${id}`),
    ...overlaps,
    ...findings.registers.flatMap((register) => registerViolations({ ...register, operations })),
  ];
  const more = violations.length - SHOWN_MAX;
  return {
    acked: history.acked,
    unknown: history.unknown,
    failed: history.failed,
    lateReplies: history.lateReplies.length,
    lost: history.lost.length,
    double: history.duplicates.length + history.doubles.length + overlaps.length,
    longestOutageMs: largestGap(operations, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY)?.ms ?? 0,
    primaries,
    violations: more > 0 ? [...violations.slice(0, SHOWN_MAX), `and ${more} more`] : violations,
  };
}
