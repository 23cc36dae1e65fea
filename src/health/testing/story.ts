// One observer's story for tests: events in at their times, the judgement out. Times are those of DEFAULT_HEALTH_SETTINGS.
import { epoch, nodeId, peerId } from '../../base/ids.ts';
import { isEdge, judge, startJudging, type EvidenceState } from '../evidence.ts';
import type { HealthEvent, Judgement, Target, WriteOutcome } from '../events.ts';
import { DEFAULT_HEALTH_SETTINGS, TICK_MS } from '../settings.ts';

export const SELF = peerId('p1');
export const PRIMARY: Target = {
  node: nodeId('pg2'),
  host: 'h',
  port: 5432,
  epoch: epoch(3),
  expect: 'primary',
  hostPeer: peerId('p2'),
};

type Unstamped<T> = T extends unknown ? Omit<T, 'nowMs'> : never;
export type Step = Unstamped<HealthEvent>;

/** One observer in a story: `tell` gives it events, `wait` moves the clock on, ticking. */
export class Story {
  #state: EvidenceState;
  #nowMs = 0;
  readonly edges: Judgement[] = [];

  constructor(target: Partial<Target> = {}) {
    this.#state = startJudging({
      self: SELF,
      settings: DEFAULT_HEALTH_SETTINGS,
      target: { ...PRIMARY, ...target },
      nowMs: 0,
    });
  }

  get now(): Judgement {
    return this.#state.judgement;
  }

  get facts(): EvidenceState['facts'] {
    return this.#state.facts;
  }

  tell(...steps: Step[]): this {
    for (const step of steps) this.#judge({ ...step, nowMs: this.#nowMs });
    return this;
  }

  /** Lets time pass. */
  wait(ms: number): this {
    const endMs = this.#nowMs + ms;
    while (this.#nowMs < endMs) {
      this.#nowMs = Math.min(this.#nowMs + TICK_MS, endMs);
      this.#judge({ kind: 'tick', nowMs: this.#nowMs });
    }
    return this;
  }

  /** `ms` of probes and checks of new connections as a well primary answers them. */
  well(ms: number, write: WriteOutcome = { kind: 'ok' }): this {
    for (let passedMs = 0; passedMs < ms; passedMs += 500)
      this.tell(ask('write'), answer({ write }), ask(), CONNECTION_ANSWERED).wait(500);
    return this;
  }

  #judge(event: HealthEvent): void {
    const before = this.#state.judgement;
    this.#state = judge(this.#state, event).state;
    if (isEdge(before, this.#state.judgement)) this.edges.push(this.#state.judgement);
  }
}

export const ask = (what: 'connection' | 'read' | 'write' = 'connection'): Step => ({ kind: 'asked', what });
export const answer = (options: { inRecovery?: boolean; write?: WriteOutcome } = {}): Step => ({
  kind: 'answered',
  latencyMs: 1,
  inRecovery: options.inRecovery ?? false,
  write: options.write ?? { kind: 'ok' },
});
export const CONNECTED: Step = { kind: 'connected' };
export const CONNECTION_ANSWERED: Step = { kind: 'connection-answered' };
export const REFUSED: Step = { kind: 'connection-refused' };
export const CLOSED: Step = { kind: 'session-ended', how: 'closed' };
export const HOST_GONE: Step = { kind: 'host-says', gone: true };
export const TOO_MANY: Step = { kind: 'server-said', word: { kind: 'too-many-connections' } };
export const FAILED: WriteOutcome = { kind: 'failed', why: 'disk full (53100)' };
export const abstains = (why: string | undefined): Step => ({ kind: 'observer', abstains: why });
export const down = (evidence: string): object => ({ verdict: 'down', evidence });

export const upStory = (target: Partial<Target> = {}): Story =>
  new Story(target).tell(ask(), CONNECTED, ask('write'), answer()).wait(500).tell(ask('write'), answer());
export const refuse = (story: Story, count: number, everyMs = 40): Story => {
  for (let tried = 0; tried < count; tried += 1) story.tell(ask(), REFUSED).wait(everyMs);
  return story;
};
