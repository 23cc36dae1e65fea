// Runs the fence command of the configuration: a program of the owner's that switches off the host of a former primary that does not
// answer. No shell. Must never outlive its deadline, and says "done" only where the program itself said so.
import type { FenceTarget } from '../failover/fence-target.ts';
import type { OsUser } from '../postgres/os-user.ts';
import { type CommandResult, type OwnersCommand, runCommand } from './run-command.ts';

export type FenceCommand = OwnersCommand;
export type FenceResult = CommandResult;

/** Whoever switches hosts off keeps the highest (cluster, incarnation, epoch) it has seen of a group, and refuses lower ones. */
function fenceEnvironment(cluster: string, target: FenceTarget): Record<string, string> {
  return {
    PG_SENTINEL_CLUSTER_ID: cluster,
    PG_SENTINEL_INCARNATION: String(target.incarnation),
    PG_SENTINEL_EPOCH: String(target.epoch),
    PG_SENTINEL_GROUP: target.group,
    PG_SENTINEL_NODE: target.node,
    PG_SENTINEL_PEER: target.peer,
    PG_SENTINEL_HOST: target.host,
    PG_SENTINEL_PORT: String(target.port),
  };
}

/** Ends it and all it has started when `signal` aborts or its time is over; never throws. */
export function runFenceCommand(options: {
  readonly fence: FenceCommand;
  readonly cluster: string;
  readonly target: FenceTarget;
  readonly signal: AbortSignal;
}): Promise<FenceResult> {
  const { fence, cluster, target, signal } = options;
  return runCommand(fence, { user: OWN_USER, environment: fenceEnvironment(cluster, target), signal });
}

/** It runs as sentineld does. */
const OWN_USER: OsUser = {
  name: 'sentineld',
  uid: process.getuid?.() ?? -1,
  gid: process.getgid?.() ?? -1,
  owner: undefined,
};
