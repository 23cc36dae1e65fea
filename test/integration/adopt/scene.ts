// What the tests of adopting have in common: the plan of a node, sentinelctl and what it comes to say, and the client that writes all the while.
import { until } from '../../../src/base/clock.ts';
import type { HostPlan } from '../../../harness/cluster-config.ts';
import { INSERT, readBack } from '../../../harness/clients.ts';
import { checkHistory } from '../../../harness/history.ts';
import type { Host } from '../../../harness/host.ts';
import type { LocalCluster } from '../../../harness/local-cluster.ts';
import { CLIENT_DEFAULTS, type Writer, startWriter } from '../../../harness/writer.ts';
import { harmOf, runSentinelctl } from '../raft/load.ts';
import { CLIENT } from './servers.ts';

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

/** Of a client that writes through a whole test, to whichever of the hosts takes writes. Generous: a write that waits for a standby that is gone would wait for ever. */
export const LONGEST_PAUSE_MS = 10_000;

/** Its statements never time out: each says in the end whether it was acknowledged. */
export async function startWriterThrough(hosts: readonly Host[], paceMs: number): Promise<Writer> {
  const writer = startWriter({
    ...CLIENT_DEFAULTS,
    statementTimeoutMs: undefined,
    name: 'through',
    client: CLIENT,
    insert: INSERT,
    paceMs,
    targets: hosts.map(({ target }) => target),
  });
  await writer.connected(30_000);
  return writer;
}

/** Ends it, and says what of its writes is lost, there twice or acknowledged by a former primary; `last` is asked what is there. */
export async function harmThrough(
  writer: Writer,
  last: Host,
  primaries: readonly string[],
): Promise<ReturnType<typeof harmOf>> {
  await writer.stop();
  return harmOf(checkHistory({ attempts: writer.attempts, readBack: await readBack(last), primaries }));
}

export function longestPauseMs({ attempts }: Writer): number {
  const acks = attempts.filter(({ outcome }) => outcome === 'acked');
  return Math.max(...acks.map(({ endMs }, at) => endMs - (acks[at - 1]?.endMs ?? endMs)));
}
