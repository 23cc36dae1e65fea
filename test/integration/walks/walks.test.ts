// The walks of docs/walks.md, on hosts of their own with real PostgreSQL: every command of the page is run as it stands there, while a
// client writes all the time; nothing that was acknowledged may be missing.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Host, type Hosts, openHosts, whyNoHosts } from './hosts.ts';
import { type Command, readWalks } from './page.ts';
import { type Client, startClient } from './client.ts';

const PAGE = join(import.meta.dirname, '../../../docs/walks.md');
const COMMAND_MS = 120_000;
const WALK_MS = 600_000;
const OUTPUT_MAX = 4000;

const walks = readWalks(PAGE);
const whyNot = whyNoHosts();
if (whyNot !== undefined) console.log(`skipped: docs/walks.md is not walked: ${whyNot}`);

let hosts: Hosts;
let client: Client | undefined;
const byName = new Map<string, Host>();

/** Runs the commands of a walk, in order; says which one failed, and what it printed. */
async function walk(title: string): Promise<void> {
  const commands = walks.get(title) ?? expect.fail(`${PAGE} has no walk "${title}"`);
  expect(commands.length).toBeGreaterThan(0);
  for (const command of commands) await carryOut(command);
}

/** What sentineld has logged last on each host, for the message of a failure. */
async function logs(): Promise<string> {
  const tails = await Promise.all(
    [...byName.values()].map(async (host) => {
      const { output } = await host.run('tail -n 30 /var/lib/sentineld.log', COMMAND_MS);
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

async function add(name: string, address: string): Promise<void> {
  byName.set(name, await hosts.add(name, address));
}

describe.skipIf(whyNot !== undefined)('docs/walks.md', () => {
  beforeAll(async () => {
    hosts = await openHosts();
    await add('pg1', '10.0.0.1');
    await add('pg2', '10.0.0.2');
    await add('pg3', '10.0.0.3');
  }, WALK_MS);
  afterAll(async () => {
    await hosts?.close();
  }, WALK_MS);

  /** While `work` is done, and some time before and after, the client goes on writing. */
  const whileWriting = async (work: () => Promise<void>): Promise<void> => {
    const writing = client ?? expect.fail('no client');
    await writing.moreAcks(5);
    await work();
    await writing.moreAcks(5);
  };

  test(
    'three hosts from nothing',
    async () => {
      await walk('Three hosts from nothing');
      const outside = await hosts.add('client', '10.0.0.100');
      outside.addAddress('10.0.1.100');
      client = startClient(outside);
      await client.moreAcks(10);
    },
    WALK_MS,
  );

  test(
    'replace a dead host',
    async () => {
      await whileWriting(async () => {
        await hostOf('pg3').destroy();
        byName.delete('pg3');
        await add('pg4', '10.0.0.4');
        await client?.moreAcks(5);
        await walk('Replace a dead host');
      });
    },
    WALK_MS,
  );

  test(
    'upgrade PostgreSQL to the next minor version',
    () => whileWriting(() => walk('Upgrade PostgreSQL to the next minor version')),
    WALK_MS,
  );

  test(
    'move to new addresses',
    () =>
      whileWriting(async () => {
        for (const host of byName.values()) host.addAddress(`10.0.1.${host.name.slice(-1)}`);
        await walk('Move to new addresses');
      }),
    WALK_MS,
  );

  test(
    'nothing that was acknowledged is missing',
    async () => {
      const writing = client ?? expect.fail('no client');
      const { acked, there } = await writing.stop();
      expect(acked.length).toBeGreaterThan(20);
      expect(acked.filter((id) => !there.includes(id))).toEqual([]);
      expect(new Set(there).size).toBe(there.length);
    },
    WALK_MS,
  );
});
