// `sentinelctl adopt`: a group is made of servers that run already. Looks at what the agents have found, says why not or what would happen,
// and proposes; the log decides, and the agents do it.
import { lookup } from 'node:dns/promises';
import { withDeadline } from '../base/clock.ts';
import type { GroupId } from '../base/ids.ts';
import { ADOPTION_FEATURE_LEVEL } from '../cluster/features.ts';
import type { FoundServer } from '../cluster/report.ts';
import { type ClusterState, type NodeState, nodesOfGroup } from '../cluster/state.ts';
import { type View, freshReport } from '../failover/view.ts';
import type { SteerOutcome, SteerRequest } from '../transport/types.ts';
import { type SteerOptions, done, proposeAndSay, refused } from './steering.ts';

/** A node whose agent has found a server that somebody else has started. */
interface Found {
  readonly node: NodeState;
  readonly server: FoundServer;
}

/** Gives all addresses of a host; none where it has none. */
type Resolve = (host: string) => Promise<readonly string[]>;

export async function adopt(
  options: SteerOptions,
  request: Extract<SteerRequest, { readonly kind: 'adopt' }>,
  resolve: Resolve = addressesOf,
): Promise<SteerOutcome> {
  const state = options.state();
  if (state.featureLevel < ADOPTION_FEATURE_LEVEL)
    return refused('not every peer understands this yet: upgrade all of them first');
  const group = groupToAdopt(state, request.group);
  if (typeof group !== 'string') return refused(group.reason);
  const nodes = nodesOfGroup(state, group);
  const found = foundServers(nodes, options.view());
  const problems = [...adoptionProblems(nodes, found, options.view())];
  const primary = found.find(({ server }) => server.role === 'primary');
  if (primary !== undefined) problems.push(...(await strangers(found, resolve)));
  const listing = found.map(describe).join('\n');
  if (problems.length > 0 || primary?.node.systemIdentifier === undefined) {
    const text = problems.map((problem) => `- ${problem}`).join('\n');
    return refused(`group ${group} is not adopted:\n${text}${request.dryRun ? `\n${listing}` : ''}`);
  }
  const standbys = found.filter((each) => each !== primary).map(({ node }) => node.node);
  const steps = `${primary.node.node} goes on as it is${standbys.length === 0 ? '' : `; ${standbys.join(', ')} are restarted one after the other`}; the group does not fail over by itself until ${primary.node.node} is switched over (sentinelctl failover ${group}) or restarted`;
  if (request.dryRun) return done(`would adopt group ${group}: ${steps}\n${listing}`);
  return proposeAndSay(
    options,
    {
      kind: 'adopt-group',
      group,
      primary: primary.node.node,
      systemIdentifier: primary.node.systemIdentifier,
      timeline: primary.server.timeline,
      standbys,
    },
    [
      `group ${group} is being adopted: ${steps}; see sentinelctl status --watch`,
      ...found.flatMap(noticesOf),
    ].join('\n'),
  );
}

/** The one that is named, or the only one with nodes that has not been created. */
function groupToAdopt(state: ClusterState, name: string | undefined): GroupId | { readonly reason: string } {
  if (name !== undefined && state.groups.has(name as GroupId))
    return { reason: `group ${name} exists already; there is nothing to adopt` };
  const open = [...new Set([...state.nodes.values()].map(({ group }) => group))].filter(
    (group) => !state.groups.has(group),
  );
  const named = name === undefined ? open : open.filter((group) => group === name);
  const [only] = named;
  if (only !== undefined && named.length === 1) return only;
  const names = open.join(', ') || 'none';
  const there = [...state.groups.keys()];
  if (name === undefined && open.length === 0 && there.length > 0)
    return {
      reason: `${there.length === 1 ? 'group' : 'groups'} ${there.join(', ')} ${there.length === 1 ? 'exists' : 'exist'} already; there is nothing to adopt`,
    };
  return {
    reason:
      name === undefined && open.length > 1
        ? `name the group to adopt: ${names}`
        : `no node is registered in ${name === undefined ? 'a group' : `a group ${name}`} that does not exist yet (there are: ${names}); start sentineld on the hosts first`,
  };
}

function foundServers(nodes: readonly NodeState[], view: View): readonly Found[] {
  return nodes.flatMap((node) => {
    const server = freshReport(view, node.node)?.found;
    return server === undefined ? [] : [{ node, server }];
  });
}

