// What owners say of their nodes, on a cluster of real processes: in the file of a host, taken over by a restart of its sentineld, and what
// becomes of it in the sync rule, in failovers and in failbacks. One cluster for all.
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import type { Host } from '../../../harness/host.ts';
import { withSession } from '../../../harness/session.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  type LoadedCluster,
  harmOf,
  startLoadedCluster,
} from '../raft/load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'candidates', spareCount: 0 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

/** Changes keys of the host's file, of its node or of the whole, and has its sentineld read it. PostgreSQL goes on. */
async function say(host: Host, node: Record<string, unknown>, whole: Record<string, unknown> = {}): Promise<void> {
  const file = parse(await readFile(host.configFile, 'utf8')) as { node: Record<string, unknown> };
  await writeFile(host.configFile, stringify({ ...file, ...whole, node: { ...file.node, ...node } }));
  await host.stopSentineld();
  host.startSentineld();
}

