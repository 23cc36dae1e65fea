// The major upgrade of docs/walks.md, on hosts of its own, with PostgreSQL 15 and 17 of Debian and a client that writes all the time: given up half-way,
// done, and taken back. Nothing that was acknowledged may be missing, but for what the page says is lost.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Client, startClient } from './client.ts';
import { type Host, type Hosts, openHosts, whyNoHosts } from './hosts.ts';
import { NEWER, unpackNewer } from './newer-postgres.ts';
import { createWalker } from './walker.ts';

const COMMAND_MS = 180_000;
const WALK_MS = 600_000;
/** From here on the group goes on with the new database. */
const THE_WORD = /replace-database pg1 --yes/;
/** Of a tablespace, on each host. */
const SPACE = '/var/lib/fast';
const UPGRADE = 'Upgrade PostgreSQL to the next major version';

const directory = mkdtempSync(join(tmpdir(), 'pg-sentinel-newer-'));
let newer = '';
let whyNot =
  whyNoHosts() ??
  (existsSync('/usr/lib/postgresql/15/bin/pg_upgrade') ? undefined : "Debian's PostgreSQL 15 is not here");
if (whyNot === undefined) {
  const unpacked = unpackNewer(directory);
  if ('whyNot' in unpacked) ({ whyNot } = unpacked);
  else newer = unpacked.root;
}
if (whyNot !== undefined) console.log(`skipped: PostgreSQL 15 is not upgraded to ${NEWER}: ${whyNot}`);

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

