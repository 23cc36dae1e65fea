// Watches every node from this peer: a prober and a judgement for each, one tick for all. Tells of edges at once and keeps the
// present state for `status`. Decides nothing beyond this peer's own judgement; must never call back after close().
import type { Clock } from '../base/clock.ts';
import type { Epoch, NodeId, PeerId } from '../base/ids.ts';
import { isEdge, judge, startJudging, type EvidenceState } from './evidence.ts';
import type { HealthEvent, Judgement, ServerFacts, Target } from './events.ts';
import type { Facts } from './facts.ts';
import { Prober } from './prober.ts';
import { mayRipen } from './rows.ts';
import type { Credentials } from './session.ts';
import { calmTickMs, startSpreadMs, TICK_MS, wellAfterMs, type HealthSettings } from './settings.ts';
import { startTilt, tilt, type TiltEvent } from './tilt.ts';

export type { Judgement, Target } from './events.ts';

/** The part of a pino logger that is used. */
export interface HealthLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface HealthOptions {
  readonly self: PeerId;
  readonly settings: HealthSettings;
  readonly clock: Clock;
  readonly credentials: Credentials;
  /**
   * A verdict or its evidence changed, or the epoch moved on (then for every node whose target changed). Called at once, from timers and
   * socket callbacks: must only enqueue. Only `up` takes a `down` back; `unknown` and `abstain` say nothing.
   */
  readonly onJudgement: (node: NodeId, epoch: Epoch, judgement: Judgement) => void;
  /** A server that is only watched has said what it is; called before the judgement that follows from it. Must only enqueue. */
  readonly onServer?: (node: NodeId, server: ServerFacts) => void;
  readonly log: HealthLog;
}

export interface NodeHealth {
  readonly node: NodeId;
  readonly epoch: Epoch;
  readonly expect: Target['expect'];
  readonly judgement: Judgement;
  readonly sessionOpen: boolean;
  /** Age of the last answered probe; undefined before the first. */
  readonly lastAnswerAgeMs: number | undefined;
  readonly latencyMs: number | undefined;
  readonly inRecovery: boolean | undefined;
  /** Why it has not let us in for a while, though it lets others in: wrong password, no rule in pg_hba.conf, no such role. */
  readonly loginRefused: string | undefined;
  /** Of a server that is only watched: its last answer, as long as it is held for up. */
  readonly server: ServerFacts | undefined;
}

export interface HealthSnapshot {
  /** Why this observer abstains; undefined while it is well. */
  readonly abstains: string | undefined;
  /** In the order of the targets. */
  readonly nodes: readonly NodeHealth[];
}

export interface Health {
  /** Replaces what is watched. A change of epoch, expectation or host peer keeps the connection. */
  setTargets(targets: readonly Target[]): void;
  /** The agent in this process saw all processes of its own node gone; it has waited for `restartGraceMs` itself where that applies. */
  localProcessesGone(node: NodeId): void;
  localProcessesBack(node: NodeId): void;
  /** The node's host peer committed `processes-gone`. */
  hostSaysGone(node: NodeId): void;
  /** It took that back. */
  hostSaysBack(node: NodeId): void;
  /** Whether this peer reaches a quorum of peers. At first it counts as unreachable: until this is called with true every node is abstained on. */
  setQuorumReachable(reachable: boolean): void;
  snapshot(): HealthSnapshot;
  /** Closes every connection; waits at most a moment for the servers. */
  close(): Promise<void>;
}

interface Watched {
  target: Target;
  state: EvidenceState;
  /** As the log was last told. */
  said: Judgement;
  readonly prober: Prober;
  server: ServerFacts | undefined;
}

