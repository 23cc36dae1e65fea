// What the tests of adopting have in common: the plan of a node, sentinelctl, and what it comes to say.
import { until } from '../../../src/base/clock.ts';
import type { HostPlan } from '../../../harness/cluster-config.ts';
import type { LocalCluster } from '../../../harness/local-cluster.ts';
import { runSentinelctl } from '../raft/load.ts';

const SAYS_TIMEOUT_MS = 120_000;

export interface AdoptScene {
  planOf(node: string): HostPlan;
  /** Asks any of the peers; of a single line the words are taken apart. */
  ctl(...words: readonly string[]): ReturnType<typeof runSentinelctl>;
  /** Until it says so, long lines put together; throws what it said last where it never does. */
  says(line: string, pattern: RegExp): Promise<string>;
}

/** `plans` and `cluster` are asked for when they are needed: those of a test come with its cluster. */
export function adoptScene(given: {
  readonly plans: () => readonly HostPlan[];
  readonly cluster: () => LocalCluster;
}): AdoptScene {
  const ctl: AdoptScene['ctl'] = (...words) => {
    const peers = given
      .cluster()
      .hosts.map(({ address }) => address)
      .join(',');
    const [line = ''] = words;
    return runSentinelctl(['--peers', peers, ...(words.length === 1 ? line.split(' ') : words)]);
  };
  return {
    planOf(node) {
      const plan = given.plans().find((each) => each.node === node);
      if (plan === undefined) throw new Error(`no host of ${node}`);
      return plan;
    },
    ctl,
    async says(line, pattern) {
      let last = '';
      const what = `${line} to say ${pattern}`;
      await until({ what, timeoutMs: SAYS_TIMEOUT_MS, everyMs: 300 }, async () => {
        const { stdout, stderr } = await ctl(line);
        last = (stdout + stderr).replaceAll(/\s+/g, ' ');
        return pattern.test(last);
      }).catch((error: unknown) => {
        throw new Error(`${(error as Error).message}; it said ${last}`, { cause: error });
      });
      return last;
    },
  };
}
