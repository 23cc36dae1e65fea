// Where a clone comes from: the primary of the group or the standby that a person names, as the log has them, and what that server says of
// itself before anything is copied.
import type pg from 'pg';
import { findByLogin } from '../actions/accounts-duty.ts';
import { openAccount } from '../daemon/accounts.ts';
import { parseEndpoint } from '../daemon/config-address.ts';
import type { NodeId } from '../base/ids.ts';
import type { Account } from '../postgres/account.ts';
import type { Upstream } from '../postgres/conninfo.ts';
import {
  type SystemIdentity,
  closeReplication,
  connectReplication,
  identifySystem,
} from '../postgres/replication-connection.ts';
import { closeSource, connectSource } from '../postgres/source-connection.ts';
import type { GroupView, NodeView, StatusView } from '../transport/types.ts';
import type { LocalHost } from './host.ts';
import { type LocalRequest, refusal } from './request.ts';

export interface CloneSource {
  readonly node: string;
  readonly upstream: Upstream;
  readonly systemIdentifier: string;
  /** Major version. */
  readonly version: number;
}

const ANSWER_TIMEOUT_MS = 10_000;

/** The group as the log has it, where this node may be cloned into it. */
export function findGroup(status: StatusView, { node, config }: LocalHost): GroupView {
  const group = status.groups.find((each) => each.group === node.group);
  if (group === undefined)
    throw refusal(
      `group ${node.group} is not created yet, by peer ${status.answeredBy}: there is nothing to clone; sentinelctl node create makes its first data directory`,
    );
  if (group.phase !== 'running')
    throw refusal(`group ${node.group} is ${group.phase}: run this again once it runs`);
  if (group.primary === node.name)
    throw refusal(`${node.name} is the primary of group ${node.group}, by the log`);
  const own = group.nodes.find((each) => each.node === node.name);
  if (own !== undefined && own.peer !== config.peer)
    throw refusal(
      `node ${node.name} is managed by peer ${own.peer}, not ${config.peer}: give each host's node a name of its own`,
    );
  return group;
}

/** Asks the source, and its primary where it is another node: both have to be the same database. */
export async function findSource(
  request: LocalRequest & { readonly from: string | undefined },
  host: LocalHost,
  group: GroupView,
): Promise<CloneSource> {
  const primary = group.nodes.find(({ node }) => node === group.primary);
  if (primary === undefined) throw refusal(`group ${group.group} has no primary`);
  const named = request.from === undefined ? primary : namedNode(request.from, host, group);
  const { replication } = host.config.users;
  if (replication === undefined) throw refusal(`${host.config.path} has no users.replication`);
  const account = openAccount(replication, { log: (_level, message) => request.note(message) });
  const { systemIdentifier } = await identify(host, primary, account);
  if (named !== primary) {
    const { systemIdentifier: found } = await identify(host, named, account);
    if (found !== systemIdentifier)
      throw refusal(
        `${named.node} is of system ${found}, ${primary.node} of ${systemIdentifier}: not the same database`,
      );
  }
  const upstream = upstreamOf(host, named, account);
  const client = await reach(named, () => connectSource(upstream, ANSWER_TIMEOUT_MS));
  try {
    const { rows } = await client.query<{ version: string }>(
      "select current_setting('server_version_num') as version",
    );
    const version = Math.floor(Number(rows[0]?.version) / 10_000);
    return { node: named.node, upstream, systemIdentifier, version };
  } finally {
    closeSource(client);
  }
}

function namedNode(from: string, { node }: LocalHost, group: GroupView): NodeView {
  const named = group.nodes.find((each) => each.node === from);
  const others = group.nodes.filter((each) => each.node !== node.name);
  const list = others.map((each) => each.node).join(', ');
  if (named === undefined || from === node.name)
    throw refusal(
      `--from ${from}: ${from === node.name ? 'it is this node itself' : 'there is no such node'}; expected one of ${list}`,
    );
  if (named.role !== 'primary' && named.state !== 'streaming')
    throw refusal(`--from ${from}: it is ${named.state}; expected the primary or a standby that streams`);
  return named;
}

function upstreamOf({ config }: LocalHost, { node, address }: NodeView, account: Account): Upstream {
  const endpoint = config.via.nodes.get(node as NodeId) ?? parseEndpoint(address);
  if (endpoint === undefined) throw refusal(`the peers give no address of ${node}`);
  const { host, port } = endpoint;
  const { name: user, password } = account;
  return { host, port, user, password, applicationName: 'pg_sentinel_clone' };
}

async function identify(host: LocalHost, node: NodeView, account: Account): Promise<SystemIdentity> {
  const open = (): Promise<pg.Client> =>
    connectReplication(upstreamOf(host, node, account), ANSWER_TIMEOUT_MS);
  await findByLogin(account, async () => closeReplication(await open()));
  const client = await reach(node, open);
  try {
    return await identifySystem(client, ANSWER_TIMEOUT_MS);
  } finally {
    closeReplication(client);
  }
}

async function reach<T>({ node, address }: NodeView, connect: () => Promise<T>): Promise<T> {
  try {
    return await connect();
  } catch (error) {
    throw refusal(`${node} at ${address} cannot be connected to: ${(error as Error).message}`);
  }
}
