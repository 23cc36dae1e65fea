// Watches the servers that are only watched, from this peer: probes that never write, and what they see goes to the log as edges. Nothing
// here or below it may ever act on such a server.
import { epoch, type NodeId, type PeerId } from '../base/ids.ts';
import type { Command, ServerWord, WatchedServer } from '../cluster/commands.ts';
import { FORMATIONS_FEATURE_LEVEL } from '../cluster/features.ts';
import { isNews, watchedServers } from '../cluster/hosts.ts';
import type { ClusterState } from '../cluster/state.ts';
import type { Judgement, ServerFacts, Target } from '../health/events.ts';
import { type Health, type HealthOptions, startHealth } from '../health/watch.ts';
import type { ProposalOutcome } from './replica.ts';
import { type Routes, routedTargets } from './routes.ts';

const PROPOSAL_TIMEOUT_MS = 2000;
const RETRY_MS = 200;

export interface ServerSight {
  /** Why it is held for what it is, for people. */
  readonly note: string;
  /** Its last answer; undefined while it is held for down, or has not answered. */
  readonly facts: ServerFacts | undefined;
}

export interface ServerWatch {
  /** After every change of the log. */
  follow(state: ClusterState): void;
  setQuorumReachable(reachable: boolean): void;
  /** What this peer sees of each, for `status`. */
  sights(): ReadonlyMap<NodeId, ServerSight>;
  close(): Promise<void>;
}

export function startServerWatch(
  options: Pick<HealthOptions, 'self' | 'settings' | 'clock' | 'credentials' | 'log'> & {
    readonly via: Routes;
    readonly state: () => ClusterState;
    readonly propose: (command: Command, timeoutMs: number) => Promise<ProposalOutcome>;
    /** Only tests pass anything else. */
    readonly start?: typeof startHealth;
  },
): ServerWatch {
  const { self, state } = options;
  const judgements = new Map<NodeId, Judgement>();
  const facts = new Map<NodeId, ServerFacts>();
  const underWay = new Set<NodeId>();
  /** Begun with the first server: most clusters have none. */
  let health: Health | undefined;
  let isQuorumReachable = false;
  let isClosed = false;
  let seen: readonly WatchedServer[] = [];
  let seenPeers: ClusterState['peers'] | undefined;

  const reconcile = (): void => {
    if (isClosed) return;
    for (const [server, judgement] of judgements) {
      const command = missingWord(state(), self, server, wordOf(judgement, facts.get(server)));
      if (command === undefined || underWay.has(server)) continue;
      underWay.add(server);
      const again = (delayMs: number): void => {
        underWay.delete(server);
        setTimeout(reconcile, delayMs).unref();
      };
      options.propose(command, PROPOSAL_TIMEOUT_MS).then(
        (outcome) => again(outcome.kind === 'applied' ? 0 : RETRY_MS),
        () => again(RETRY_MS),
      );
    }
  };

  const watch = (servers: readonly WatchedServer[]): void => {
    for (const { server, host, port } of seen) {
      const moved = servers.find((other) => other.server === server);
      // The probes begin anew at another address, and so does what is known.
      if (moved !== undefined && moved.host === host && moved.port === port) continue;
      judgements.delete(server);
      facts.delete(server);
    }
    seen = servers;
    if (health === undefined && servers.length === 0) return;
    health ??= begin();
    health.setTargets(
      routedTargets(
        servers.map((server) => targetOf(server, self)),
        options.via,
      ),
    );
  };

  const begin = (): Health => {
    const started = (options.start ?? startHealth)({
      ...options,
      onServer: (server, answer) => {
        facts.set(server, answer);
        reconcile();
      },
      onJudgement: (server, _epoch, judgement) => {
        judgements.set(server, judgement);
        if (judgement.verdict === 'down') facts.delete(server);
        reconcile();
      },
    });
    started.setQuorumReachable(isQuorumReachable);
    return started;
  };

  return {
    follow(now) {
      if (now.peers !== seenPeers) {
        seenPeers = now.peers;
        const servers = watchedServers(now);
        if (!sameServers(servers, seen)) watch(servers);
      }
      reconcile();
    },
    setQuorumReachable(reachable) {
      isQuorumReachable = reachable;
      health?.setQuorumReachable(reachable);
    },
    sights: () =>
      new Map(
        health
          ?.snapshot()
          .nodes.map(({ node, judgement, server }) => [node, { note: judgement.note, facts: server }]),
      ),
    async close() {
      isClosed = true;
      await health?.close();
    },
  };
}

function targetOf({ server, host, port }: WatchedServer, self: PeerId): Target {
  return { node: server, host, port, epoch: epoch(0), expect: 'either', hostPeer: self };
}

function sameServers(a: readonly WatchedServer[], b: readonly WatchedServer[]): boolean {
  const text = (servers: readonly WatchedServer[]): string =>
    JSON.stringify(servers.map(({ server, host, port }) => [server, host, port]));
  return text(a) === text(b);
}

/** An abstaining or undecided observer says nothing. */
function wordOf({ verdict, evidence }: Judgement, facts: ServerFacts | undefined): ServerWord | undefined {
  if (verdict === 'up') return { kind: 'up', role: facts?.role, timeline: facts?.timeline };
  return verdict === 'down' && evidence !== undefined ? { kind: 'down', evidence } : undefined;
}

/** What this peer has to propose so that the log says what it sees; undefined where it does, or need not. */
export function missingWord(
  state: ClusterState,
  self: PeerId,
  server: NodeId,
  word: ServerWord | undefined,
): Command | undefined {
  if (word === undefined || state.featureLevel < FORMATIONS_FEATURE_LEVEL) return undefined;
  if (!state.membership.voters.includes(self)) return undefined;
  const standing = state.watched.get(server)?.words.find(({ peer }) => peer === self)?.word;
  return isNews(standing, word) ? { kind: 'judge-server', peer: self, server, word } : undefined;
}
