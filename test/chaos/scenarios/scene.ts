// How every scenario runs: on a cluster that is well, with the workload running before, during and after the fault; then all faults are
// taken back, the cluster must converge, and the whole history is judged. A cluster that did not converge is made anew for the
// next scenario; nothing is tried twice.
import { afterAll, expect } from 'vitest';
import { createCluster, type ChaosCluster } from '../cluster/cluster.ts';
import type { ChaosHost } from '../cluster/host.ts';
import type { ChaosVerdict } from '../checker/check.ts';
import { differingStandbys, startWorkload, type Workload } from '../workload/workload.ts';

export interface Scene {
  readonly cluster: ChaosCluster;
  readonly workload: Workload;
  /** Of the primary at the beginning. */
  readonly primary: ChaosHost;
  readonly standbys: [ChaosHost, ChaosHost];
}

const CONVERGE_TIMEOUT_MS = 120_000;
let current: ChaosCluster | undefined;

/** The body of a test. `play` does the harm and waits for what must come of it. */
export function scene(play: (scene: Scene) => Promise<void>): () => Promise<void> {
  return async () => {
    expectKept(await runScene(play));
  };
}

/** What came of one scene; `differing` says which standbys do not hold what the primary holds. */
export interface Outcome {
  readonly verdict: ChaosVerdict;
  readonly differing: readonly string[];
}

/** Plays and judges. Throws where `play` does or the cluster does not converge. */
export async function runScene(play: (scene: Scene) => Promise<void>): Promise<Outcome> {
  const cluster = current ?? (await createCluster());
  current = undefined;
  const workload = await startWorkload(cluster);
  try {
    const primary = await cluster.primary();
    await play({ cluster, workload, primary, standbys: cluster.others(primary) });
    await cluster.restore();
    await cluster.converged(CONVERGE_TIMEOUT_MS);
    await workload.acknowledged();
  } catch (error) {
    await workload.stop();
    await tellLogs(cluster);
    throw error;
  }
  await workload.stop();
  const group = await cluster.converged(CONVERGE_TIMEOUT_MS);
  const verdict = await workload.judge();
  const differing = await differingStandbys(cluster);
  const isKept = verdict.violations.length === 0 && differing.length === 0;
  if (isKept) current = cluster;
  else await tellLogs(cluster);
  const { acked, primaries, unknown, failed, lateReplies } = verdict;
  console.log(
    `${acked} acknowledged by ${primaries.join(', ')}; ${unknown} unknown, ${failed} failed, ${lateReplies} late; now ${group.primary}, epoch ${group.epoch}`,
  );
  return { verdict, differing };
}

export function expectKept({ verdict, differing }: Outcome): void {
  expect(verdict.violations).toEqual([]);
  expect(differing).toEqual([]);
}

async function tellLogs(cluster: ChaosCluster): Promise<void> {
  const events = await cluster.admin.events(40).catch(() => []);
  for (const { index, atMs, text, refused } of events)
    console.log(
      `${new Date(atMs).toISOString()} ${index} ${text}${refused === undefined ? '' : ` (refused: ${refused})`}`,
    );
  for (const host of cluster.hosts)
    console.log(`--- ${host.node}\n${await host.log(40).catch((error: unknown) => String(error))}`);
}

afterAll(() => current?.admin.close());
