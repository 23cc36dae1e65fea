// What must hold, by the names of the project's list of invariants, and how a breach is said. Names only: the checks are
// beside what they look at.

export const PROPERTIES = [
  'ElectionSafety',
  'LeaderAppendOnly',
  'LogMatching',
  'LeaderCompleteness',
  'StateMachineSafety',
  'CommittedIsDurableOnQuorum',
  'TermMonotonic',
  'CommitMonotonic',
  'VoteOncePerTermAcrossCrash',
  'AckedNeverLost',
  'AtMostOneUncommittedConfig',
  'ConfigFromDurableLog',
  'ReadIndexNotStale',
  'ExactlyOncePerSession',
  'FenceTokenMonotonic',
  'NoPromotionWithoutCommittedFailover',
  'AtMostOnePrimaryPerEpoch',
  'AtMostOneAcknowledger',
  'NoAcknowledgedWriteLost',
  'LivenessAfterHeal',
  'BoundedQueues',
  'Linearizability',
] as const;

export type Property = (typeof PROPERTIES)[number];

/** An invariant is broken. */
export class InvariantViolation extends Error {
  override readonly name = 'InvariantViolation';
  readonly property: Property;

  constructor(property: Property, detail: string) {
    super(`${property}: ${detail}`);
    this.property = property;
  }
}

export function violated(property: Property, detail: string): never {
  throw new InvariantViolation(property, detail);
}
