// Judges what the writers saw. Pure. Counts acknowledged writes that are not there (lost), ids that are there twice, and
// acknowledgements by a node after another one had taken over (doubles). An attempt of unknown outcome counts for nothing.
import { isAcked, type Acked, type Attempt } from './attempt.ts';

export interface Verdict {
  readonly acked: number;
  readonly failed: number;
  readonly unknown: number;
  /** Acknowledged, and not among the ids read back at the end. */
  readonly lost: readonly Acked[];
  /** Ids that were read back more than once. */
  readonly duplicates: readonly string[];
  /** Acknowledged by a former primary although the next one had acknowledged before. */
  readonly doubles: readonly Acked[];
  /**
   * Begun while that node was the primary, replicated in time (it was read back), and only its reply came late, as from a
   * host that was frozen between the two. It breaks no promise: counted so that nobody wonders.
   */
  readonly lateReplies: readonly Acked[];
}

export interface HistoryInput {
  readonly attempts: readonly Attempt[];
  /** Every id found on the final primary, duplicates included. */
  readonly readBack: readonly string[];
  /** The primaries in the order of their epochs. Left out: in the order in which they first acknowledged. */
  readonly primaries?: readonly string[];
}

export function checkHistory(input: HistoryInput): Verdict {
  const { attempts, readBack } = input;
  const present = new Set<string>();
  const duplicates = new Set<string>();
  for (const id of readBack) {
    if (present.has(id)) duplicates.add(id);
    present.add(id);
  }
  const acks = attempts.filter(isAcked);
  const { doubles, lateReplies } = afterTakeover(acks, input.primaries ?? firstSeen(acks), present);
  return {
    acked: acks.length,
    failed: attempts.filter(({ outcome }) => outcome === 'failed').length,
    unknown: attempts.filter(({ outcome }) => outcome === 'unknown').length,
    lost: acks.filter(({ id }) => !present.has(id)),
    duplicates: [...duplicates],
    doubles,
    lateReplies,
  };
}

/** Acknowledgements in the order in which clients learned of them. */
function inOrder(acks: readonly Acked[]): Acked[] {
  return acks.toSorted((a, b) => a.endMs - b.endMs);
}

function firstSeen(acks: readonly Acked[]): string[] {
  return [...new Set(inOrder(acks).map(({ node }) => node))];
}

/** Walks along the primaries: an acknowledgement moves on to its node's next turn, or it came from a node whose turn is over. */
function afterTakeover(
  acks: readonly Acked[],
  primaries: readonly string[],
  present: ReadonlySet<string>,
): Pick<Verdict, 'doubles' | 'lateReplies'> {
  const doubles: Acked[] = [];
  const lateReplies: Acked[] = [];
  let turn = -1;
  let takenOverMs = Number.NEGATIVE_INFINITY;
  for (const ack of inOrder(acks)) {
    if (ack.node === primaries[turn]) continue;
    const next = primaries.indexOf(ack.node, turn + 1);
    if (next >= 0) {
      turn = next;
      takenOverMs = ack.endMs;
    } else if (ack.startMs < takenOverMs && present.has(ack.id)) lateReplies.push(ack);
    else doubles.push(ack);
  }
  return { doubles, lateReplies };
}

export interface Gap {
  /** End of the last acknowledgement before, and of the first after. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly ms: number;
  readonly fromNode: string;
  readonly toNode: string;
}

/** The times between one acknowledgement and the next that end within [`fromMs`, `toMs`]. */
function gaps(attempts: readonly Attempt[], fromMs: number, toMs: number): Gap[] {
  const acks = inOrder(attempts.filter(isAcked));
  return acks.flatMap((ack, at) => {
    const before = acks[at - 1];
    if (before === undefined || ack.endMs < fromMs || ack.endMs > toMs) return [];
    const ms = ack.endMs - before.endMs;
    return [{ fromMs: before.endMs, toMs: ack.endMs, ms, fromNode: before.node, toNode: ack.node }];
  });
}

/** The largest gap that ends within [`fromMs`, `toMs`], or undefined where nothing was acknowledged in it. */
export function largestGap(attempts: readonly Attempt[], fromMs: number, toMs: number): Gap | undefined {
  let largest: Gap | undefined;
  for (const gap of gaps(attempts, fromMs, toMs))
    if (largest === undefined || gap.ms > largest.ms) largest = gap;
  return largest;
}

/** How long after the first acknowledgement by the new primary a further stall still belongs to the outage. */
const SETTLING_MS = 2000;

/**
 * The outage that an event at `eventMs` caused a client: the largest gap that ends after the event and at most two seconds
 * after the first acknowledgement by another node than before. Undefined while there is no such acknowledgement.
 */
export function outageOf(attempts: readonly Attempt[], eventMs: number): Gap | undefined {
  const acks = inOrder(attempts.filter(isAcked));
  const before = acks.findLast(({ endMs }) => endMs <= eventMs);
  if (before === undefined) return undefined;
  const first = acks.find(({ endMs, node }) => endMs > eventMs && node !== before.node);
  return first && largestGap(attempts, eventMs, first.endMs + SETTLING_MS);
}
