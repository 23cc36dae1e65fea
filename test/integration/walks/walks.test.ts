// The walks of docs/walks.md, on hosts of their own with real PostgreSQL: every command of the page is run as it stands there, while a
// client writes all the time; nothing that was acknowledged may be missing.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { type Host, type Hosts, openHosts, whyNoHosts } from './hosts.ts';
import { type Client, ADDRESSES, startClient } from './client.ts';
import { findMinors, installOlder } from './older-postgres.ts';
import { createWalker } from './walker.ts';

const COMMAND_MS = 120_000;
const WALK_MS = 600_000;

const whyNot = whyNoHosts();
if (whyNot !== undefined) console.log(`skipped: docs/walks.md is not walked: ${whyNot}`);

let hosts: Hosts;
let client: Client | undefined;
const byName = new Map<string, Host>();
const { walk, hostOf } = createWalker(byName);

/** Where there are two of them here, the hosts begin with the older one. */
const directory = mkdtempSync(join(tmpdir(), 'pg-sentinel-older-'));
const found = whyNot === undefined ? await findMinors(directory) : { whyNot };
const minors = 'whyNot' in found ? undefined : found;
if (whyNot === undefined && 'whyNot' in found)
  console.log(`the minor upgrade changes no version, it only restarts: ${found.whyNot}`);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function add(name: string, address: string): Promise<void> {
  const host = await hosts.add(name, address);
  byName.set(name, host);
  await installOlder(host, minors);
  thereBefore.set(name, new Set(await traces(name)));
}

/** By host: what has our name in it before a walk begins, such as this checkout. */
const thereBefore = new Map<string, ReadonlySet<string>>();

/** What has come of pg-sentinel's since the host was made: processes, files, units. Its programs and the log of this test's `systemctl` are not meant. */
async function leftovers(name: string): Promise<readonly string[]> {
  return (await traces(name)).filter((trace) => thereBefore.get(name)?.has(trace) !== true);
}

async function traces(name: string): Promise<readonly string[]> {
  const { output } = await hostOf(name).run(TRACES, COMMAND_MS);
  return output.split('\n').filter((line) => line !== '');
}

const TRACES = `
ps -eo args= | grep -E '^(/bin/sh|[^ ]*node|postgres:?) .*sentinel'
find / -xdev \\( -path /proc -o -path /tmp -o -path /usr -o -path /home -o -path /root \\) -prune -o -iname '*sentinel*' ! -name sentineld.log -print
find /etc /var/lib /run -xdev -iname '*sentinel*' ! -name sentineld.log
grep -rlI sentinel /var/lib/postgresql /etc/postgresql`;

const LEFT_IN_DATABASE = `select rolname::text from pg_roles where rolname like '%sentinel%'
  union all select nspname from pg_namespace where nspname like '%sentinel%'
  union all select slot_name from pg_replication_slots
  union all select name || ' = ' || setting from pg_settings
    where setting like '%sentinel%' or sourcefile like '%sentinel%' or pending_restart`;

async function inDatabase(name: string, query: string): Promise<string> {
  const text = query.replaceAll(/\s+/g, ' ');
  const { code, output } = await hostOf(name).run(`runuser -u postgres -- psql -XAtqc "${text}"`, COMMAND_MS);
  if (code !== 0) throw new Error(output);
  return output.trim();
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
      client = startClient(outside, ADDRESSES);
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

  const serverVersions = (): Promise<readonly string[]> =>
    Promise.all(
      [...byName.values()].map(async (host) => {
        const command =
          'psql -XAtq -h /var/lib/pg-sentinel/socket -U postgres -c "select current_setting(\'server_version\')"';
        const { code, output } = await host.run(command, COMMAND_MS);
        return code === 0 ? (output.split(' ')[0] ?? '').trim() : expect.fail(`${host.name}: ${output}`);
      }),
    );

  test(
    'upgrade PostgreSQL to the next minor version',
    async () => {
      const before = await serverVersions();
      if (minors !== undefined) expect(before).toEqual([minors.older, minors.older, minors.older]);
      await whileWriting(() => walk('Upgrade PostgreSQL to the next minor version'));
      const after = await serverVersions();
      expect(after).toEqual(minors === undefined ? before : [minors.newer, minors.newer, minors.newer]);
      console.log(`the minor upgrade went from ${before.join(', ')} to ${after.join(', ')}`);
    },
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
    'remove everything',
    async () => {
      await whileWriting(async () => {
        await walk('Remove everything');
        await client?.moreAcks(5);
      });
      expect(await leftovers('pg4')).toEqual([]);
      for (const name of ['pg1', 'pg2']) expect(await leftovers(name)).toEqual([]);
      for (const name of ['pg1', 'pg2']) expect(await inDatabase(name, LEFT_IN_DATABASE)).toEqual('');
      const streams = 'select count(*) from pg_stat_replication';
      await until({ what: 'pg1 to follow', timeoutMs: WALK_MS, everyMs: 200 }, async () => {
        return (await inDatabase('pg2', streams)) === '1';
      });
      expect(await inDatabase('pg1', 'select pg_is_in_recovery()')).toBe('t');
    },
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
