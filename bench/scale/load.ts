// The groups on the cluster: lets them come, lets primaries crash, and waits until all is whole again. Every wait has a deadline, and ends
// when a process of the benchmark has.
import { randomInt } from 'node:crypto';
import { delay, until } from '../../src/base/clock.ts';
import type { GroupId, NodeId } from '../../src/base/ids.ts';
import type { ClusterState, GroupState } from '../../src/cluster/state.ts';
import { type Agents, startAgents } from './agents.ts';
import type { ScaleCluster } from './cluster.ts';
import type { SeenEntry } from './learner.ts';

/** What one crash, or many at once, came to. */
export interface Strike {
  /** From the crash to the opening of the next primary, for each group. */
  readonly openedMs: readonly number[];
  /** Until everything was as before, the crashed nodes back as standbys: what the log grew by. */
  readonly entries: number;
  readonly bytes: number;
}

export interface Load {
  readonly agents: Agents;
  /** Registers the nodes of these groups and waits until all are whole; how long that took. */
  addGroups(from: number, to: number): Promise<number>;
  /** The primaries of these groups crash in the same moment. */
  strike(groups: readonly GroupId[]): Promise<Strike>;
  /** Waits until the log has not grown for so long. */
  settle(quietMs: number): Promise<void>;
  close(): void;
}

const ADD_TIMEOUT_MS = 180_000;
const STRIKE_TIMEOUT_MS = 60_000;
const SETTLE_TIMEOUT_MS = 60_000;
/** How long a crashed server takes to be there again, at least. */
const BACK_AFTER_MS = 300;
/** The moment of a crash is chosen by chance within this: it must not fall into step with the probes. */
const CHANCE_MS = 500;
/** What takes longer is told step by step. */
const SLOW_MS = 3000;

export function startLoad(
  cluster: ScaleCluster,
  signal: AbortSignal,
  onFatal: (error: unknown) => void,
): Load {
  const { learner } = cluster;
  const { replica } = learner;
  const opened = new Map<GroupId, bigint>();
  const agents = startAgents({
    learner,
    setServers: cluster.setServers,
    onOpened: ({ group }, atNs) => void opened.set(group, atNs),
    signal,
    onFatal,
  });
  const wait = (what: string, timeoutMs: number, condition: () => boolean): Promise<true> =>
    until({ what, timeoutMs, everyMs: 20, signal }, () => {
      cluster.assertRunning();
      return condition();
    });
  const isWholeNow = (id: GroupId): boolean => isWhole(replica.state, agents, id);
  const waitForEach = (what: string, groups: readonly GroupId[], holds: (id: GroupId) => boolean) =>
    wait(what, STRIKE_TIMEOUT_MS, () => groups.every(holds)).catch((error: Error) => {
      const lacking = groups.filter((id) => !holds(id)).map((id) => text(replica.state, agents, id));
      throw new Error([error.message, ...lacking].join('\n'), { cause: error });
    });

  return {
    agents,
    async addGroups(from, to) {
      const startMs = performance.now();
      const added = cluster.groups.slice(from, to);
      const ids = added.flatMap(([first]) => (first === undefined ? [] : [first.group]));
      agents.add(added.flat());
      await wait('all nodes to be registered', ADD_TIMEOUT_MS, () =>
        added.flat().every(({ node }) => replica.state.nodes.has(node)),
      );
      // The leader would, after waiting half a minute for nodes that may yet come: every voter has one, as a rule.
      await Promise.all(
        added.map(async ([first]) => {
          if (first !== undefined && !replica.state.groups.has(first.group))
            await agents.propose({ kind: 'create-group', group: first.group, primary: first.node });
        }),
      );
      await wait(`${ids.length} groups to be whole`, ADD_TIMEOUT_MS, () => ids.every(isWholeNow));
      return performance.now() - startMs;
    },
    async strike(groups) {
      await delay(randomInt(CHANCE_MS), signal);
      const before = learner.growth();
      const victims = groups.map((id) => primaryOf(replica.state, id));
      for (const id of groups) opened.delete(id);
      const crashedNs = await agents.crash(victims);
      const crashedAtMs = Date.now();
      await waitForEach('a new primary of each group', groups, (id) => opened.has(id));
      await delay(BACK_AFTER_MS, signal);
      agents.allowBack(victims);
      await waitForEach('the groups to be whole again', groups, isWholeNow);
      const after = learner.growth();
      const slowest = [...groups].sort((a, b) => Number((opened.get(b) ?? 0n) - (opened.get(a) ?? 0n)))[0];
      if (slowest !== undefined && Number((opened.get(slowest) ?? crashedNs) - crashedNs) > SLOW_MS * 1e6)
        process.stdout.write(`${stepsOf(slowest, agents, crashedAtMs, learner.recent()).join('\n')}\n`);
      for (const id of groups) await acknowledge(replica.state.groups.get(id), agents);
      return {
        openedMs: groups.map((id) => Number((opened.get(id) ?? crashedNs) - crashedNs) / 1e6),
        entries: after.entries - before.entries,
        bytes: after.bytes - before.bytes,
      };
    },
    async settle(quietMs) {
      let [last, sinceMs] = [learner.growth().entries, performance.now()];
      await wait('the log to be quiet', SETTLE_TIMEOUT_MS, () => {
        const { entries } = learner.growth();
        if (entries !== last) [last, sinceMs] = [entries, performance.now()];
        return performance.now() - sinceMs >= quietMs;
      });
    },
    close: () => agents.close(),
  };
}

