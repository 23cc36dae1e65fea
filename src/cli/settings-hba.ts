// `hba=` of `sentinelctl settings set`: rules for pg_hba.conf, as text or from a file.
import { readFileSync } from 'node:fs';
import { hbaLinesOf, hbaLinesProblem } from '../cluster/hba-rules.ts';
import { CliError, EXIT } from './exit-codes.ts';

/** The rules of a text: one for each line, comments left out. Throws a {@link CliError} that names line and field of a wrong one. */
export function hbaRulesOf(text: string): string[] {
  const lines = hbaLinesOf(text);
  const problem = hbaLinesProblem(lines);
  if (problem !== undefined) throw new CliError(EXIT.usage, problem);
  return lines;
}

/** `hba=@FILE` with what the file holds; every other word as it is. */
export function withHbaFile(word: string): string {
  const [, path] = /^hba=@(.*)$/s.exec(word) ?? [];
  if (path === undefined) return word;
  try {
    return `hba=${readFileSync(path, 'utf8')}`;
  } catch (error) {
    throw new CliError(
      EXIT.usage,
      `hba: cannot read ${path === '' ? 'a file without a name' : path} (${(error as Error).message}); expected a file of pg_hba.conf lines after the @`,
    );
  }
}
