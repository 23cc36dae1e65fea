// `sentinelctl node clone`: a copy of the primary, or of the standby that a person names, becomes the data directory of this host's node.
// sentineld takes it from there and follows. Must never replace a server's data that pg-sentinel has not made.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DEFAULT_AGENT_TIMING } from '../actions/context.ts';
import type { DataDirectory } from '../actions/data-directory.ts';
import { rateBytes } from '../daemon/config-schema.ts';
import { createCloneSpeed } from '../postgres/clone-progress.ts';
import { cloneStandby } from '../postgres/clone.ts';
import {
  type SourceSize,
  type TablespaceMapping,
  checkRoom,
  isMappedBy,
  mib,
  readSourceSize,
} from '../postgres/clone-room.ts';
import { writeNewMember } from '../postgres/member.ts';
import { REINIT_MARKER } from '../postgres/reinit-marker.ts';
import { forgetRewound } from '../postgres/rewound.ts';
import { changeSettings, readSettings, removeOverrides } from '../postgres/settings.ts';
import type { GroupView } from '../transport/types.ts';
import { askPeers } from './ask-peers.ts';
import {
  type ExternalConfig,
  type ExternalConfigKind,
  copyExternalConfig,
  externalPlan,
  findExternalConfig,
} from './external-config.ts';
import { type LocalHost, alone, findPrograms, openHost } from './host.ts';
import { LocalError, type LocalOutcome, type LocalRequest, planned, refusal } from './request.ts';
import { type CloneSource, findGroup, findSource } from './source.ts';

export interface CloneRequest extends LocalRequest {
  /** The node to copy; undefined: the primary. */
  readonly from: string | undefined;
  /** Such as `50MB`; undefined: as the configuration says. */
  readonly maxRate: string | undefined;
  /** By name or by location on the source; they go before those of the configuration. */
  readonly tablespaces: TablespaceMapping;
  readonly walDirectory: string | undefined;
  readonly externalConfig: ExternalConfigKind | undefined;
}

const SPEED_EVERY_MS = 200;

/** Throws {@link LocalError} where it is refused. */
export async function cloneNode(request: CloneRequest): Promise<LocalOutcome> {
  const { maxRate } = request;
  if (maxRate !== undefined && rateBytes(maxRate) === undefined)
    throw new LocalError(
      'usage',
      `--max-rate ${maxRate}: expected a size for each second with a unit, kB or MB, from 32kB to 1024MB, such as 50MB`,
    );
  const host = await openHost(request);
  checkOutside(request, host);
  return alone(request, host, 'sentinelctl node clone', (asked, data) => clone(asked, host, data));
}

function checkOutside({ walDirectory, tablespaces }: CloneRequest, { node }: LocalHost): void {
  const { dataDirectory } = node;
  for (const path of [...(walDirectory === undefined ? [] : [walDirectory]), ...tablespaces.values()])
    if (path === dataDirectory || path.startsWith(`${dataDirectory}/`))
      throw new LocalError(
        'usage',
        `${path} is inside ${dataDirectory}, which a clone replaces; expected one outside`,
      );
}

/** All that is known before anything is copied. */
interface Plan {
  readonly source: CloneSource;
  readonly size: SourceSize;
  readonly tablespaces: TablespaceMapping;
  readonly walDirectory: string | undefined;
  readonly maxRateBytes: number | undefined;
  readonly external: ExternalConfig | undefined;
  readonly externalSteps: readonly string[];
}

async function clone(request: CloneRequest, host: LocalHost, data: DataDirectory): Promise<LocalOutcome> {
  const { node, user, paths } = host;
  const { dataDirectory } = node;
  if (data.kind === 'ready' && data.member !== undefined)
    return {
      detail: `nothing to do: ${dataDirectory} is the data directory of ${node.name} already; sentinelctl node reinit ${node.name} has sentineld replace it by a new clone`,
    };
  if (data.kind === 'foreign') throw refusal(data.reason);
  if (data.kind === 'ready')
    throw refusal(
      `${dataDirectory} holds a database that pg-sentinel has not made for ${node.name}: move it away, or empty it`,
    );
  // What it wrote and the group lacks is saved by sentineld alone, which also knows when it may be touched.
  if (data.kind === 'unfit')
    throw refusal(
      `${dataDirectory} is that of ${node.name}, to be replaced by a clone (${data.reason}): start sentineld on this host, which saves what only this directory holds and then clones by itself`,
    );
  const group = await askForGroup(request, host);
  const plan = await makePlan(request, host, group);
  const binaries = await findPrograms(request, host);
  if (binaries !== undefined && binaries.version !== plan.source.version)
    throw refusal(
      `${plan.source.node} runs PostgreSQL ${plan.source.version}, the programs here (${binaries.directory}) are of ${binaries.version}: install ${plan.source.version}, or set node.bin_directory`,
    );
  const method = binaries?.has.pgBasebackup === false ? 'the replication protocol' : 'pg_basebackup';
  if (request.dryRun || binaries === undefined) return planned(stepsOf(plan, host, method));
  for (const step of stepsOf(plan, host, method)) request.say(step);
  const startedMs = performance.now();
  const measure = createCloneSpeed(() => performance.now(), SPEED_EVERY_MS);
  await cloneStandby({
    binaries,
    user,
    dataDirectory,
    mustBeEmpty: true,
    passfileDirectory: paths.passfileDirectory,
    source: plan.source.upstream,
    systemIdentifier: plan.source.systemIdentifier,
    tablespaces: plan.tablespaces,
    walDirectory: plan.walDirectory,
    maxRateBytes: plan.maxRateBytes,
    stallMs: DEFAULT_AGENT_TIMING.cloneStallMs,
    signal: request.signal,
    onProgress: (progress) => request.onProgress(measure(progress)),
    onNote: request.note,
    finish: (directory, systemIdentifier) => finish(host, plan, { directory, systemIdentifier }),
  });
  noteUnkept(request, host);
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  return {
    detail: `${dataDirectory} is a copy of ${plan.source.node}, made in ${seconds} s: the data directory of ${node.name} from now on`,
    next: 'start sentineld on this host, soon: the primary keeps WAL for it only from then on. One that runs already takes it by itself',
  };
}

