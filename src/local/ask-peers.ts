// What the cluster says before anything is made on this host: the leader is asked, through whichever peer knows it. A peer without a
// leader may have missed all that has happened, so that its word is none.
import { formatEndpoint, parseEndpoint } from '../daemon/config-address.ts';
import { AdminError, connectAdmin } from '../transport/admin-client.ts';
import type { StatusView } from '../transport/types.ts';
import type { LocalHost } from './host.ts';
import { type LocalRequest, refusal } from './request.ts';

export type Answer =
  | { readonly kind: 'answered'; readonly status: StatusView }
  /** `reason`: a sentence without its end. */
  | { readonly kind: 'silent'; readonly reason: string };

/** Throws where another cluster answers. */
export async function askPeers(request: LocalRequest, host: LocalHost): Promise<Answer> {
  const { config } = host;
  const given = request.peers?.length ?? 0;
  const addresses =
    given > 0
      ? (request.peers ?? [])
      : config.peers.map((each) => formatEndpoint(config.via.peers.get(each.peer) ?? each));
  const first = await statusOf(addresses, request);
  if ('reason' in first) return { kind: 'silent', reason: first.reason };
  const { status } = first;
  if (status.cluster !== config.cluster)
    throw refusal(
      `peer ${status.answeredBy} is of cluster ${status.cluster}, ${config.path} says ${config.cluster}`,
    );
  const { leader, answeredBy, peers } = status;
  if (leader === undefined)
    return { kind: 'silent', reason: `peer ${answeredBy} answers, and knows of no Raft leader` };
  if (leader === answeredBy) return { kind: 'answered', status };
  const route = config.via.peers.get(leader as never);
  const address =
    route === undefined ? peers.find(({ peer }) => peer === leader)?.address : formatEndpoint(route);
  if (address === undefined || parseEndpoint(address) === undefined)
    return { kind: 'silent', reason: `peer ${answeredBy} does not say where the Raft leader ${leader} is` };
  const second = await statusOf([address], request);
  if ('reason' in second)
    return { kind: 'silent', reason: `the Raft leader ${leader} cannot be asked: ${second.reason}` };
  if (second.status.leader !== second.status.answeredBy)
    return { kind: 'silent', reason: `the Raft leader has just changed; run this again` };
  return { kind: 'answered', status: second.status };
}

async function statusOf(
  addresses: readonly string[],
  { timeoutMs, signal }: LocalRequest,
): Promise<{ readonly status: StatusView } | { readonly reason: string }> {
  try {
    const admin = await connectAdmin({ addresses, timeoutMs });
    try {
      return { status: await admin.status() };
    } finally {
      admin.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof AdminError) return { reason: error.message };
    throw error;
  }
}
