// Runs the fence command of the configuration: a program of the owner's that switches off the host of a former primary that does not
// answer. No shell. Must never outlive its deadline, and says "done" only where the program itself said so.
import type { FenceTarget } from '../failover/fence-target.ts';
import { type OsUser, runProgram } from '../postgres/os-user.ts';

export interface FenceCommand {
  /** The program, as an absolute path, and its arguments. */
  readonly command: readonly string[];
  readonly timeoutMs: number;
}

export type FenceResult =
  | { readonly kind: 'done'; readonly output: string }
  | { readonly kind: 'failed'; readonly reason: string; readonly output: string };

const REASON_LENGTH_MAX = 200;

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
export async function runFenceCommand(options: {
  readonly fence: FenceCommand;
  readonly cluster: string;
  readonly target: FenceTarget;
  readonly signal: AbortSignal;
}): Promise<FenceResult> {
  const { fence, signal } = options;
  const [program = '', ...args] = fence.command;
  const startedMs = performance.now();
  try {
    const {
      exitCode,
      signal: endedBy,
      output,
    } = await runProgram({
      user: OWN_USER,
      program,
      arguments: args,
      cwd: '/',
      environment: fenceEnvironment(options.cluster, options.target),
      timeoutMs: fence.timeoutMs,
      signal,
    });
    if (exitCode === 0) return { kind: 'done', output };
    const isLate = performance.now() - startedMs >= fence.timeoutMs;
    const how =
      exitCode !== undefined
        ? `exit code ${exitCode}`
        : isLate
          ? `not finished within ${fence.timeoutMs} ms`
          : (endedBy ?? 'killed');
    const last = output.trim().split('\n').at(-1) ?? '';
    const reason = (last === '' ? how : `${how}: ${last}`).slice(0, REASON_LENGTH_MAX);
    return { kind: 'failed', reason, output };
  } catch (error) {
    return { kind: 'failed', reason: (error as Error).message, output: '' };
  }
}

/** It runs as sentineld does. */
const OWN_USER: OsUser = {
  name: 'sentineld',
  uid: process.getuid?.() ?? -1,
  gid: process.getgid?.() ?? -1,
  owner: undefined,
};
