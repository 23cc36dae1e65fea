// How a standby reaches its upstream as the replication user: whether that answers, and with which password while it is being changed.
import type { Duty } from '../failover/duties.ts';
import { type Upstream as ConnectionSource, renewPassfiles } from '../postgres/conninfo.ts';
import { closeReplication, connectReplication, identifySystem } from '../postgres/replication-connection.ts';
import { findByLogin, findPasswords } from './accounts-duty.ts';
import type { AgentContext } from './context.ts';

export type FollowDuty = Extract<Duty, { readonly kind: 'follow' }>;

const ANSWER_TIMEOUT_MS = 3000;

/** Whether the upstream lets this node in to stream and is on the timeline that the log says. */
export async function isAnswering(context: AgentContext, duty: FollowDuty): Promise<boolean> {
  const source = sourceOf(context, duty, 'pg_sentinel_ask');
  const asked = await connectReplication(source, ANSWER_TIMEOUT_MS).catch(() => undefined);
  if (asked === undefined) return false;
  try {
    const found = await identifySystem(asked, ANSWER_TIMEOUT_MS);
    return (
      found.timeline === duty.upstream.timeline &&
      found.systemIdentifier === context.group()?.systemIdentifier
    );
  } catch {
    return false;
  } finally {
    closeReplication(asked);
  }
}

/** A node to stream from. */
interface Sourced {
  readonly upstream: Pick<FollowDuty['upstream'], 'host' | 'port'>;
}

/** How this node reaches its upstream, under the given application name. */
export function sourceOf(context: AgentContext, duty: Sourced, applicationName: string): ConnectionSource {
  const { name, password, rotation } = context.instance.options.replication;
  const { host, port } = duty.upstream;
  const onWrongPassword = (): void => rotation?.rejected(password);
  return { host, port, user: name, password, applicationName, onWrongPassword };
}

const LOGIN_TIMEOUT_MS = 1000;

/** Before a password is written for the walreceiver, which has no other to try. Costs nothing where there is only one. */
export function findUpstreamPassword(context: AgentContext, duty: Sourced): Promise<void> {
  return findByLogin(context.instance.options.replication, async () => {
    closeReplication(
      await connectReplication(sourceOf(context, duty, 'pg_sentinel_login'), LOGIN_TIMEOUT_MS),
    );
  });
}

/** While it streams: the walreceiver finds the password with which it gets in again, should it have to. */
export async function keepPasswords(
  context: AgentContext,
  duty: FollowDuty,
  signal: AbortSignal,
): Promise<void> {
  const { replication, passfileDirectory, user } = context.instance.options;
  await findPasswords(context, signal);
  if (replication.rotation === undefined) return;
  await findUpstreamPassword(context, duty);
  signal.throwIfAborted();
  const { name, password } = replication;
  await renewPassfiles({ directory: passfileDirectory, user: name, password, owner: user.owner });
}
