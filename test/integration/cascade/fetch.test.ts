// A preferred standby that stands a little lower fetches what it lacks from the better one before it is promoted.
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import type { Host } from '../../../harness/host.ts';
import { type Scene, TEST_MS, openScene, sql } from '../dangers/scene.ts';

let scene: Scene;
beforeAll(async () => void (scene = await openScene()), TEST_MS);
afterAll(() => scene?.close());

/** Changes keys of the node in the host's file, and has its sentineld read it. PostgreSQL goes on. */
async function say(host: Host, node: Readonly<Record<string, unknown>>): Promise<void> {
  const file = parse(await readFile(host.configFile, 'utf8')) as { readonly node: object };
  await writeFile(host.configFile, stringify({ ...file, node: { ...file.node, ...node } }));
  await host.stopSentineld();
  host.startSentineld();
}

/** The process of the primary that sends WAL to that standby. */
async function walSenderTo(primary: Host, standby: Host): Promise<number> {
  const [row] = await sql<{ pid: number }>(
    primary,
    `select pid from pg_stat_replication where application_name like '${standby.node}\\_%' and state = 'streaming'`,
  );
  if (row === undefined) throw new Error(`${standby.node} does not stream`);
  return row.pid;
}

test(
  'the preferred standby lags: it fetches from the better one, is promoted, and holds every acknowledged write',
  { timeout: TEST_MS },
  async () => {
    const { cluster } = scene;
    const [preferred, other] = await chosen();
    await say(preferred, { priority: 200 });
    const judged = await scene.underLoad(async (load) => {
      const sender = await walSenderTo(load.primary, preferred);
      load.stop(sender);
      await load.moreAcks(50);
      load.primary.killPostmaster();
      process.kill(sender, 'SIGKILL');
      await load.event('fetch-wal', new RegExp(`${preferred.node} .* fetches .* from ${other.node}`));
      await load.event('promoted', new RegExp(`^${preferred.node} is primary`));
    });
    expect(judged.primaries.at(-1), judged.why).toBe(preferred.node);
    const kinds = judged.events.map(({ kind }) => kind);
    expect(kinds).not.toContain('fetch-failed');
    const [begun, promoted] = [kinds.indexOf('fetch-wal'), kinds.indexOf('promote')];
    expect(kinds.slice(begun, promoted)).toContain('cut-report');
    expect((await cluster.primary()).node).toBe(preferred.node);
  },
);

/** The standbys, in the order of their names. */
async function chosen(): Promise<readonly [Host, Host]> {
  await scene.cluster.waitUntilHealthy(TEST_MS);
  const primary = await scene.cluster.primary();
  const [preferred, other] = scene.cluster.hosts.filter((host) => host !== primary);
  if (preferred === undefined || other === undefined) throw new Error('there are no two standbys');
  return [preferred, other];
}
