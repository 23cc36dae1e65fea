// A try to pass a proposal on to the leader: `<proposal id>/<number>`. One proposal may be tried often; what is said of a try
// by its answer must not be taken for another, while a copy of the same message must be known as such.

/** `count` must never repeat in the life of this process; the proposal's id never repeats in that of the cluster. */
export function attemptOf(proposalId: string, count: number): string {
  return `${proposalId}/${count}`;
}

export function proposalIdOf(attempt: string): string {
  const end = attempt.lastIndexOf('/');
  return end < 0 ? attempt : attempt.slice(0, end);
}
