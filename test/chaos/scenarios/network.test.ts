// The network between hosts that are all well: cut as a whole, in one direction, for one kind of traffic, slow, flapping.
import { expect, test } from 'vitest';
import { delay, withDeadline } from '../../../src/base/clock.ts';
import { fillWalLink, spoilAll } from './faults.ts';
import { scene } from './scene.ts';

/** Time on the wrong side, for whoever would go on there. */
const APART_MS = 5000;
/** toxiproxy is told of a cut within milliseconds, whatever the hosts do. */
const CUT_TIMEOUT_MS = 5000;

test(
  'the primary is isolated',
  scene(async ({ workload, primary }) => {
    await primary.isolate();
    await workload.acknowledged({ notBy: primary });
    await delay(APART_MS);
  }),
);

test(
  'the primary is isolated together with clients',
  scene(async ({ workload, primary }) => {
    await primary.isolate({ clients: false });
    await workload.acknowledged({ notBy: primary });
    const sinceMs = performance.now();
    await delay(APART_MS);
    expect(workload.wasAcknowledgedBy(primary, sinceMs)).toBe(false);
  }),
);

test(
  'nothing that the primary sends arrives',
  scene(async ({ cluster, workload, primary, standbys }) => {
    for (const standby of standbys) await cluster.links.cutOneWay(primary.number, standby.number);
    await workload.acknowledged({ notBy: primary });
    await delay(APART_MS);
  }),
);

test(
  'nothing arrives that is sent to the primary',
  scene(async ({ cluster, workload, primary, standbys }) => {
    for (const standby of standbys) await cluster.links.cutOneWay(standby.number, primary.number);
    await workload.acknowledged({ notBy: primary });
    await delay(APART_MS);
  }),
);

test(
  'one standby hears the primary and is not heard, the other is heard and does not hear',
  scene(async ({ cluster, workload, primary, standbys: [mute, deaf] }) => {
    await cluster.links.cutOneWay(mute.number, primary.number);
    await cluster.links.cutOneWay(primary.number, deaf.number);
    await workload.acknowledged();
    await delay(APART_MS);
    await workload.acknowledged();
  }),
);

test(
  'the WAL link to one standby is cut, the Raft link is not: writes go on',
  scene(async ({ cluster, workload, primary, standbys: [cut] }) => {
    await cluster.links.cut(primary.number, cut.number, ['node']);
    expect(await workload.acknowledged()).toBe(primary.node);
    await delay(APART_MS);
    expect(await workload.acknowledged()).toBe(primary.node);
  }),
);

test(
  'the WAL links to both standbys are cut, the Raft links are not',
  scene(async ({ cluster, workload, primary, standbys }) => {
    for (const standby of standbys) await cluster.links.cut(primary.number, standby.number, ['node']);
    await workload.acknowledged({ notBy: primary });
    await delay(APART_MS);
  }),
);

test(
  'the links to a standby that takes in nothing are cut, and it dies meanwhile',
  scene(async ({ cluster, workload, primary, standbys: [deaf] }) => {
    await deaf.signalPostgres('STOP');
    await fillWalLink(primary, deaf);
    await Promise.all([
      withDeadline('the cut', CUT_TIMEOUT_MS, cluster.links.cut(primary.number, deaf.number)),
      deaf.signalPostgres('KILL'),
    ]);
    await workload.acknowledged();
  }),
);

test(
  'the Raft links of the primary are cut, the WAL links are not: no failover',
  scene(async ({ cluster, workload, primary, standbys }) => {
    for (const standby of standbys) await cluster.links.cut(primary.number, standby.number, ['raft']);
    expect(await workload.acknowledged()).toBe(primary.node);
    await delay(APART_MS);
    expect(await workload.acknowledged()).toBe(primary.node);
  }),
);

test(
  'the links are slow and lossy',
  scene(async ({ cluster, workload }) => {
    await spoilAll(cluster, { latencyMs: 40, jitterMs: 30, bits: { bytes: 512, delayUs: 500 } });
    for (let count = 0; count < 5; count++) {
      await delay(2000);
      await workload.acknowledged();
    }
  }),
);

test(
  'the links of the primary flap',
  scene(async ({ cluster, workload, primary, standbys }) => {
    for (let count = 0; count < 20; count++) {
      const [one, other] = count % 2 === 0 ? standbys : standbys.toReversed();
      if (one === undefined || other === undefined) throw new Error('there are two standbys');
      await cluster.links.setRefused(primary.number, one.number, true);
      await cluster.links.cut(primary.number, other.number);
      await delay(250);
      await cluster.links.heal();
      await delay(250);
    }
    await workload.acknowledged();
  }),
);