/** Why these nodes cannot become a group as they are. */
function* adoptionProblems(
  nodes: readonly NodeState[],
  found: readonly Found[],
  view: View,
): Iterable<string> {
  for (const { node, systemIdentifier } of nodes) {
    if (freshReport(view, node) === undefined) yield `the agent of ${node} does not answer`;
    else if (systemIdentifier !== undefined && !found.some((each) => each.node.node === node))
      yield `${node} has a data directory, and no server that somebody else has started runs in it: start it, or move it away, and it is cloned`;
  }
  for (const { node, server } of found)
    for (const problem of server.problems) yield `${node.node}: ${problem}`;
  const primaries = found.filter(({ server }) => server.role === 'primary');
  const [primary] = primaries;
  if (primary === undefined) {
    yield 'no primary runs in the data directory of any node';
    return;
  }
  if (primaries.length > 1)
    yield `two primaries: ${primaries.map(({ node }) => node.node).join(', ')}; stop the one that is none`;
  for (const { node, server } of found) {
    if (node.systemIdentifier !== primary.node.systemIdentifier)
      yield `${node.node} has system identifier ${node.systemIdentifier ?? 'none'}, ${primary.node.node} ${primary.node.systemIdentifier ?? 'none'}: another database`;
    if (majorOf(server.version) !== majorOf(primary.server.version))
      yield `${node.node} is version ${server.version}, ${primary.node.node} is ${primary.server.version}`;
  }
  // On standbys too: any of them may be promoted.
  const others = nodes.length - 1;
  for (const { node, server } of found)
    if (server.freeSlots < others)
      yield `${node.node} has ${server.freeSlots} free replication slots, and the ${others} other nodes need one each: drop some, or raise max_replication_slots (pg-sentinel sets 16)`;
}

const majorOf = (version: string): string => version.split('.')[0] ?? '';

/** Standbys that do not stream from a node of the group. */
async function strangers(found: readonly Found[], resolve: Resolve): Promise<string[]> {
  const places = await Promise.all(
    found.map(async ({ node }) => ({
      port: node.port,
      addresses: [node.host, ...(await resolve(node.host))],
    })),
  );
  const problems = await Promise.all(
    found.map(async ({ node, server: { upstream } }) => {
      if (upstream === undefined || upstream.host === '') return [];
      const addresses = [upstream.host, ...(await resolve(upstream.host))];
      const isOfGroup = places.some(
        ({ port, addresses: known }) =>
          port === upstream.port && addresses.some((address) => known.includes(address)),
      );
      if (isOfGroup) return [];
      return [
        `${node.node} streams from ${upstream.host}:${upstream.port}, which is the address of no node of the group`,
      ];
    }),
  );
  return problems.flat();
}

const LOOKUP_TIMEOUT_MS = 2000;

/** Exported for its test. */
export async function addressesOf(
  host: string,
  look: (host: string) => Promise<readonly { readonly address: string }[]> = (name) =>
    lookup(name, { all: true }),
  timeoutMs = LOOKUP_TIMEOUT_MS,
): Promise<readonly string[]> {
  try {
    // A name server that does not answer is asked for half a minute.
    const found = await withDeadline(`addresses of ${host}`, timeoutMs, look(host));
    return found.map(({ address }) => address);
  } catch {
    return [];
  }
}

/** What its owner has to act on after the adoption: whoever did not look at a plan is told now. */
function noticesOf({ node, server }: Found): string[] {
  return server.notices.map((text) => `- ${node.node}: ${text}`);
}

function describe({ node, server }: Found): string {
  const from = server.upstream === undefined ? '' : ` of ${server.upstream.host}:${server.upstream.port}`;
  const head = `${node.node}: PostgreSQL ${server.version}, ${server.role}${from}, system identifier ${node.systemIdentifier ?? 'none'}, timeline ${server.timeline}`;
  const list = (title: string, texts: readonly string[]): string[] =>
    texts.length === 0 ? [] : [`  ${title}:`, ...texts.map((text) => `    ${text}`)];
  return [
    head,
    ...list('stays as it is', server.kept),
    ...list('gets another value', server.replaced),
    ...list('taken over from pg_hba.conf', server.hba),
    ...list('to know', server.notices),
  ].join('\n');
}
