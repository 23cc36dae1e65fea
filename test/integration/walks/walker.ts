// Runs the walks of docs/walks.md on hosts of a test's own, command by command as they stand there, and says which one failed.
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Host } from './hosts.ts';
import { type Command, readWalks } from './page.ts';

const PAGE = join(import.meta.dirname, '../../../docs/walks.md');
const COMMAND_MS = 120_000;
const OUTPUT_MAX = 4000;

const walks = readWalks(PAGE);

export interface Walker {
  /** Runs the commands of a walk, in order; with `before`, only those before the first one that it fits; with `from`, that one and all after it. */
  walk(title: string, part?: { readonly before?: RegExp; readonly from?: RegExp }): Promise<void>;
  hostOf(name: string): Host;
}

/** `byName`: the hosts that there are; `all#` means each of them. */
export function createWalker(byName: ReadonlyMap<string, Host>): Walker {
  async function walk(title: string, { before, from }: Parameters<Walker['walk']>[1] = {}): Promise<void> {
    const all = walks.get(title) ?? expect.fail(`${PAGE} has no walk "${title}"`);
    const indexOf = (pattern: RegExp): number => {
      const index = all.findIndex(({ text }) => pattern.test(text));
      return index > 0 ? index : expect.fail(`${PAGE}: ${title}: ${String(pattern)} fits no command`);
    };
    const end = before === undefined ? all.length : indexOf(before);
    const begin = from === undefined ? 0 : indexOf(from);
    expect(end).toBeGreaterThan(begin);
    for (const command of all.slice(begin, end)) await carryOut(command);
  }

  /** What sentineld and PostgreSQL have logged last on each host, for the message of a failure. */
  async function logs(): Promise<string> {
    const tails = await Promise.all(
      [...byName.values()].map(async (host) => {
        const { output } = await host.run(
          'tail -n 30 /var/lib/sentineld.log; echo --- PostgreSQL; cat /var/lib/pg-sentinel/postgresql/*.log | tail -n 20',
          COMMAND_MS,
        );
        return `--- sentineld on ${host.name}\n${output}`;
      }),
    );
    return tails.join('');
  }

  async function carryOut({ host, text, line }: Command): Promise<void> {
    const there = host === 'all' ? [...byName.values()] : [hostOf(host)];
    await Promise.all(
      there.map(async (each) => {
        const { code, output } = await (copyOf(each, text) ?? each.run(text, COMMAND_MS));
        if (code === 0) return;
        expect.fail(
          `walks.md:${line}, on ${each.name}: exit code ${code} of: ${text}\n${output.slice(-OUTPUT_MAX)}\n${await logs()}`,
        );
      }),
    );
  }

  const hostOf = (name: string): Host => byName.get(name) ?? expect.fail(`there is no host ${name}`);

  /** `scp -p FILES HOST:DIRECTORY/` is done by the test: there is no ssh between its hosts. */
  function copyOf(from: Host, text: string): ReturnType<Host['run']> | undefined {
    const [, files, to, directory] = /^scp -p (\S+) (\w+):(\S+\/)$/.exec(text) ?? [];
    if (files === undefined || to === undefined || directory === undefined) return undefined;
    return (async () => {
      const packed = await from.run(`tar -cPf - --transform 's,.*/,,' ${files}`, COMMAND_MS);
      if (packed.code !== 0) return packed;
      return hostOf(to).run(`tar -C ${directory} -xpf -`, COMMAND_MS, packed.stdout);
    })();
  }

  return { walk, hostOf };
}
