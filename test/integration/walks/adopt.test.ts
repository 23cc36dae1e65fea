// The walk "Adopt a running pair" of docs/walks.md, on hosts of its own, with servers that Debian's tools made and a client that writes all the
// time; nothing that was acknowledged may be missing.
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Client, startClient } from './client.ts';
import { type Host, type Hosts, openHosts, whyNoHosts } from './hosts.ts';
import { makePair } from './pair.ts';
import { createWalker } from './walker.ts';

const WALK_MS = 600_000;
const whyNot =
  whyNoHosts() ??
  (existsSync('/usr/bin/pg_createcluster') && existsSync('/usr/lib/postgresql/15/bin/pg_ctl')
    ? undefined
    : "Debian's PostgreSQL 15 is not here");
if (whyNot !== undefined) console.log(`skipped: a running pair is not adopted: ${whyNot}`);

describe.skipIf(whyNot !== undefined)('docs/walks.md, a running pair', () => {
  let hosts: Hosts;
  let client: Client;
  const byName = new Map<string, Host>();
  const { walk, hostOf } = createWalker(byName);
  beforeAll(async () => {
    hosts = await openHosts();
    for (const [name, address] of [
      ['db1', '10.0.0.11'],
      ['db2', '10.0.0.12'],
      ['db3', '10.0.0.13'],
    ] as const)
      byName.set(name, await hosts.add(name, address));
    await makePair(hostOf('db1'), hostOf('db2'));
    client = startClient(await hosts.add('client', '10.0.0.100'), ['10.0.0.11', '10.0.0.12']);
    await client.moreAcks(10);
  }, WALK_MS);
  afterAll(async () => {
    await hosts?.close();
  }, WALK_MS);

  test(
    'adopt a running pair',
    async () => {
      await walk('Adopt a running pair');
      await client.moreAcks(10);
      const { output } = await hostOf('db3').run('sentinelctl status', 60_000);
      expect(output).toMatch(/shop: healthy/);
      expect(output).toMatch(/db2 +primary +running/);
      expect(output).toMatch(/db1 +standby +streaming/);
      const { acked, there } = await client.stop();
      expect(acked.length).toBeGreaterThan(20);
      expect(acked.filter((id) => !there.includes(id))).toEqual([]);
      expect(new Set(there).size).toBe(there.length);
    },
    WALK_MS,
  );
});
