// How a standby reaches its upstream as the replication user: whether that answers, and with which password while it is being changed.
import { settledWithin } from '../base/clock.ts';
import type { MemberId } from '../base/ids.ts';
import type { Duty } from '../failover/duties.ts';
import type { Account } from '../postgres/account.ts';
import { type Upstream as ConnectionSource, renewPassfiles } from '../postgres/conninfo.ts';
import { closeReplication, connectReplication, identifySystem } from '../postgres/replication-connection.ts';
import { findByLogin, findPasswords } from './accounts-duty.ts';
import type { AgentContext } from './context.ts';
import { type SiteSource, connectionTo, hostsOf, tlsOf } from './site-source.ts';

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

/**
 * Why the upstream does not let this node in to stream, in its own words, which never hold the password; undefined where it does. Takes a
 * second at most, and ends with `signal`: this node's next duty may be urgent.
 */
export async function loginRefusal(
  context: AgentContext,
  duty: Sourced,
  signal: AbortSignal,
): Promise<string | undefined> {
  let refusal: string | undefined;
  const source = sourceOf(context, duty, 'pg_sentinel_login');
  const login = connectReplication(source, LOGIN_TIMEOUT_MS).then(
    closeReplication,
    ({ message, code }: NodeJS.ErrnoException) => {
      refusal = message === '' ? (code ?? 'no answer') : message;
    },
  );
  await settledWithin(login, 2 * LOGIN_TIMEOUT_MS, signal);
  return refusal;
}

/** A node to stream from. */
interface Sourced {
  readonly upstream: Pick<FollowDuty['upstream'], 'host' | 'port' | 'site'>;
}

/** How this node reaches its upstream, under the given application name. */
export function sourceOf(
  context: AgentContext,
  { upstream }: Sourced,
  applicationName: string,
): ConnectionSource {
  if (upstream.site === 'outside') {
    const source = siteSource(context);
    return { ...connectionTo(source, upstream), applicationName, tls: tlsOf(source.parameters) };
  }
  const { name, password, rotation } = context.instance.options.replication;
  const { host, port } = upstream;
  const onWrongPassword = (): void => rotation?.rejected(password);
  return { host, port, user: name, password, applicationName, onWrongPassword };
}

/** What the walreceiver is told: as this member, through its slot; at another site by the name and slot that are agreed with that. Logical slots are its own site's. */
export function streamOf(
  context: AgentContext,
  duty: Sourced,
  member: MemberId,
): { readonly upstream: ConnectionSource; readonly slotName: string; readonly canSyncSlots: boolean } {
  if (duty.upstream.site !== 'outside')
    return {
      upstream: sourceOf(context, duty, member),
      slotName: member,
      canSyncSlots: context.instance.options.binaries.version >= 17,
    };
  const source = siteSource(context);
  const parameters = hostsOf(source, context.notes.siteServer);
  const upstream = { ...sourceOf(context, duty, source.applicationName), parameters };
  return { upstream, slotName: source.slot ?? '', canSyncSlots: false };
}

/** Throws where the configuration has none: then the log names this node by mistake, or the file has changed since. */
export function siteSource({ instance }: Pick<AgentContext, 'instance'>): SiteSource {
  const { source } = instance.options;
  if (source === undefined)
    throw new Error(
      'cannot stream from the other site: the configuration of this host has no node.follow any more; put it back, or have another node do it with sentinelctl site lead NODE',
    );
  return source;
}

const accountOf = (context: AgentContext, { upstream }: Sourced): Account =>
  upstream.site === 'outside' ? siteSource(context).account : context.instance.options.replication;

const LOGIN_TIMEOUT_MS = 1000;

/** Before a password is written for the walreceiver, which has no other to try. Costs nothing where there is only one. */
export function findUpstreamPassword(context: AgentContext, duty: Sourced): Promise<void> {
  return findByLogin(accountOf(context, duty), async () => {
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
  const account = accountOf(context, duty);
  await findPasswords(context, signal);
  if (account.rotation === undefined) return;
  // Of another site only what the file says is known: which of its servers to ask changes.
  if (duty.upstream.site !== 'outside') await findUpstreamPassword(context, duty);
  signal.throwIfAborted();
  await renewPassword(context, duty);
}

/** The walreceiver logs in with what is known to be right by now, or stands in the file by now. */
export async function renewPassword(context: AgentContext, duty: FollowDuty): Promise<void> {
  const { passfileDirectory, user } = context.instance.options;
  const account = accountOf(context, duty);
  const { name, password } = account;
  await renewPassfiles({ directory: passfileDirectory, user: name, password, owner: user.owner });
}
