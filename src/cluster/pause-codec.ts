// Pauses of groups and nodes on the wire: in the log and in snapshots.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { nodeId } from '../base/ids.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type { Command } from './commands.ts';

export function encodePause(
  pause: Omit<Extract<Command, { readonly kind: 'pause' }>, 'kind'>,
): MessageInitShape<typeof pb.PauseSchema> {
  const { group, node, isMaintenance: maintenance, untilMs } = pause;
  return { group, node, maintenance, untilMs: untilMs === undefined ? undefined : BigInt(untilMs) };
}

export function decodePause(
  value: pb.Pause,
): Pick<Extract<Command, { readonly kind: 'pause' }>, 'node' | 'isMaintenance' | 'untilMs'> {
  return {
    node: value.node === undefined ? undefined : nodeId(value.node),
    isMaintenance: value.maintenance,
    untilMs: value.untilMs === undefined ? undefined : Number(value.untilMs),
  };
}
