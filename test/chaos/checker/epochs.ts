// No two nodes acknowledge in overlapping epochs: each timeline is one node's, and once a client has an acknowledgement of a
// timeline, nothing that begins afterwards is acknowledged on an earlier one. Pure.
import type { Operation } from './operation.ts';

/** A sentence for each violation. */
export function epochViolations(operations: readonly Operation[]): string[] {
  const acked = operations.filter(({ outcome }) => outcome === 'acked');
  const violations: string[] = [];
  const owners = new Map<number, string>();
  for (const { id, node, timeline } of acked) {
    if (timeline === undefined) {
      violations.push(`${id} was acknowledged by ${node} without a timeline`);
      continue;
    }
    const owner = owners.get(timeline);
    if (owner === undefined) owners.set(timeline, node);
    else if (owner !== node)
      violations.push(`timeline ${timeline} is acknowledged on by ${owner} and by ${node} (${id})`);
  }
  const byEnd = acked.toSorted((a, b) => a.endMs - b.endMs);
  const byStart = acked.toSorted((a, b) => a.startMs - b.startMs);
  let highest: Operation | undefined;
  let ended = 0;
  for (const operation of byStart) {
    for (let next = byEnd[ended]; next !== undefined && next.endMs < operation.startMs; next = byEnd[++ended])
      if ((next.timeline ?? 0) > (highest?.timeline ?? 0)) highest = next;
    if (highest !== undefined && (operation.timeline ?? 0) < (highest.timeline ?? 0))
      violations.push(
        `${operation.id} was begun and acknowledged by ${operation.node} on timeline ${operation.timeline} after ${highest.node} had acknowledged ${highest.id} on ${highest.timeline}`,
      );
  }
  return violations;
}

/** The nodes that acknowledged, in the order of their timelines. */
export function primariesOf(operations: readonly Operation[]): string[] {
  const owners = new Map<number, string>();
  for (const { outcome, node, timeline } of operations)
    if (outcome === 'acked' && timeline !== undefined) owners.set(timeline, node);
  return [...owners].toSorted(([a], [b]) => a - b).map(([, node]) => node);
}
