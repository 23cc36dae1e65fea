// `sentinelctl node create`: the first data directory of a group, made by initdb or taken as it is. Must never make one where the log has a
// primary elsewhere; that it is opened for writes is sentineld's to do, by the log's word alone.
import { INITDB_TIMEOUT_MS } from '../actions/primary-duty.ts';
import { type DataDirectory, inspectDataDirectory } from '../actions/data-directory.ts';
import { readControlData } from '../postgres/control-data.ts';
import { DEFAULT_INIT_SETTINGS, describeInit } from '../postgres/initdb-settings.ts';
import { initDataDirectory } from '../postgres/initdb.ts';
import { writeNewMember } from '../postgres/member.ts';
import { exists } from '../postgres/replaced.ts';
import { type Answer, askPeers } from './ask-peers.ts';
import { takeAlong, takenAlong, whyNotTaken } from './existing.ts';
import { type LocalHost, alone, findPrograms, openHost } from './host.ts';
import { LocalError, type LocalOutcome, type LocalRequest, planned, refusal } from './request.ts';

export interface CreateRequest extends LocalRequest {
  /** A person's word that the group has no database yet, where no peer can say so. */
  readonly first: boolean;
}

/** Throws {@link LocalError} where it is refused. */
export async function createNode(request: CreateRequest): Promise<LocalOutcome> {
  const host = await openHost(request);
  return alone(request, host, 'sentinelctl node create', (asked, data) => create(asked, host, data));
}

async function create(request: CreateRequest, host: LocalHost, data: DataDirectory): Promise<LocalOutcome> {
  const { node, user, config } = host;
  const { dataDirectory } = node;
  if (data.kind === 'ready' && data.member !== undefined)
    return { detail: `nothing to do: ${dataDirectory} is the data directory of ${node.name} already` };
  if (data.kind === 'foreign') throw refusal(data.reason);
  if (data.kind === 'unfit')
    throw refusal(`${dataDirectory} is fit only to be replaced by a clone: ${data.reason}`);
  await checkCluster(request, host);
  const obstacles: string[] = [];
  if (data.kind === 'ready')
    for await (const obstacle of whyNotTaken(host, data.control)) obstacles.push(obstacle);
  if (obstacles.length > 0) throw refusal(obstacles.join('\n'));
  const binaries = await findPrograms(request, host);
  const version = binaries === undefined ? "of npm's package" : String(binaries.version);
  if (data.kind === 'ready' && !data.control.checksums)
    request.note(
      `${dataDirectory} has no data checksums; pg_checksums --enable gives it some while it is stopped`,
    );
  if (request.dryRun || binaries === undefined) {
    const made =
      data.kind === 'absent'
        ? [
            `initdb of PostgreSQL ${version} makes ${dataDirectory}, as ${user.name}, with ${madeWith(host)}${walText(host)}`,
          ]
        : [`${dataDirectory} is taken as it is`, ...(await takenAlong(host))];
    return planned([...made, `it gets a member id of ${node.name}`]);
  }
  if (data.kind === 'absent') {
    request.say(`initdb of PostgreSQL ${version} makes ${dataDirectory}, with ${madeWith(host)}`);
    const { walDirectory, initdb: settings } = node;
    const { name: superuser } = config.users.superuser;
    const { signal } = request;
    const timeoutMs = INITDB_TIMEOUT_MS;
    const init = { binaries, user, dataDirectory, walDirectory, superuser, settings, timeoutMs, signal };
    // Without its id it would be taken for somebody's at the next run, with the rules that initdb gave it.
    await initDataDirectory({ ...init, finish: (directory) => giveMember(host, directory) });
  } else {
    for (const what of await takenAlong(host)) request.say(what);
    await takeAlong(host);
    // Last: with it the directory is whole, and the node's.
    await giveMember(host, dataDirectory);
  }
  const made = await inspectDataDirectory(dataDirectory, node.name);
  if (made.kind !== 'ready') throw new Error(`${dataDirectory} is ${made.kind} after it was made`);
  const { systemIdentifier } = made.control;
  return {
    detail: `${dataDirectory} is the first data directory of group ${node.group} (node ${node.name}, PostgreSQL ${version}, system identifier ${systemIdentifier})`,
    next: `start sentineld on this host, before or together with those of the other nodes of ${node.group}: the group is created on the node that has data`,
  };
}

async function giveMember({ node, user }: LocalHost, dataDirectory: string): Promise<void> {
  const { systemIdentifier } = await readControlData(dataDirectory);
  await writeNewMember({ dataDirectory, node: node.name, systemIdentifier, owner: user.owner });
}

const madeWith = ({ node }: LocalHost): string => describeInit(node.initdb ?? DEFAULT_INIT_SETTINGS);

const walText = ({ node }: LocalHost): string =>
  node.walDirectory === undefined ? '' : `, and its WAL below ${node.walDirectory}`;

/** Throws unless the group has no database yet. */
async function checkCluster(request: CreateRequest, host: LocalHost): Promise<void> {
  const { config, node } = host;
  if (request.first && config.isJoining)
    throw new LocalError(
      'usage',
      `--first is given, but ${config.path} has "join: true", which says that the cluster runs`,
    );
  const answer = await askPeers(request, host);
  request.signal.throwIfAborted();
  if (answer.kind === 'answered') {
    const reason = whyNotFirst(answer, host);
    if (reason !== undefined) throw refusal(reason);
    return;
  }
  if (await exists(host.paths.fenceFile))
    throw new LocalError(
      'unreachable',
      `${answer.reason}; and ${host.paths.fenceFile} says that this node has taken part in group ${node.group} before: run this again when the peers answer`,
    );
  if (!request.first)
    throw new LocalError(
      'unreachable',
      `whether group ${node.group} has a database already cannot be told: ${answer.reason}. Where this is the first node of a new cluster, and no sentineld of it was ever started with a node, give --first`,
    );
  request.note(
    `${answer.reason}; going on by your word (--first) that group ${node.group} has no database yet`,
  );
}

/** Undefined where the log says that the group has none, or that its first is to be made here. */
function whyNotFirst(
  { status }: Extract<Answer, { readonly kind: 'answered' }>,
  { node, config }: LocalHost,
): string | undefined {
  const elsewhere = status.groups.find(
    ({ group, nodes }) => group !== node.group && nodes.some((each) => each.node === node.name),
  );
  if (elsewhere !== undefined)
    return `node ${node.name} belongs to group ${elsewhere.group}, ${config.path} says ${node.group}`;
  const group = status.groups.find((each) => each.group === node.group);
  if (group === undefined) {
    const other = status.waiting?.find(
      (each) => each.group === node.group && each.hasData && each.node !== node.name,
    );
    return other === undefined
      ? undefined
      : `group ${node.group} is about to be created on ${other.node}, which has a database: a second one would be in its way; sentinelctl node clone copies it once the group runs`;
  }
  const { phase, primary } = group;
  if (phase === 'creating' && primary === node.name) return undefined;
  const state =
    phase === 'creating' ? `is being created on ${primary}` : `has a database, its primary is ${primary}`;
  return `group ${node.group} ${state}: a second one would be another database; sentinelctl node clone copies it to this host`;
}
