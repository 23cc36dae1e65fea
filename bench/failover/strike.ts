// The events themselves: what is hit, how, and when it is given back. Touches nothing but the hosts of the benchmark's cluster.
import { delay, until } from '../../src/base/clock.ts';
import { clusterAdmin, type ClusterAdmin } from '../../harness/admin.ts';
import { GROUP } from '../../harness/cluster-config.ts';
import type { Host } from '../../harness/host.ts';
import { isHealthy, type LocalCluster } from '../../harness/local-cluster.ts';
import type { BenchOptions, Event } from './options.ts';

/** Whether another node takes over; where none should, one that does breaks the promise. */
export const TAKES_OVER: Readonly<Record<Event, boolean>> = {
  crash: true,
  host: true,
  freeze: true,
  switchover: true,
  standby: false,
  leader: false,
  quorum: false,
  upgrade: false,
};

export interface Aim {
  readonly hosts: readonly Host[];
  /** For people: `sentineld of b`. */
  readonly text: string;
}

/** What this run's event hits; where there is a choice, the runs take turns. */
export function takeAim(options: {
  readonly event: Event;
  readonly run: number;
  readonly hosts: readonly Host[];
  readonly primary: Host;
  /** The peer that leads the Raft cluster. */
  readonly leader: string | undefined;
}): Aim {
  const { event, run, hosts, primary } = options;
  const turn = run % hosts.length;
  const inTurn = [...hosts.slice(turn), ...hosts.slice(0, turn)];
  switch (event) {
    case 'crash':
    case 'switchover':
      return { hosts: [primary], text: primary.node };
    case 'host':
    case 'freeze':
      return { hosts: [primary], text: `host ${primary.peer}` };
    case 'standby': {
      const standby = inTurn.find((host) => host !== primary && !host.isWitness);
      if (standby === undefined) throw new Error('there is no standby to kill');
      return { hosts: [standby], text: `host ${standby.peer}` };
    }
    case 'leader': {
      const leader = hosts.find(({ peer }) => peer === options.leader);
      if (leader === undefined) throw new Error('there is no Raft leader to kill');
      return sentinelds([leader]);
    }
    case 'quorum':
      return sentinelds(inTurn.slice(1));
    case 'upgrade':
      return sentinelds(inTurn);
  }
}

const sentinelds = (hosts: readonly Host[]): Aim => ({
  hosts,
  text: `sentineld of ${hosts.map(({ peer }) => peer).join(', ')}`,
});

export interface Struck {
  /** Monotonic, as `performance.now()`. */
  readonly eventMs: number;
  /** Why a switchover was called off. */
  readonly calledOff: string | null;
  /** When the former primary's host was given back, for events that take it away for a while. */
  readonly returning: Promise<number> | undefined;
}

const FAILOVER_TIMEOUT_MS = 60_000;
const BACK_TIMEOUT_MS = 60_000;
const FENCING_POLL_MS = 5;
const AGENT_LATER_MS = 1000;

/**
 * Lets the event happen. Of those after which the primary stays, returns when everything was started again; of the others,
 * at once (a switchover: when its outcome is known).
 */
export async function strike(context: {
  readonly cluster: LocalCluster;
  readonly options: BenchOptions;
  readonly aim: Aim;
  /** Through peers that are not hit, where there are any. */
  readonly admin: ClusterAdmin;
  readonly signal: AbortSignal;
}): Promise<Struck> {
  const { cluster, options, aim, signal } = context;
  const [target] = aim.hosts;
  if (target === undefined) throw new Error('the event hits nothing');
  const plain = (eventMs: number): Struck => ({ eventMs, calledOff: null, returning: undefined });
  switch (options.event) {
    case 'crash': {
      if (options.lagBeforeMs > 0) {
        target.stopWalSenders();
        await delay(options.lagBeforeMs, signal);
      }
      const eventMs = performance.now();
      target.killPostmaster();
      return plain(eventMs);
    }
    case 'host': {
      const { cable } = target;
      if (cable === undefined) throw new Error(`host ${target.peer} has no cable to cut`);
      const eventMs = performance.now();
      await cable.cut();
      const returning = delay(eventMs + Number(options.thawAfter) - performance.now(), signal).then(() =>
        cable.heal(),
      );
      return { ...plain(eventMs), returning: returning.then(() => performance.now()) };
    }
    case 'freeze': {
      const eventMs = performance.now();
      await target.freeze();
      return { ...plain(eventMs), returning: thaw(context, target, eventMs) };
    }
    case 'switchover': {
      const eventMs = performance.now();
      const outcome = await cluster.admin.failover({ group: GROUP, to: undefined }, FAILOVER_TIMEOUT_MS);
      return { ...plain(eventMs), calledOff: outcome.kind === 'refused' ? outcome.reason : null };
    }
    case 'standby': {
      const eventMs = performance.now();
      await target.kill();
      await delay(options.awayMs, signal);
      target.startSentineld();
      return plain(eventMs);
    }
    case 'leader':
    case 'quorum': {
      const eventMs = performance.now();
      await Promise.all(aim.hosts.map((host) => host.stopSentineld('SIGKILL')));
      await delay(options.awayMs, signal);
      for (const host of aim.hosts) host.startSentineld();
      return plain(eventMs);
    }
    case 'upgrade': {
      const eventMs = performance.now();
      for (const host of aim.hosts) {
        await host.stopSentineld('SIGTERM');
        host.startSentineld();
        await waitUntilBack(cluster, host, signal);
      }
      return plain(eventMs);
    }
  }
}

/** Sends SIGCONT when it is time; returns when that was. */
async function thaw(
  {
    options,
    admin,
    signal,
  }: { readonly options: BenchOptions; readonly admin: ClusterAdmin; readonly signal: AbortSignal },
  host: Host,
  eventMs: number,
): Promise<number> {
  if (options.thawAfter !== 'fencing') {
    await delay(eventMs + options.thawAfter - performance.now(), signal);
    host.thaw();
    return performance.now();
  }
  const what = 'the failover to begin';
  await until({ what, timeoutMs: FAILOVER_TIMEOUT_MS, everyMs: FENCING_POLL_MS, signal }, async () => {
    const group = (await admin.status()).groups.find((each) => each.group === GROUP);
    return group !== undefined && (group.phase !== 'running' || group.primary !== host.node);
  });
  host.thaw('postgres');
  const thawedMs = performance.now();
  await delay(AGENT_LATER_MS, signal);
  host.thaw();
  return thawedMs;
}

/** As a careful operator waits before the next host: this peer itself says that there is a leader and that the group is whole. */
async function waitUntilBack(cluster: LocalCluster, host: Host, signal: AbortSignal): Promise<void> {
  const admin = clusterAdmin([host.address]);
  const nodeCount = cluster.hosts.filter(({ isWitness }) => !isWitness).length;
  const what = `peer ${host.peer} to be back`;
  try {
    await until({ what, timeoutMs: BACK_TIMEOUT_MS, everyMs: 20, signal }, async () => {
      if (host.sentineldFailure !== undefined) throw new Error(host.sentineldFailure);
      const status = await admin.status().catch(() => undefined);
      const group = status?.groups.find((each) => each.group === GROUP);
      return status?.leader !== undefined && group !== undefined && isHealthy(group, nodeCount);
    });
  } finally {
    admin.close();
  }
}
