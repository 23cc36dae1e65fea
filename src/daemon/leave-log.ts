// What `sentineld --leave` knows of the cluster: this peer's own log, as far as it goes, and what the other peers say now. Only reads. While
// the log is open no sentineld can start beside it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { emptyState } from '../cluster/apply.ts';
import { membershipCodec } from '../cluster/codec.ts';
import { decodeState } from '../cluster/snapshot-codec.ts';
import type { ClusterState } from '../cluster/state.ts';
import { StoreDamagedError, StoreFormatError, StoreLockedError } from '../storage/errors.ts';
import { openLogStore } from '../storage/log-store.ts';
import { connectAdmin } from '../transport/admin-client.ts';
import { applied } from './acquaintance.ts';
import { formatEndpoint } from './config-address.ts';
import type { Config } from './config.ts';
import type { Other } from './leave-check.ts';
import { initialMembership } from './membership.ts';

/** In the state directory, what was decided; while it is there no sentineld starts. */
export const LEFT_FILE = 'left.json';

export interface OwnLog {
  /** Undefined where there is none, or it cannot be read. */
  readonly state: ClusterState | undefined;
  /** Why it cannot be read. */
  readonly problem: string | undefined;
  close(): Promise<void>;
}

/** Throws where a sentineld has it open. */
export async function openOwnLog(config: Config): Promise<OwnLog> {
  const directory = join(config.stateDirectory, 'raft');
  const nothing = (problem?: string): OwnLog => ({
    state: undefined,
    problem,
    close: () => Promise.resolve(),
  });
  if (!existsSync(directory)) return nothing();
  try {
    const place = { directory, clusterId: config.cluster, self: config.peer };
    const store = await openLogStore({ ...place, membershipCodec });
    const { snapshot, entries } = store;
    const isEmpty = snapshot === undefined && entries.length === 0;
    const before =
      snapshot === undefined ? emptyState(initialMembership(config)) : decodeState(snapshot.data);
    const state = entries.filter(({ index }) => index > before.appliedIndex).reduce(applied, before);
    return { state: isEmpty ? undefined : state, problem: undefined, close: () => store.close() };
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

/** All peers but this one that its log or its configuration knows, each asked whom it counts on. */
export async function askOthers(config: Config, state: ClusterState | undefined): Promise<Other[]> {
  const addresses = new Map<string, string>(state?.membership.addresses);
  for (const peer of config.peers)
    if (!addresses.has(peer.peer)) addresses.set(peer.peer, formatEndpoint(peer));
  addresses.delete(config.peer);
  return Promise.all([...addresses].map(([peer, address]) => ask(config.cluster, peer, address)));
}

async function ask(cluster: string, peer: string, address: string): Promise<Other> {
  const silent: Other = { peer, address, answer: undefined };
  const admin = await connectAdmin({ addresses: [address], timeoutMs: ANSWER_TIMEOUT_MS }).catch(
    () => undefined,
  );
  if (admin === undefined) return silent;
  try {
    const [status, list] = [await admin.status(), await admin.peers.list()];
    if (status.cluster !== cluster || status.answeredBy !== peer) return silent;
    return {
      ...silent,
      answer: {
        members: list.peers.map((each) => each.peer),
        groups: status.groups.map(({ group, primary, nodes }) => ({
          group,
          primary,
          nodes: nodes.map(({ node }) => node),
        })),
      },
    };
  } catch {
    // It is there, and may be a member: that it cannot be asked does not make it silent.
    return { ...silent, answer: { members: undefined, groups: [] } };
  } finally {
    admin.close();
  }
}
