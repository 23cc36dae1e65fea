// Membership while the network is divided. The cluster is another one afterwards, so this file has its own.
import { expect, test } from 'vitest';
import { peerId } from '../../../src/base/ids.ts';
import { changePeers } from './faults.ts';
import { scene } from './scene.ts';

test(
  'a peer is replaced while it is cut off',
  scene(async ({ cluster, workload, primary, standbys: [lost, kept] }) => {
    await lost.isolate();
    await workload.acknowledged();
    cluster.setHosts([primary.number, kept.number]);
    await changePeers(cluster, `${lost.peer} to be removed`, (peers) =>
      peers.remove({ peer: peerId(lost.peer) }),
    );
    const spare = cluster.host(4);
    await spare.start();
    await changePeers(cluster, `${spare.peer} to be added`, (peers) =>
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