async function askForGroup(request: CloneRequest, host: LocalHost): Promise<GroupView> {
  const answer = await askPeers(request, host);
  request.signal.throwIfAborted();
  if (answer.kind === 'silent')
    throw new LocalError(
      'unreachable',
      `who is the primary of group ${host.node.group} cannot be told: ${answer.reason}`,
    );
  return findGroup(answer.status, host);
}

async function makePlan(request: CloneRequest, host: LocalHost, group: GroupView): Promise<Plan> {
  const { node, config } = host;
  const source = await findSource(request, host, group);
  const tablespaces = new Map([...node.tablespaces, ...request.tablespaces]);
  const walDirectory = request.walDirectory ?? node.walDirectory;
  const maxRateBytes = request.maxRate === undefined ? config.cloneMaxRateBytes : rateBytes(request.maxRate);
  const size = await readSourceSize(source.upstream, tablespaces).catch((error: unknown) => {
    throw refusal(`${source.node} does not say how large it is: ${(error as Error).message}`);
  });
  checkMapping(request, source, size);
  await checkRoom(node.dataDirectory, size, walDirectory).catch((error: unknown) => {
    throw refusal((error as Error).message);
  });
  const external = await findExternalConfig(source, request.externalConfig);
  const externalSteps = external === undefined ? [] : await externalPlan(external, host.user);
  return { source, size, tablespaces, walDirectory, maxRateBytes, external, externalSteps };
}

/** What a person has mapped has to be there: else it is a slip of the pen. */
function checkMapping({ tablespaces }: CloneRequest, { node }: CloneSource, size: SourceSize): void {
  const known = size.tablespaces.map(({ name, location }) => `${name} (${location})`);
  for (const [from, to] of tablespaces)
    if (!size.tablespaces.some((each) => isMappedBy(from, each)))
      throw refusal(
        `--tablespace-mapping ${from}=${to}: ${node} has no such tablespace; expected one of ${known.join(', ') || 'none, for it has none'}`,
      );
}

function stepsOf({ source, size, ...plan }: Plan, { node, user }: LocalHost, method: string): string[] {
  const { host, port } = source.upstream;
  const bytes = size.tablespaces.reduce((total, each) => total + each.bytes, size.dataBytes);
  const rate = plan.maxRateBytes === undefined ? '' : `, at most ${mib(plan.maxRateBytes)} MB/s`;
  return [
    `${method} copies ${mib(bytes)} MB from ${source.node} at ${host}:${port} to ${node.dataDirectory}, as ${user.name}${rate}`,
    ...size.tablespaces.map(
      ({ name, location, target }) => `tablespace ${name} goes from ${location} to ${withoutSuffix(target)}`,
    ),
    ...(plan.walDirectory === undefined ? [] : [`its WAL goes below ${plan.walDirectory}`]),
    ...plan.externalSteps,
  ];
}

/** Each copy has one of its own. */
const withoutSuffix = (path: string): string => path.replace(/(pg_sentinel-)[0-9a-f]{8}$/, '$1XXXXXXXX');

/** The copy becomes this node's, and nothing in it leads to what the source streams from. */
async function finish(
  { node, user, paths }: LocalHost,
  { external }: Plan,
  { directory, systemIdentifier }: { readonly directory: string; readonly systemIdentifier: string },
): Promise<void> {
  const { owner } = user;
  await forgetRewound(directory);
  await rm(join(directory, REINIT_MARKER), { force: true });
  await removeOverrides({ dataDirectory: directory, keys: UPSTREAM_KEYS, owner });
  if ((await readSettings(directory)).size > 0) {
    const changes = Object.fromEntries(UPSTREAM_KEYS.map((key) => [key, '']));
    await changeSettings({ dataDirectory: directory, changes, owner });
  }
  if (external !== undefined)
    await copyExternalConfig({ external, directory, user, adoptedHbaFile: paths.adoptedHbaFile });
  await writeNewMember({ dataDirectory: directory, node: node.name, systemIdentifier, owner });
}

const UPSTREAM_KEYS = ['primary_conninfo', 'primary_slot_name'];

/** sentineld's own clones go by the configuration alone. */
function noteUnkept({ walDirectory, tablespaces, note }: CloneRequest, { node, config }: LocalHost): void {
  const unkept = [
    ...(walDirectory === undefined || walDirectory === node.walDirectory
      ? []
      : [`wal_directory: ${walDirectory}`]),
    ...[...tablespaces].flatMap(([from, to]) =>
      node.tablespaces.get(from) === to ? [] : [`tablespaces: { ${from}: ${to} }`],
    ),
  ];
  if (unkept.length > 0)
    note(
      `later clones by sentineld do the same with this below "node" in ${config.path}: ${unkept.join(', ')}`,
    );
}
