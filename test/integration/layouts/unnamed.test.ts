// Hosts whose configuration no longer names their node, which runs on: a standby counts no more, and a primary is left alone while it is well;
// once it is not, its guard stops it, and the peers fail over. Two nodes and a witness; each test leaves them healthy.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GROUP } from '../../../harness/cluster-config.ts';
import type { Host } from '../../../harness/host.ts';
import { delay, until } from '../../../src/base/clock.ts';
import type { EventView, GroupView } from '../../../src/transport/types.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  harmOf,
  startLoadedCluster,
  type LoadedCluster,
} from '../raft/load.ts';
import { reconfigure } from '../raft/nodes.ts';

const STEP_MS = 60_000;

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({
    cluster: 'unnamed',
    witnessCount: 1,
    settings: () => ({ guard: { proof_timeout: '3s' } }),
  });
}, LIMIT_MS);
afterAll(() => loaded?.close());

async function event(what: string, isIt: (found: EventView) => boolean): Promise<EventView> {
  return until({ what, timeoutMs: STEP_MS, everyMs: 100 }, async () =>
    (await loaded.cluster.admin.events(300)).findLast(isIt),
  );
}

async function roles(): Promise<{ readonly primary: Host; readonly standby: Host }> {
  const { cluster } = loaded;
  const primary = await cluster.primary();
  const standby = cluster.hosts.find(({ isWitness, node }) => !isWitness && node !== primary.node);
  if (standby === undefined) throw new Error('no standby');
  return { primary, standby };
}

/** Takes the node out of the host's configuration, and waits until the log says so; returns what puts it back. */
async function takeOut(host: Host, isNoticed: (group: GroupView) => boolean): Promise<() => Promise<void>> {
  let section: unknown;
  await reconfigure(host, (file) => {
    section = file['node'];
    delete file['node'];
  });
  const words = `host ${host.peer} no longer runs node ${host.node} (its configuration does not name it)`;
  await loaded.cluster.waitFor(
    'the warning',
    STEP_MS,
    (group, { warnings }) => isNoticed(group) && warnings.some((text) => text.startsWith(words)),
  );
  return () => reconfigure(host, (file) => void (file['node'] = section));
}

test('a standby is neither counted nor promoted', { timeout: LIMIT_MS }, async () => {
  const { cluster, ctl } = loaded;
  const { standby } = await roles();
  const putBack = await takeOut(standby, ({ rule }) => rule === 'alone');
  await event(
    'the declaration',
    ({ kind, text }) =>
      kind === 'declare-host' &&
      text.startsWith(`by its configuration, host ${standby.peer} runs no PostgreSQL`),
  );
  expect(await ctl(['failover', GROUP, '--to', standby.node, '--dry-run'])).toMatchObject({ exitCode: 1 });
  const { stdout } = await ctl(['status']);
  expect(stdout.replaceAll(/\s+/g, ' ')).toContain(
    `sentinelctl node unregister ${standby.node}, or put it back`,
  );
  await putBack();
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
});

test(
  'a primary goes on while it is well; without its standby its guard stops it, and the standby takes over when it is back, without loss',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster, ctl } = loaded;
    const { primary, standby } = await roles();
    const postmaster = primary.postmasterPid();
    const putBacks: (() => Promise<void>)[] = [];
    const well = await loaded.writeWhile(async () => {
      putBacks.push(await takeOut(primary, () => true));
      const { stdout } = await ctl(['status']);
      expect(stdout.replaceAll(/\s+/g, ' ')).toMatch(
        /, the primary of group main: .* or stop its PostgreSQL/,
      );
    });
    expect(harmOf(well)).toEqual([]);
    // Longer than the guard waits for proof, with which the standby provides it.
    expect(harmOf(await loaded.writeWhile(() => delay(4000)))).toEqual([]);
    expect([(await cluster.primary()).node, primary.postmasterPid()]).toEqual([primary.node, postmaster]);

    const verdict = await loaded.writeWhile(async () => {
      await standby.freeze();
      await until(
        { what: 'the guard to stop the primary', timeoutMs: STEP_MS, everyMs: 50 },
        () => primary.postmasterPid() === undefined,
      );
      standby.thaw();
      await cluster.waitFor(
        `${standby.node} to be the primary`,
        STEP_MS,
        (group) => group.phase === 'running' && group.primary === standby.node,
      );
      for (const putBack of putBacks) await putBack();
      await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    });
    expect(harmOf(verdict)).toEqual([]);
    expect(readFileSync(join(primary.directory, 'state/guard/guard.log'), 'utf8')).toMatch(
      /PostgreSQL stopped .*too few members of its rule/,
    );
  },
);