export function startHealth(options: HealthOptions): Health {
  const { clock, settings, self } = options;
  const watched = new Map<NodeId, Watched>();
  const closing = new Set<Promise<void>>();
  let closed = false;
  let observer = startTilt({
    wellAfterMs: wellAfterMs(settings),
    nowMs: clock.monotonicMs(),
    wallMs: clock.wallMs(),
  });
  let abstains: string | undefined;

  const feed = (entry: Watched, event: HealthEvent): void => {
    const before = entry.state.judgement;
    const { state, judgement } = judge(entry.state, event);
    entry.state = state;
    const isNewEpoch = event.kind === 'target' && event.target.epoch !== entry.target.epoch;
    if (event.kind === 'target') entry.target = event.target;
    if (closed) return;
    const edge = isEdge(before, judgement);
    if (isItsOwn(entry, judgement)) logNews(entry, judgement);
    if (edge || isNewEpoch) options.onJudgement(entry.target.node, entry.target.epoch, judgement);
  };

  const logNews = (entry: Watched, judgement: Judgement): void => {
    const edge = isEdge(entry.said, judgement);
    if (!edge && saysTheSame(entry.said, judgement)) return;
    entry.said = judgement;
    const { node, epoch, expect } = entry.target;
    const fields = { node, epoch, expect, verdict: judgement.verdict, evidence: judgement.evidence };
    const message = `${node}${edge ? ` ${judgement.verdict}` : ''}: ${judgement.note}`;
    if (judgement.verdict === 'down') options.log.warn(fields, message);
    else options.log.info(fields, message);
  };

  const observe = (event: TiltEvent): void => {
    const next = tilt(observer, event);
    observer = next.state;
    if (next.abstains === abstains) return;
    abstains = next.abstains;
    if (abstains === undefined) options.log.info({}, 'this observer judges again');
    else options.log.warn({}, `this observer abstains: ${abstains}`);
    for (const entry of watched.values()) feed(entry, { kind: 'observer', abstains, nowMs: event.nowMs });
  };

  const onNode = (node: NodeId, event: (nowMs: number) => HealthEvent): void => {
    const entry = watched.get(node);
    if (entry !== undefined) feed(entry, event(clock.monotonicMs()));
  };

  const watch = (target: Target, startAfterMs: number): void => {
    const nowMs = clock.monotonicMs();
    const prober = new Prober({
      self,
      host: target.host,
      port: target.port,
      expect: target.expect,
      settings,
      credentials: options.credentials,
      clock,
      startAfterMs,
      onEvent: (event) => {
        // A stall shows first to whatever comes first after it.
        observe({ kind: 'activity', nowMs: event.nowMs });
        if (event.kind === 'answered' && event.server !== undefined) {
          entry.server = event.server;
          if (!closed) options.onServer?.(target.node, event.server);
        }
        feed(entry, event);
      },
    });
    const state = startJudging({ self, settings, target, nowMs });
    const entry: Watched = { target, state, said: state.judgement, prober, server: undefined };
    watched.set(target.node, entry);
    if (abstains !== undefined) feed(entry, { kind: 'observer', abstains, nowMs });
  };

  const unwatch = (entry: Watched): void => {
    watched.delete(entry.target.node);
    const done: Promise<void> = entry.prober.close().finally(() => closing.delete(done));
    closing.add(done);
  };

  const tick = (): void => {
    const nowMs = clock.monotonicMs();
    const isCalm =
      observer.trouble === undefined && [...watched.values()].every((entry) => !mayRipen(entry.state.facts));
    const nextInMs = isCalm ? calmTickMs(settings) : TICK_MS;
    observe({ kind: 'tick', nowMs, wallMs: clock.wallMs(), nextInMs });
    for (const entry of watched.values()) feed(entry, { kind: 'tick', nowMs });
    if (!closed) ticking = setTimeout(tick, nextInMs);
  };
  let ticking = setTimeout(tick, TICK_MS);
  observe({ kind: 'activity', nowMs: clock.monotonicMs() });

  return {
    setTargets(targets) {
      if (closed) return;
      const wanted = new Map(targets.map((target) => [target.node, target]));
      for (const entry of [...watched.values()]) {
        const target = wanted.get(entry.target.node);
        if (target === undefined || target.host !== entry.target.host || target.port !== entry.target.port)
          unwatch(entry);
      }
      const newCount = [...wanted.keys()].filter((node) => !watched.has(node)).length;
      const spreadMs = startSpreadMs(newCount, settings);
      let startedCount = 0;
      for (const target of wanted.values()) {
        const entry = watched.get(target.node);
        if (entry === undefined) {
          watch(target, startedCount * spreadMs);
          startedCount += 1;
        } else if (!sameDuty(entry.target, target)) {
          feed(entry, { kind: 'target', target, nowMs: clock.monotonicMs() });
          entry.prober.expect(target.expect);
        }
      }
    },
    localProcessesGone: (node) => onNode(node, (nowMs) => ({ kind: 'local-processes', gone: true, nowMs })),
    localProcessesBack: (node) => onNode(node, (nowMs) => ({ kind: 'local-processes', gone: false, nowMs })),
    hostSaysGone: (node) => onNode(node, (nowMs) => ({ kind: 'host-says', gone: true, nowMs })),
    hostSaysBack: (node) => onNode(node, (nowMs) => ({ kind: 'host-says', gone: false, nowMs })),
    setQuorumReachable(reachable) {
      if (!closed) observe({ kind: 'quorum', reachable, nowMs: clock.monotonicMs() });
    },
    snapshot: () => ({
      abstains,
      nodes: [...watched.values()].map((entry) => nodeHealth(entry, clock.monotonicMs())),
    }),
    async close() {
      closed = true;
      clearTimeout(ticking);
      for (const entry of [...watched.values()]) unwatch(entry);
      await Promise.all(closing);
    },
  };
}

/**
 * That the observer abstains, and has to ask again then, is said once for all nodes: a line for each of hundreds would only stall it anew. What
 * it finds when it judges again is news where it is something else than before.
 */
function isItsOwn({ said, state }: Watched, { verdict }: Judgement): boolean {
  if (verdict === 'abstain') return state.facts.tilt === undefined;
  return verdict !== 'unknown' || said.verdict === 'unknown';
}

/** Whether two notes differ in figures at most. */
function saysTheSame(before: Judgement, after: Judgement): boolean {
  return before.note === after.note || before.note.replaceAll(/\d/g, '') === after.note.replaceAll(/\d/g, '');
}

/** A role that is made, or a password that is changed, is let in soon. */
const REFUSED_TOLD_AFTER_MS = 10_000;

function lastingRefusal({ loginRefused }: Facts, nowMs: number): string | undefined {
  if (loginRefused === undefined || nowMs - loginRefused.sinceMs < REFUSED_TOLD_AFTER_MS) return undefined;
  return loginRefused.why;
}

function sameDuty(before: Target, after: Target): boolean {
  return before.epoch === after.epoch && before.expect === after.expect && before.hostPeer === after.hostPeer;
}

function nodeHealth(entry: Watched, nowMs: number): NodeHealth {
  const { facts, judgement } = entry.state;
  return {
    node: entry.target.node,
    epoch: entry.target.epoch,
    expect: entry.target.expect,
    judgement,
    sessionOpen: facts.sessionOpen,
    lastAnswerAgeMs: facts.lastAnswerMs === undefined ? undefined : nowMs - facts.lastAnswerMs,
    latencyMs: facts.latencyMs,
    inRecovery: facts.inRecovery,
    loginRefused: judgement.verdict === 'down' ? undefined : lastingRefusal(facts, nowMs),
    server: judgement.verdict === 'down' ? undefined : entry.server,
  };
}
