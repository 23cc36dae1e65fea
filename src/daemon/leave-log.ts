// What `sentineld --leave` knows of the cluster: this peer's own log, as far as it goes, and what the other peers say now. Only reads. While
// the log is open no sentineld can start beside it.
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { emptyState } from '../cluster/apply.ts';
import { membershipCodec } from '../cluster/codec.ts';
import { decodeState } from '../cluster/snapshot-codec.ts';
import type { ClusterState } from '../cluster/state.ts';
import { StoreDamagedError, StoreFormatError, StoreLockedError } from '../storage/errors.ts';
import { openLogStore } from '../storage/log-store.ts';
import { type AdminClient, connectAdmin } from '../transport/admin-client.ts';
import { applied } from './acquaintance.ts';
import { formatEndpoint, parseEndpoint } from './config-address.ts';
import type { Config } from './config.ts';
import type { Other } from './leave-check.ts';
import { initialMembership } from './membership.ts';
import { routedPeer } from './routes.ts';

/** In the state directory, what was decided; while it is there no sentineld starts. */
export const LEFT_FILE = 'left.json';

export interface OwnLog {
  /** Undefined where there is none, or it cannot be read. */
  readonly state: ClusterState | undefined;
  /** Its last entry, committed or not. */
  readonly last: { readonly index: number; readonly term: number } | undefined;
  /** Why it cannot be read. */
  readonly problem: string | undefined;
  close(): Promise<void>;
}

/** Throws where a sentineld has it open. */
export async function openOwnLog(config: Config): Promise<OwnLog> {
  const directory = join(config.stateDirectory, 'raft');
  const nothing = (problem?: string): OwnLog => ({
    ...{ state: undefined, last: undefined },
    problem,
    close: () => Promise.resolve(),
  });
  if (!existsSync(directory)) return nothing();
  try {
    const place = { directory, clusterId: config.cluster, self: config.peer };
    const store = await openLogStore({ ...place, membershipCodec });
    const { snapshot, entries } = store;
    const last = entries.at(-1) ?? snapshot;
    const isEmpty = snapshot === undefined && entries.length === 0;
    const before =
      snapshot === undefined ? emptyState(initialMembership(config)) : decodeState(snapshot.data);
    const state = entries.filter(({ index }) => index > before.appliedIndex).reduce(applied, before);
    return { state: isEmpty ? undefined : state, last, problem: undefined, close: () => store.close() };
  } catch (error) {
    if (error instanceof StoreLockedError)
      throw new Error(
        `sentineld runs on this host and would take PostgreSQL back: stop it first (systemctl disable --now sentineld); nothing was changed`,
        { cause: error },
      );
    if (error instanceof StoreDamagedError || error instanceof StoreFormatError)
      return nothing(error.message);
    throw error;
  }
}

const ANSWER_TIMEOUT_MS = 3000;
/** The peer itself looks for a leader for three seconds. */
const LEADER_TIMEOUT_MS = 6000;

/** All peers but this one that its log or its configuration knows, each asked whom it counts on, by the way that `via` says. */
export async function askOthers(config: Config, state: ClusterState | undefined): Promise<Other[]> {
  const peers = new Map(config.peers.map((peer) => [peer.peer, peer]));
  for (const [peer, address] of state?.membership.addresses ?? []) {
    const endpoint = parseEndpoint(address);
    if (endpoint !== undefined) peers.set(peer, { peer, ...endpoint });
  }
  peers.delete(config.peer);
  return Promise.all(
    [...peers.values()].map((each) => {
      const address = formatEndpoint(routedPeer(each, config.via));
      return askOther({ cluster: config.cluster, peer: each.peer, address });
    }),
  );
}

/** What that peer says of the cluster now; never throws. */
export async function askOther(options: {
  readonly cluster: string;
  readonly peer: string;
  /** `host:port`. */
  readonly address: string;
}): Promise<Other> {
  const { cluster, peer, address } = options;
  const other = (said: Other['said']): Other => ({ peer, address, said });
  let admin: AdminClient | undefined;
  try {
    admin = await connectAdmin({ addresses: [address], timeoutMs: ANSWER_TIMEOUT_MS });
    const first = await admin.status();
    if (first.cluster !== cluster || first.answeredBy !== peer)
      return other({
        kind: 'unclear',
        reason: `peer ${first.answeredBy} of cluster ${first.cluster} answers there`,
      });
    const isVouched = await readsThroughLeader(admin);
    const [status, list] = [await admin.status(), await admin.peers.list()];
    return other({
      kind: 'answer',
      isVouched: isVouched && list.leader !== undefined,
      incarnation: list.incarnation,
      term: status.term,
      appliedIndex: status.appliedIndex,
      members: list.peers.map((each) => each.peer),
      groups: status.groups.map(({ group, primary, nodes }) => ({
        ...{ group, primary },
        nodes: nodes.map(({ node }) => node),
      })),
    });
  } catch (error) {
    if (admin === undefined && (await isNobodyThere(address))) return other({ kind: 'silent' });
    return other({ kind: 'unclear', reason: (error as Error).message });
  } finally {
    admin?.close();
  }
}

const NOBODY = ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ETIMEDOUT'];

/**
 * Whether nothing takes a connection there, or no way leads there. What does take one may be a peer that is busy, stopped for a moment or broken;
 * a name that cannot be resolved says nothing.
 */
function isNobodyThere(address: string): Promise<boolean> {
  const endpoint = parseEndpoint(address);
  if (endpoint === undefined) return Promise.resolve(false);
  return new Promise((resolve) => {
    const socket = connect({ ...endpoint, timeout: ANSWER_TIMEOUT_MS });
    const end = (isNobody: boolean): void => {
      socket.destroy();
      resolve(isNobody);
    };
    socket.once('connect', () => end(false));
    socket.once('timeout', () => end(true));
    // Of a name with several addresses, each has to be without anybody.
    socket.once('error', (error: NodeJS.ErrnoException & { errors?: NodeJS.ErrnoException[] }) =>
      end((error.errors ?? [error]).every(({ code }) => code !== undefined && NOBODY.includes(code))),
    );
  });
}

/** No group has this name. */
const NO_GROUP = '?';

/**
 * Whether what the peer says from now on is no older than this question: a failover is planned, which it does for no one before it has read
 * through the leader. There is nothing to plan for a group that does not exist, and saying that is the proof.
 */
async function readsThroughLeader(admin: AdminClient): Promise<boolean> {
  const outcome = await admin.failover(
    { group: NO_GROUP, to: undefined, dryRun: true },
    { timeoutMs: LEADER_TIMEOUT_MS },
  );
  return outcome.kind === 'refused' && outcome.reason.startsWith(`there is no group ${NO_GROUP};`);
}
