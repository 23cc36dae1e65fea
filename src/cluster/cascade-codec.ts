// Cascading standbys and fetches of WAL in a snapshot. Pure.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type * as pb from '../gen/pg_sentinel/v1/snapshot_pb.ts';
import { required } from './log-format.ts';
import type { CascadeState, Floor, WalFetch } from './state.ts';

export function encodeCascade({
  node,
  upstream,
  lostCount,
}: CascadeState): MessageInitShape<typeof pb.SnapshotUpstreamSchema> {
  return { node, lostCount, ...(upstream === undefined ? {} : { upstream }) };
}

export function decodeCascade(message: pb.SnapshotUpstream): CascadeState {
  const { upstream, lostCount } = message;
  return {
    node: nodeId(message.node),
    upstream: upstream === undefined ? undefined : nodeId(upstream),
    lostCount,
  };
}

export function encodeFetch(fetch: WalFetch): MessageInitShape<typeof pb.SnapshotFetchSchema> {
  const { node, from, upTo, isOver, failed, preference = false } = fetch;
  return { node, from, upTo: { ...upTo }, isOver, preference, ...(failed === undefined ? {} : { failed }) };
}

export function decodeFetch(message: pb.SnapshotFetch): WalFetch {
  return {
    node: nodeId(message.node),
    from: nodeId(message.from),
    upTo: decodeStanding(message.upTo),
    isOver: message.isOver,
    failed: message.failed,
    ...(message.preference ? { preference: true } : {}),
  };
}

/** Throws {@link LogFormatError} where there is none. */
export function decodeStanding(message: pb.SnapshotStanding | undefined): Floor['from'] {
  const { timeline: on, position } = required('a position', message);
  return { timeline: timeline(on), position: lsn(position) };
}
