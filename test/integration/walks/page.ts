// Reads the commands out of docs/walks.md: what stands after a prompt `pg1#` in a block ```console, with the lines of a here-document
// that follow it.
import { readFileSync } from 'node:fs';

export interface Command {
  /** The host whose prompt it is, or `all`. */
  readonly host: string;
  /** For bash, as it stands in the page. */
  readonly text: string;
  /** 1 for the page's first line. */
  readonly line: number;
}

const PROMPT = /^([a-z]+[0-9]*)# (.*)$/;
const HERE = /<<'?([A-Z]+)'?(?:\s|$)/;

/** The commands below each heading `## TITLE` of the page, by title, in order. Throws for a block that is not of commands alone. */
export function readWalks(path: string): ReadonlyMap<string, readonly Command[]> {
  const walks = new Map<string, Command[]>();
  let title = '';
  let isConsole = false;
  let here: string | undefined;
  for (const [index, line] of readFileSync(path, 'utf8').split('\n').entries()) {
    const commands = walks.get(title) ?? [];
    const last = commands.at(-1);
    if (here !== undefined && last !== undefined) {
      commands[commands.length - 1] = { ...last, text: `${last.text}\n${line}` };
      if (line === here) here = undefined;
    } else if (!isConsole) {
      if (line.startsWith('## ')) walks.set((title = line.slice(3)), []);
      isConsole = line === '```console';
    } else if (line === '```') {
      isConsole = false;
    } else {
      const [, host, text] = PROMPT.exec(line) ?? [];
      if (host === undefined || text === undefined)
        throw new Error(`${path}:${index + 1}: expected a prompt such as "pg1# ", found "${line}"`);
      commands.push({ host, text, line: index + 1 });
      here = HERE.exec(text)?.[1];
    }
  }
  return walks;
}
