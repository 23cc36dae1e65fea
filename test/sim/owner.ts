// The owner of servers that run before there is a group: has made them by hand, starts them again while they are not ours, and adopts them
// (`sentinelctl adopt`) while clients write.
import type { NodeId } from '../../src/base/ids.ts';
import { timeline } from '../../src/base/ids.ts';
import type { AgentReport } from '../../src/cluster/report.ts';
import { ADOPTION_FEATURE_LEVEL } from '../../src/cluster/features.ts';
import { nodesOfGroup } from '../../src/cluster/state.ts';
import { tell } from './describe.ts';
import { GROUP, type Postgres, SYSTEM_IDENTIFIER, startByHand } from './postgres/postgres.ts';
import { beginStreaming } from './postgres/streams.ts';
import { proposeAny } from './requests.ts';
import { type Host, type World, newestState, nowMsOf } from './world.ts';

const FRESH_MS = 400;

/** A primary and its standbys, on a timeline that no log has assigned; now and then a node has no data yet. */
export function beginByHand(world: World): void {
  const { random, groupChecks } = world;
  const primary = random.pick(groupChecks.nodes);
  const begun = random.between(1, 3);
  groupChecks.highestOpened = begun;
  groupChecks.highestPromoted = begun;
  primary.wal = [{ timeline: begun, value: 0 }];
  primary.isFit = true;
  startByHand(primary, 'primary');
  for (const node of groupChecks.nodes) {
    if (node === primary || random.ppm(150_000)) continue;
    node.wal = [...primary.wal];
    node.isFit = true;
    node.upstream = primary.name;
    startAgain(world, node);
  }
}

function startAgain(world: World, node: Postgres): void {
  startByHand(node, node.endedAs === 'primary' ? 'primary' : 'standby');
  tell(world, () => `its owner starts ${node.name} as a ${node.role}`);
  beginStreaming(world, node, 0);
}

/** What has died is started again by its owner, as long as the log has not made anything else of it. */
export function lookAfterOwn(world: World): void {
  const group = newestState(world)?.groups.get(GROUP);
  for (const node of world.groupChecks.nodes) {
    if (node.isUp || !node.isFit || node.startedBy !== 'owner') continue;
    const isOwners =
      group === undefined || (group.phase.kind === 'running' && group.toAdopt.includes(node.name));
    if (isOwners && world.random.ppm(200_000)) startAgain(world, node);
  }
}

/** `sentinelctl adopt`; where there is a group, the switchover that ends its adoption, now and then. */
export function adopt(world: World, leader: Host): void {
  const state = leader.replica?.state;
  if (state === undefined || state.featureLevel < ADOPTION_FEATURE_LEVEL) return;
  const group = state.groups.get(GROUP);
  if (group !== undefined) {
    const isToEnd = group.toAdopt.length > 0 && world.random.ppm(world.isTroubled ? 40_000 : 100_000);
    const cause = { kind: 'planned', to: undefined } as const;
    if (isToEnd)
      proposeAny(world, leader, { kind: 'begin-failover', group: GROUP, epoch: group.epoch, cause });
    return;
  }
  const found = foundServers(world, leader);
  const withData = nodesOfGroup(state, GROUP).filter(
    ({ systemIdentifier }) => systemIdentifier !== undefined,
  );
  const primary = withData.find(({ node }) => found.get(node)?.found?.role === 'primary')?.node;
  const at = primary && found.get(primary)?.timeline;
  if (primary === undefined || at === undefined || withData.some(({ node }) => !found.has(node))) return;
  if (world.groupChecks.nodes.some(({ name, isFit }) => isFit && !withData.some(({ node }) => node === name)))
    return;
  const standbys = withData.map(({ node }) => node).filter((node) => node !== primary);
  proposeAny(world, leader, {
    kind: 'adopt-group',
    group: GROUP,
    primary,
    systemIdentifier: SYSTEM_IDENTIFIER,
    timeline: timeline(at),
    standbys,
  });
}

/** The servers of others that the leader has heard of lately. */
function foundServers(world: World, leader: Host): ReadonlyMap<NodeId, AgentReport> {
  const nowMs = nowMsOf(world, leader);
  const fresh = new Map<NodeId, AgentReport>();
  for (const [node, { report, receivedAtMs }] of leader.leading?.reports ?? [])
    if (report.found !== undefined && nowMs - receivedAtMs <= FRESH_MS) fresh.set(node, report);
  return fresh;
}
