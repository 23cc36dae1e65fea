// Whether a standby streams, for commands that are done only once it does: `sentinelctl node restart` and `follow`. Only looks.
import type { NodeId } from '../base/ids.ts';
import { upstreamOf } from '../cluster/apply-cascade.ts';
import type { AgentReport } from '../cluster/report.ts';
import { isStreaming } from '../failover/rule-plan.ts';
import { freshReport } from '../failover/view.ts';
import { formatEndpoint } from './config-address.ts';
import type { Target } from './node-commands.ts';
import { wait } from './pauses.ts';

/** Sooner than whoever asked gives up. */
const STREAM_TIMEOUT_MS = 30_000;

/** Why it does not stream although it was waited for, as its agent says it; undefined once it does. */
export async function whyNotStreaming(
  { options, node }: Target,
  streams: () => boolean,
): Promise<string | undefined> {
  if (await wait(options, STREAM_TIMEOUT_MS, streams)) return undefined;
  const report = freshReport(options.view(), node.node);
  return `does not stream after ${STREAM_TIMEOUT_MS / 1000} s (${stateText(report)})`;
}

function stateText(report: AgentReport | undefined): string {
  if (report === undefined) return 'its agent does not report';
  const { message, streamingFrom, condition } = report;
  if (message !== undefined) return message;
  if (streamingFrom !== undefined) return `it streams from ${formatEndpoint(streamingFrom)}`;
  return condition === 'standby' ? 'its PostgreSQL runs as a standby' : `it is ${condition}`;
}

/**
 * Whether it streams from whom the log names by now: by what that one serves, for a standby may reach it at another address. Of a site leader
 * only its own word is known.
 */
export function streamsAsTold(target: Target): boolean {
  const { options, node } = target;
  const view = options.view();
  const standby = freshReport(view, node.node);
  if (standby?.streamingFrom === undefined) return false;
  const source = sourceOf(target);
  if (source === node.node) return true;
  const sender = freshReport(view, source);
  const member = options.state().nodes.get(node.node)?.member;
  return sender !== undefined && member !== undefined && isStreaming(sender, standby, member);
}

export function followsText(target: Target): string {
  const { options, node, group } = target;
  const source = sourceOf(target);
  const { phase } = options.state().groups.get(group.id) ?? group;
  if (source === node.node) return `${node.node}, the site leader, streams from the other site`;
  const leading = phase.kind === 'following' ? 'site leader' : 'primary';
  const what = source === phase.primary ? `the ${leading} of group ${group.id}` : 'its upstream';
  return `${node.node} follows ${source}, ${what}`;
}

/** The node that it is to stream from; a site leader is its own, for what it streams from is none. */
function sourceOf({ options, group, node }: Target): NodeId {
  const present = options.state().groups.get(group.id) ?? group;
  return upstreamOf(options.state(), present, node.node)?.node ?? present.phase.primary;
}