describe.skipIf(whyNot !== undefined)(
  'docs/walks.md, to the next major version and back (needs root, namespaces, and PostgreSQL 15 and 17 of Debian)',
  () => {
    let hosts: Hosts;
    let client: Client;
    const byName = new Map<string, Host>();
    const { walk, hostOf } = createWalker(byName);
    const names = ['pg1', 'pg2', 'pg3'];
    /** Of the client: before the group went on with the new database, and after. */
    let ackedBefore: readonly string[] = [];
    let ackedOnNewer: readonly string[] = [];

    beforeAll(async () => {
      hosts = await openHosts(newer);
      for (const [index, name] of names.entries())
        byName.set(name, await hosts.add(name, `10.0.0.${index + 1}`));
      // Debian's sentineld takes the newest programs for a new data directory: on these hosts those are not installed yet.
      for (const host of byName.values()) await must(host, 'mount -t tmpfs tmpfs /usr/lib/postgresql/17');
      await walk('Three hosts from nothing');
      for (const host of byName.values()) await must(host, 'umount /usr/lib/postgresql/17');
      client = startClient(await hosts.add('client', '10.0.0.100'), ['10.0.0.1', '10.0.0.2', '10.0.0.3']);
      await client.moreAcks(10);
      await makeTablespace();
    }, WALK_MS);
    afterAll(async () => {
      await hosts?.close();
    }, WALK_MS);

    async function must(host: Host, text: string): Promise<string> {
      const { code, output } = await host.run(text, COMMAND_MS);
      return code === 0 ? output : expect.fail(`${host.name}: ${text}: ${output}`);
    }
    /** The page has none; pg_upgrade leaves both versions in the same location. */
    async function makeTablespace(): Promise<void> {
      for (const name of names)
        await must(hostOf(name), `install -d -o postgres -g postgres -m 700 ${SPACE}`);
      await inDatabase('pg1', `create tablespace fast location '${SPACE}'`);
      await inDatabase('pg1', 'create table spaced (id int) tablespace fast');
      await inDatabase('pg1', 'insert into spaced values (1)');
    }
    const spaced = (): Promise<readonly string[]> =>
      Promise.all(names.map((name) => inDatabase(name, "select string_agg(id::text, ' ') from spaced")));
    const oldServer = (what: string): Promise<string> =>
      must(
        hostOf('pg1'),
        `runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl ${what} -D /var/lib/postgresql/shop`,
      );
    const dryRun = async (): Promise<string> => {
      const command = 'sentinelctl node replace-database pg1 --dry-run';
      const { code, output } = await hostOf('pg1').run(command, COMMAND_MS);
      return code === 1 ? output : expect.fail(`${command}: exit code ${code}: ${output}`);
    };
    const inDatabase = (name: string, query: string): Promise<string> =>
      must(hostOf(name), `psql -XAtq -h /var/lib/pg-sentinel/socket -U postgres -c "${query}"`);
    const versions = (): Promise<readonly string[]> =>
      Promise.all(
        names.map(async (name) => {
          const found = await inDatabase(name, "select current_setting('server_version_num')::int / 10000");
          return found.trim();
        }),
      );
    const streaming = async (): Promise<string> =>
      (await inDatabase('pg1', "select count(*) from pg_stat_replication where state = 'streaming'")).trim();
    const missing = async (ids: readonly string[]): Promise<readonly string[]> => {
      const present = new Set(await client.present());
      return ids.filter((id) => !present.has(id));
    };

    test(
      'given up before the group goes on with it',
      async () => {
        await walk(UPGRADE, { before: THE_WORD });
        await oldServer('start -w -l /var/lib/postgresql/again.log');
        expect(await dryRun()).toMatch(
          /PostgreSQL runs in \/var\/lib\/postgresql\/shop, with the database before/,
        );
        await oldServer('stop -m fast');
        expect(await dryRun()).toMatch(/has run until .*have pg_upgrade make the new one anew/);
        const acked = client.acked();
        const status = (await must(hostOf('pg2'), 'sentinelctl status')).replaceAll(/\s+/g, ' ');
        expect(status).toMatch(/paused/);
        expect(status).toMatch(/pg1: .*holds another database .*sentinelctl node replace-database pg1/);
        await walk('Give up a major upgrade');
        await client.moreAcks(5);
        expect(await versions()).toEqual(['15', '15', '15']);
        expect(await inDatabase('pg1', 'select pg_is_in_recovery()')).toBe('f\n');
        expect(await missing(acked)).toEqual([]);
        expect(await spaced()).toEqual(['1\n', '1\n', '1\n']);
        // pg_upgrade refuses to begin anew before that.
        await must(hostOf('pg1'), `rm -r ${SPACE}/PG_17_*`);
      },
      WALK_MS,
    );

    test(
      'done: all three stream, and every acknowledged write is there',
      async () => {
        await walk(UPGRADE, { before: THE_WORD });
        ackedBefore = client.acked();
        await walk(UPGRADE, { from: THE_WORD });
        await client.moreAcks(5);
        // For whoever wants to know; nothing is asserted of times.
        console.log(`writes stood still for ${Math.round(client.longestPauseMs())} ms at the most`);
        expect(await versions()).toEqual(['17', '17', '17']);
        expect(await streaming()).toBe('2');
        expect(await missing(client.acked())).toEqual([]);
        expect(await spaced()).toEqual(['1\n', '1\n', '1\n']);
        expect(await must(hostOf('pg1'), `ls ${SPACE}`)).toMatch(/^PG_15_\d+\nPG_17_\d+\n$/);
      },
      WALK_MS,
    );

    test(
      'it fails over as ever, and what a clone replaces goes without what the old one has in its tablespaces',
      async () => {
        // A machine that is busy with more than this may be too slow for one: then it is called off, and nothing has changed.
        for (const to of ['pg2', 'pg1']) {
          await must(hostOf('pg1'), `until sentinelctl failover --to ${to} --yes; do sleep 1; done`);
          await must(hostOf('pg1'), 'until sentinelctl status --exit-code; do sleep 1; done');
          if (to !== 'pg2') continue;
          await must(hostOf('pg1'), 'sentinelctl node reinit pg1 --yes');
          await must(hostOf('pg1'), `while ls -d ${SPACE}/PG_17_*; do sleep 1; done`);
          await must(hostOf('pg1'), 'until sentinelctl status --exit-code; do sleep 1; done');
        }
        await client.moreAcks(5);
        ackedOnNewer = client.acked().slice(ackedBefore.length);
        expect(await missing(client.acked())).toEqual([]);
      },
      WALK_MS,
    );

    test(
      'back to the old one: what was written before is there, and nothing of the new one',
      async () => {
        expect(ackedOnNewer.length).toBeGreaterThan(0);
        await walk('Back to the old major version');
        await client.moreAcks(5);
        expect(await versions()).toEqual(['15', '15', '15']);
        expect(await streaming()).toBe('2');
        expect(await missing(ackedBefore)).toEqual([]);
        expect(await missing(ackedOnNewer)).toEqual(ackedOnNewer);
        expect(await spaced()).toEqual(['1\n', '1\n', '1\n']);
        await client.stop();
      },
      WALK_MS,
    );
  },
);
