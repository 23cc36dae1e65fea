// The agents' live reports: the latest of each node, as far as it is its own peer's. Tells news (a change of condition, role or
// walsenders) from mere progress, so that an idle cluster neither decides nor sends more often than it has to.
import type { Clock } from '../base/clock.ts';
import type { NodeId, PeerId } from '../base/ids.ts';
import type { AgentReport } from '../cluster/report.ts';
import type { ReceivedReport } from './leader.ts';

/** A run of an agent that was silent for so long is over. */
const RUN_SILENT_MS = 1000;
/** Without news; well within the time that a report counts as fresh (failover/view.ts), so that one may be lost. */
const BROADCAST_EVERY_MS = 450;

export interface Reports {
  /** The latest of each node. */
  readonly latest: ReadonlyMap<NodeId, ReceivedReport>;
  /** Of peers whose node has the name of another peer's: for people only. */
  readonly disowned: ReadonlyMap<PeerId, ReceivedReport>;
  /** Keeps the report unless a later one is there. */
  take(report: AgentReport): 'news' | 'progress' | 'dropped';
  /** Whether the other peers are to be sent this report of our own agent now. */
  mustBroadcast(report: AgentReport): boolean;
}

export function createReports(options: {
  readonly clock: Clock;
  /** The peer that registered the node, or did before it was removed. */
  readonly ownerOf: (node: NodeId) => PeerId | undefined;
}): Reports {
  const { clock } = options;
  const latest = new Map<NodeId, ReceivedReport>();
  const essences = new Map<NodeId, string>();
  const disowned = new Map<PeerId, ReceivedReport>();
  let sent: { readonly essence: string; readonly atMs: number } | undefined;

  /** Reports of one agent may overtake each other; one of another run counts once the earlier run has fallen silent. */
  const isOlder = (report: AgentReport, known: ReceivedReport): boolean => {
    if (report.startedAtMs === known.report.startedAtMs) return report.sequence < known.report.sequence;
    return (
      clock.monotonicMs() - known.receivedAtMs < RUN_SILENT_MS &&
      report.startedAtMs < known.report.startedAtMs
    );
  };

  return {
    latest,
    disowned,
    take(report) {
      const received: ReceivedReport = { report, receivedAtMs: clock.monotonicMs() };
      const owner = options.ownerOf(report.node);
      if (owner !== undefined && owner !== report.peer) {
        disowned.set(report.peer, received);
        return 'dropped';
      }
      const known = latest.get(report.node);
      if (known !== undefined && isOlder(report, known)) return 'dropped';
      const essence = essenceOf(report);
      const isNews = essences.get(report.node) !== essence;
      latest.set(report.node, received);
      essences.set(report.node, essence);
      return isNews ? 'news' : 'progress';
    },
    mustBroadcast(report) {
      const nowMs = clock.monotonicMs();
      const essence = essenceOf(report);
      if (sent !== undefined && sent.essence === essence && nowMs - sent.atMs < BROADCAST_EVERY_MS)
        return false;
      sent = { essence, atMs: nowMs };
      return true;
    },
  };
}

/** Everything that a decision may depend on; positions in the WAL, which move all the time, are for people. */
function essenceOf(report: AgentReport): string {
  const { condition, member, fenceEpoch, timeline, streamingFrom, startedAtMs, message } = report;
  const senders = report.walSenders.map(({ applicationName, state, syncState }) => [
    applicationName,
    state,
    syncState,
  ]);
  return JSON.stringify([
    condition,
    member,
    fenceEpoch,
    timeline,
    streamingFrom?.host,
    streamingFrom?.port,
    startedAtMs,
    message,
    senders,
  ]);
}
