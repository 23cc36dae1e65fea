// The shell around agent-model.ts: steps the agents of a group whenever the log or a node of it changed, proposes what the log lacks,
// tells the servers what they are, and reports as real agents do. One process stands for the hosts of all nodes.
import type { GroupId, NodeId } from '../../src/base/ids.ts';
import type { Command } from '../../src/cluster/commands.ts';
import type { ClusterState } from '../../src/cluster/state.ts';
import { type NodeModel, reportOf, stepAgent } from './agent-model.ts';
import type { Learner } from './learner.ts';
import type { ServerChange } from './servers-plan.ts';

/** Real agents broadcast a report without news every 450 to 500 ms; those of all nodes are spread over that time. */
const REPORT_EVERY_MS = 500;
const REPORT_SLICES = 20;
/** A real agent's pass: what is still lacking is proposed again. */
const PASS_EVERY_MS = 250;
const PROPOSAL_TIMEOUT_MS = 2000;
const PROPOSE_TRIES_MAX = 30;
/** Of all nodes together: real agents on hosts of their own would not share the window of one session. */
const PROPOSALS_MAX = 64;
/** Steps of a group after one change: a start, a stream, and what the primary makes of it. */
const ROUNDS_MAX = 20;

export interface Agents {
  /** The agents of these nodes start. */
  add(nodes: readonly NodeModel[]): void;
  nodesOf(group: GroupId): readonly NodeModel[];
  /** Every process of these nodes is gone, as their agents say at once. */
  crash(nodes: readonly NodeId[]): Promise<bigint>;
  /** They may be started again. */
  allowBack(nodes: readonly NodeId[]): void;
  /** Proposes until it is applied, or refused: something else has done it. Rejects after a minute without an answer, and when the signal aborts. */
  propose(command: Command): Promise<void>;
  close(): void;
}

