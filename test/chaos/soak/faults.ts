// The faults that the soak draws from: those of the scenarios, each on whoever has the roles at the time. None of them waits for what
// comes of it, and all are taken back by the cluster's `restore`.
import { delay } from '../../../src/base/clock.ts';
import type { ChaosCluster } from '../cluster/cluster.ts';
import type { ChaosHost } from '../cluster/host.ts';
import { fillDiskOf } from '../scenarios/faults.ts';

export interface Cast {
  readonly cluster: ChaosCluster;
  /** Whom it befalls. */
  readonly victim: ChaosHost;
  /** The other two, in an order that the seed decides. */
  readonly others: readonly [ChaosHost, ChaosHost];
}

export const FAULTS: Readonly<Record<string, (cast: Cast) => Promise<void>>> = {
  'postmaster killed': ({ victim }) => victim.signalPostmaster('KILL'),
  'postmaster hung': ({ victim }) => victim.signalPostmaster('STOP'),
  'PostgreSQL frozen': ({ victim }) => victim.signalPostgres('STOP'),
  'host killed': ({ victim }) => victim.kill(),
  'host frozen': ({ victim }) => victim.freeze(),
  'host isolated': ({ victim }) => victim.isolate(),
  'host isolated with clients': ({ victim }) => victim.isolate({ clients: false }),
  'sentineld killed': ({ victim }) => victim.signalSentineld('KILL'),
  'sentineld down': async ({ victim }) => {
    await victim.setHeld(true);
    await victim.signalSentineld('KILL');
  },
  'sentineld frozen': ({ victim }) => victim.signalSentineld('STOP'),
  'every sentineld killed': async ({ cluster }) => {
    await Promise.all(cluster.hosts.map((host) => host.signalSentineld('KILL')));
  },
  deaf: async ({ cluster, victim, others }) => {
    for (const other of others) await cluster.links.cutOneWay(other.number, victim.number);
  },
  mute: async ({ cluster, victim, others }) => {
    for (const other of others) await cluster.links.cutOneWay(victim.number, other.number);
  },
  'deaf to one': ({ cluster, victim, others: [one] }) => cluster.links.cutOneWay(one.number, victim.number),
  'one WAL link cut': ({ cluster, victim, others: [one] }) =>
    cluster.links.cut(victim.number, one.number, ['node']),
  'WAL links cut': async ({ cluster, victim, others }) => {
    for (const other of others) await cluster.links.cut(victim.number, other.number, ['node']);
  },
  'Raft links cut': async ({ cluster, victim, others }) => {
    for (const other of others) await cluster.links.cut(victim.number, other.number, ['raft']);
  },
  'links slow': async ({ cluster, victim, others }) => {
    const bits = { bytes: 512, delayUs: 500 };
    for (const other of others)
      await cluster.links.spoil(victim.number, other.number, { latencyMs: 60, jitterMs: 50, bits });
  },
  'links flap': async ({ cluster, victim, others: [one, other] }) => {
    for (let count = 0; count < 6; count++) {
      await cluster.links.setRefused(victim.number, one.number, true);
      await cluster.links.setRefused(victim.number, other.number, count % 2 === 0);
      await delay(200);
      await cluster.links.setRefused(victim.number, one.number, false);
      await cluster.links.setRefused(victim.number, other.number, false);
      await delay(200);
    }
  },
  // A standby has no WAL of its own to write: only a primary can be told to.
  'disk full': ({ victim }) => fillDiskOf(victim).catch(() => victim.fillDisk()),
  'everything killed': async ({ cluster }) => {
    await Promise.all(cluster.hosts.map((host) => host.kill()));
  },
};
