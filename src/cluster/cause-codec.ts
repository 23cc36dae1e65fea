// Why a group fails over, on the wire: in the log and in snapshots.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { unreachable } from '../base/assert.ts';
import { nodeId } from '../base/ids.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type { FailoverCause } from './commands.ts';
import { unknownPart } from './log-format.ts';

type CauseInit = NonNullable<MessageInitShape<typeof pb.BeginFailoverSchema>['cause']>;

export function encodeCause(cause: FailoverCause): CauseInit {
  switch (cause.kind) {
    case 'down':
      return { case: 'down', value: {} };
    case 'planned':
      return { case: 'planned', value: { to: cause.to } };
    case 'promotion-failed':
      return { case: 'promotionFailed', value: {} };
    case 'forced':
      return { case: 'forced', value: { to: cause.to } };
    default:
      return unreachable(cause);
  }
}

export function decodeCause(message: pb.BeginFailover): FailoverCause {
  const { case: kind, value } = message.cause;
  switch (kind) {
    case 'down':
      return { kind: 'down' };
    case 'planned':
      return { kind: 'planned', to: value.to === undefined ? undefined : nodeId(value.to) };
    case 'promotionFailed':
      return { kind: 'promotion-failed' };
    case 'forced':
      return { kind, to: value.to === undefined ? undefined : nodeId(value.to) };
    case undefined:
      throw unknownPart('cause of a failover', message);
    default:
      return unreachable(kind);
  }
}