export function startAgents(options: {
  readonly learner: Learner;
  /** Resolves with the moment at which all was done, on the machine's monotonic clock, in nanoseconds. */
  readonly setServers: (changes: readonly ServerChange[]) => Promise<bigint>;
  /** A server opened as primary. */
  readonly onOpened: (node: NodeModel, atNs: bigint) => void;
  readonly signal: AbortSignal;
  readonly onFatal: (error: unknown) => void;
}): Agents {
  const { learner, onFatal } = options;
  const { replica } = learner;
  const places = new Map<NodeId, number>();
  const groups = new Map<GroupId, NodeModel[]>();
  const groupOf = new Map<NodeId, GroupId>();
  const underWay = new Set<string>();
  const sequences = new Map<NodeId, number>();
  const startedAtMs = Date.now();
  let waiting: Command[] = [];
  let seen: ClusterState = replica.state;

  const say = (model: NodeModel): void => {
    const sequence = (sequences.get(model.node) ?? 0) + 1;
    sequences.set(model.node, sequence);
    const others = nodesOf(model.group).filter((other) => other !== model);
    learner.broadcast(reportOf(model, others, { sequence, startedAtMs }));
  };
  const nodesOf = (group: GroupId): NodeModel[] => groups.get(group) ?? [];

  const setServer = (model: NodeModel): Promise<bigint> =>
    options.setServers([{ at: places.get(model.node) ?? -1, role: model.server }]);

  const replaceWith = (nodes: NodeModel[], at: number, before: NodeModel, model: NodeModel): void => {
    nodes[at] = model;
    if (before.server !== model.server) {
      if (model.server === 'primary') options.onOpened(model, process.hrtime.bigint());
      setServer(model).catch(onFatal);
    }
  };

  /** Until nothing changes any more; a node sees what the others have become. */
  const stepGroup = (group: GroupId): void => {
    const nodes = nodesOf(group);
    const news = new Set<number>();
    let wanted: Command[] = [];
    let isChanged = true;
    for (let round = 0; isChanged; round += 1) {
      if (round > ROUNDS_MAX) throw new Error(`the simulated agents of ${group} never come to rest`);
      isChanged = false;
      wanted = [];
      for (const [at, before] of nodes.entries()) {
        const others = nodes.filter((_, other) => other !== at);
        const step = stepAgent(before, others, replica.state);
        wanted.push(...step.wanted);
        if (step.model === before) continue;
        isChanged = true;
        news.add(at);
        replaceWith(nodes, at, before, step.model);
      }
    }
    // What a primary says of its walsenders changes with its standbys.
    if (news.size > 0)
      for (const [at, model] of nodes.entries()) if (news.has(at) || model.server === 'primary') say(model);
    for (const command of wanted) want(command);
  };

  const want = (command: Command): void => {
    const key = keyOf(command);
    if (underWay.has(key)) return;
    underWay.add(key);
    waiting.push(command);
    pump();
  };
  let proposing = 0;
  const pump = (): void => {
    while (proposing < PROPOSALS_MAX) {
      const command = waiting.shift();
      if (command === undefined) return;
      proposing += 1;
      replica
        .propose(command, PROPOSAL_TIMEOUT_MS)
        .catch(onFatal)
        .finally(() => {
          proposing -= 1;
          underWay.delete(keyOf(command));
          pump();
        })
        .catch(onFatal);
    }
  };

  const follow = (state: ClusterState): void => {
    for (const [id, group] of state.groups) if (seen.groups.get(id) !== group) touched.add(id);
    if (seen.nodes !== state.nodes)
      for (const [id, node] of state.nodes) if (seen.nodes.get(id) !== node) touched.add(node.group);
    seen = state;
    for (const group of touched) stepGroup(group);
    touched.clear();
  };
  const touched = new Set<GroupId>();
  const unsubscribe = replica.subscribe(follow);

  const passes = setInterval(() => {
    for (const group of groups.keys()) stepGroup(group);
  }, PASS_EVERY_MS);
  let slice = 0;
  const reporting = setInterval(() => {
    slice = (slice + 1) % REPORT_SLICES;
    for (const nodes of groups.values())
      for (const model of nodes) if ((places.get(model.node) ?? 0) % REPORT_SLICES === slice) say(model);
  }, REPORT_EVERY_MS / REPORT_SLICES);

  return {
    add(nodes) {
      for (const model of nodes) {
        places.set(model.node, places.size);
        groupOf.set(model.node, model.group);
        groups.set(model.group, [...nodesOf(model.group), model]);
      }
      for (const group of new Set(nodes.map((model) => model.group))) stepGroup(group);
    },
    nodesOf,
    async crash(ids) {
      const changes = ids.map((id): ServerChange => ({ at: places.get(id) ?? -1, role: 'down' }));
      const atNs = await options.setServers(changes);
      for (const id of ids) {
        const nodes = nodesOf(groupOf.get(id) as GroupId);
        const at = nodes.findIndex(({ node }) => node === id);
        const model = nodes[at];
        if (model === undefined) throw new RangeError(`there is no node ${id}`);
        nodes[at] = { ...model, server: 'down', isCrashed: true, upstream: undefined };
        say(nodes[at]);
        stepGroup(model.group);
      }
      return atNs;
    },
    allowBack(ids) {
      for (const id of ids) {
        const group = groupOf.get(id) as GroupId;
        const nodes = nodesOf(group);
        const at = nodes.findIndex(({ node }) => node === id);
        const model = nodes[at];
        if (model !== undefined) nodes[at] = { ...model, isCrashed: false };
        stepGroup(group);
      }
    },
    async propose(command) {
      for (let tries = 0; tries < PROPOSE_TRIES_MAX; tries += 1) {
        options.signal.throwIfAborted();
        if ((await replica.propose(command, PROPOSAL_TIMEOUT_MS)).kind !== 'unknown') return;
      }
      throw new Error(`no leader of the log answered ${command.kind} for a minute`);
    },
    close() {
      clearInterval(passes);
      clearInterval(reporting);
      unsubscribe();
      waiting = [];
    },
  };
}

function keyOf(command: Command): string {
  const node = 'node' in command ? command.node : '';
  const group = 'group' in command ? command.group : '';
  return `${command.kind} ${group} ${node}`;
}