function primaryOf(state: ClusterState, id: GroupId): NodeId {
  const phase = state.groups.get(id)?.phase;
  if (phase?.kind !== 'running')
    throw new Error(`group ${id} is ${phase?.kind ?? 'not there'}: it cannot be struck`);
  return phase.primary;
}

/** How it stands with a group that did not do what was waited for. */
function text(state: ClusterState, agents: Agents, id: GroupId): string {
  const group = state.groups.get(id);
  const nodes = agents.nodesOf(id).map(({ node, server, isCrashed }) => {
    const down = state.nodes.get(node)?.subjectiveDown.map(({ peer }) => peer) ?? [];
    return `${node} ${isCrashed ? 'crashed' : server}, down to ${down.length === 0 ? 'nobody' : down.join(' ')}`;
  });
  const { phase, rule, recentFailovers } = group ?? {};
  return `${id}: ${JSON.stringify({ phase, rule, recentFailovers }, (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value))}; ${nodes.join('; ')}`;
}

/** Every node is up and follows, and every standby counts for commits. */
function isWhole(state: ClusterState, agents: Agents, id: GroupId): boolean {
  const group = state.groups.get(id);
  const nodes = agents.nodesOf(id);
  if (group?.phase.kind !== 'running' || group.next !== undefined || group.floor !== undefined) return false;
  const { primary } = group.phase;
  const isFollowing = nodes.every(({ node, upstream }) => node === primary || upstream === primary);
  const areJudgedUp = nodes.every(({ node }) => state.nodes.get(node)?.subjectiveDown.length === 0);
  return isFollowing && areJudgedUp && group.rule.members.length === nodes.length - 1;
}

/** What the log held of a group, and who led, from a crash on. */
function stepsOf(id: GroupId, agents: Agents, fromMs: number, entries: readonly SeenEntry[]): string[] {
  const nodes = new Set<string>(agents.nodesOf(id).map(({ node }) => node));
  const steps = entries.filter(({ arrivedAtMs, command }) => {
    if (arrivedAtMs < fromMs) return false;
    if (command === undefined || command.kind === 'open-session') return true;
    return (
      ('group' in command && command.group === id) || ('node' in command && nodes.has(command.node ?? ''))
    );
  });
  return [
    `  ${id} was slow:`,
    ...steps.map(({ command, proposedAtMs, arrivedAtMs }) => {
      const text = JSON.stringify(command, (_, value: unknown) =>
        typeof value === 'bigint' ? `${value}` : value,
      );
      const proposed = proposedAtMs === undefined ? '' : ` (proposed at ${proposedAtMs - fromMs})`;
      return `  +${arrivedAtMs - fromMs} ms${proposed} ${text ?? 'a new leader'}`;
    }),
  ];
}

/** Before the group would hold because of too many failovers. */
async function acknowledge(group: GroupState | undefined, agents: Agents): Promise<void> {
  if (group !== undefined && group.recentFailovers.length >= group.settings.maxFailovers - 1)
    await agents.propose({ kind: 'acknowledge-failovers', group: group.id });
}
