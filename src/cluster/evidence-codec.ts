// The words for evidence in the log and in snapshots.
import type { Evidence } from './commands.ts';
import { LogFormatError, NEWER } from './log-format.ts';

const EVIDENCE: Record<Evidence, true> = {
  'processes-gone': true,
  refused: true,
  'no-answer': true,
  'write-failing': true,
  'in-recovery': true,
};

export function decodeEvidence(text: string): Evidence {
  if (Object.hasOwn(EVIDENCE, text)) return text as Evidence;
  throw new LogFormatError(`evidence "${text}" is not known here: ${NEWER}`);
}
