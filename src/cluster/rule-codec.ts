// The sync rule on the wire, in commands and in snapshots.
import { memberId } from '../base/ids.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type { SyncRule } from './commands.ts';
import { DAMAGED, LogFormatError } from './log-format.ts';

export function encodeRule(rule: SyncRule): { members: string[]; acks: number; leased: boolean } {
  return { members: [...rule.members], acks: rule.acks, leased: rule.leased === true };
}

export function decodeRule(of: string, rule: pb.SyncRule | undefined): SyncRule {
  if (rule === undefined) throw new LogFormatError(`"${of}" carries no rule: ${DAMAGED}`);
  return {
    members: rule.members.map(memberId),
    acks: rule.acks,
    ...(rule.leased ? { leased: true } : {}),
  };
}
