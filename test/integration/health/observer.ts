// One observer of one or more nodes, for tests: records every edge with its time.
import type { ConnectionOptions } from 'node:tls';
import { systemClock, until } from '../../../src/base/clock.ts';
import { epoch, nodeId, peerId, type NodeId } from '../../../src/base/ids.ts';
import { DEFAULT_HEALTH_SETTINGS, type HealthSettings } from '../../../src/health/settings.ts';
import { startHealth, type Health, type Judgement, type Target } from '../../../src/health/watch.ts';
import { PROBE_PASSWORD, PROBE_USER } from './instance.ts';

export const PG1 = nodeId('pg1');

export interface Edge {
  readonly atMs: number;
  readonly node: NodeId;
  readonly judgement: Judgement;
}

export interface Observed {
  readonly health: Health;
  readonly edges: Edge[];
  readonly notes: string[];
  judgement(): Judgement;
  target(change: Partial<Target>): void;
  /** Watches several nodes, each like the first but for the change. */
  targets(changes: readonly Partial<Target>[]): void;
  /** Waits for the node to be judged so; fails with the present judgement. */
  becomes(verdict: string, timeoutMs?: number): Promise<Judgement>;
  noted(pattern: RegExp, timeoutMs?: number): Promise<void>;
  wasDown(): boolean;
  close(): Promise<void>;
}

export function observe(
  port: number,
  options: {
    settings?: Partial<HealthSettings>;
    password?: string;
    target?: Partial<Target>;
    tls?: ConnectionOptions;
  } = {},
): Observed {
  const edges: Edge[] = [];
  const notes: string[] = [];
  const log = {
    info: (_: object, message: string) => notes.push(message),
    warn: (_: object, message: string) => notes.push(message),
  };
  const health = startHealth({
    self: peerId('observer'),
    settings: { ...DEFAULT_HEALTH_SETTINGS, ...options.settings },
    clock: systemClock,
    credentials: {
      user: PROBE_USER,
      password: options.password ?? PROBE_PASSWORD,
      database: 'postgres',
      tls: options.tls,
    },
    onJudgement: (node, _epoch, judgement) => edges.push({ atMs: performance.now(), node, judgement }),
    log,
  });
  health.setQuorumReachable(true);
  let target: Target = {
    node: PG1,
    host: '127.0.0.1',
    port,
    epoch: epoch(7),
    expect: 'primary',
    hostPeer: peerId('host'),
    ...options.target,
  };
  health.setTargets([target]);
  const judgement = (): Judgement => {
    const node = health.snapshot().nodes[0];
    if (node === undefined) throw new Error('nothing is watched');
    return node.judgement;
  };
  return {
    health,
    edges,
    notes,
    judgement,
    target(change) {
      target = { ...target, ...change };
      health.setTargets([target]);
    },
    targets(changes) {
      health.setTargets(changes.map((change) => ({ ...target, ...change })));
    },
    async becomes(verdict, timeoutMs = 10_000) {
      const isSo = (): boolean => health.snapshot().abstains === undefined && judgement().verdict === verdict;
      await until({ what: `verdict ${verdict}`, timeoutMs, everyMs: 5 }, isSo).catch((error: Error) => {
        throw new Error(`${error.message}: ${JSON.stringify(health.snapshot())}\n${notes.join('\n')}`);
      });
      return judgement();
    },
    async noted(pattern, timeoutMs = 10_000) {
      await until({ what: `note ${pattern}`, timeoutMs, everyMs: 5 }, () =>
        notes.some((note) => pattern.test(note)),
      ).catch((error: Error) => {
        throw new Error(`${error.message}: ${notes.join('\n')}`);
      });
    },
    wasDown: () => edges.some((edge) => edge.judgement.verdict === 'down'),
    close: () => health.close(),
  };
}
