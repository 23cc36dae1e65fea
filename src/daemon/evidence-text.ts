// Why a server is held for down, for people.
import type { Evidence } from '../cluster/commands.ts';

export const EVIDENCE: Record<Evidence, string> = {
  'processes-gone': 'its own agent saw all PostgreSQL processes gone',
  refused: 'connection closed, new ones refused',
  'no-answer': 'no answer',
  'write-failing': 'it answers, but writes fail',
  'in-recovery': 'still in recovery where a primary is expected',
};
