// Membership while the network is divided. The cluster is another one afterwards, so this file has its own.
import { expect, test } from 'vitest';
import { connectAdmin } from '../../../src/transport/admin-client.ts';
import { peerId } from '../../../src/base/ids.ts';
import type { PeerClient } from '../../../src/transport/admin-peer-client.ts';
import type { PeerChangeOutcome } from '../../../src/transport/types.ts';
import { until } from '../../../src/base/clock.ts';
import type { ChaosCluster } from '../cluster/cluster.ts';
import { scene } from './scene.ts';

/** Asks for a change of who takes part until the leader has made it: while the leader is being looked for, nobody makes any. */
async function change(
  cluster: ChaosCluster,
  what: string,
  make: (peers: PeerClient) => Promise<PeerChangeOutcome>,
): Promise<void> {
  let said = '';
  const addresses = cluster.hosts.map((host) => host.adminAddress());
  try {
    await until({ what, timeoutMs: 120_000, everyMs: 200 }, async () => {
      const admin = await connectAdmin({ addresses, timeoutMs: 2000 });
      const outcome = await make(admin.peers).catch((error: unknown) => String(error));
      admin.close();
      said = typeof outcome === 'string' ? outcome : JSON.stringify(outcome);
      return typeof outcome !== 'string' && outcome.kind === 'done';
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${said}`, { cause: error });
  }
}

test(
  'a peer is replaced while it is cut off',
  scene(async ({ cluster, workload, primary, standbys: [lost, kept] }) => {
    await lost.isolate();
    await workload.acknowledged();
    cluster.setHosts([primary.number, kept.number]);
    await change(cluster, `${lost.peer} to be removed`, (peers) => peers.remove({ peer: peerId(lost.peer) }));
    const spare = cluster.host(4);
    await spare.start();
    await change(cluster, `${spare.peer} to be added`, (peers) =>
      peers.add({ peer: peerId(spare.peer), address: `${spare.node}:7432`, learnerOnly: false }),
    );
    cluster.setHosts([primary.number, kept.number, spare.number]);
    await cluster.converged(120_000);
    // Back on the network it is nobody any more: nothing may come of it.
    await lost.reconnect();
    expect(await workload.acknowledged()).toBe(primary.node);
    await primary.kill();
    await workload.acknowledged({ notBy: primary });
    await primary.start();
  }),
);
