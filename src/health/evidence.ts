// PURE. One observer's judgement of one node: facts (facts.ts) through the table of evidence (rows.ts) to a verdict. Must never
// say down without a ripe row, nor while the observer abstains, nor take a down back for anything but a real answer.
import type { PeerId } from '../base/ids.ts';
import type { Evidence } from '../cluster/commands.ts';
import type { HealthEvent, Judgement, Target } from './events.ts';
import { abstention, initialFacts, learn, type Facts } from './facts.ts';
import { rank, ripest } from './rows.ts';
import type { HealthSettings } from './settings.ts';

export interface EvidenceState {
  readonly facts: Facts;
  readonly judgement: Judgement;
}

export function startJudging(options: {
  readonly self: PeerId;
  readonly settings: HealthSettings;
  readonly target: Target;
  readonly nowMs: number;
}): EvidenceState {
  return {
    facts: initialFacts(options.self, options.settings, options.target, options.nowMs),
    judgement: { verdict: 'unknown', sinceMs: options.nowMs, note: 'not answered yet' },
  };
}

/** Takes in one event. Call it with a `tick` from time to time: silence ripens only then. */
export function judge(
  state: EvidenceState,
  event: HealthEvent,
): { readonly state: EvidenceState; readonly judgement: Judgement } {
  const learned = learn(state.facts, event);
  const ripe = ripest(learned, event.nowMs);
  const judged = { ...learned, goodMs: goodSince(state, learned, event, ripe !== undefined) };
  const facts = judged.goodMs === learned.goodMs ? learned : judged;
  const judgement = decide(facts, ripe, state.judgement, event.nowMs);
  return { state: { facts, judgement }, judgement };
}

/** Whether two judgements tell the log different things. The note does not count. */
export function isEdge(before: Judgement, after: Judgement): boolean {
  return before.verdict !== after.verdict || before.evidence !== after.evidence;
}

function decide(
  facts: Facts,
  ripe: { readonly evidence: Evidence; readonly note: string } | undefined,
  before: Judgement,
  nowMs: number,
): Judgement {
  const conclude = (after: Omit<Judgement, 'sinceMs'>): Judgement => ({
    ...after,
    sinceMs: isEdge(before, { ...after, sinceMs: nowMs }) ? nowMs : before.sinceMs,
  });
  const abstains = abstention(facts);

  if (before.evidence !== undefined) {
    if (ripe !== undefined && abstains === undefined && rank(ripe.evidence) < rank(before.evidence))
      return conclude({ verdict: 'down', ...ripe });
    if (ripe !== undefined && ripe.evidence === before.evidence)
      return conclude({ verdict: 'down', ...ripe });
    if (facts.goodMs === undefined) return before;
  } else if (ripe !== undefined && abstains === undefined) {
    return conclude({ verdict: 'down', ...ripe });
  }

  if (abstains !== undefined && facts.goodMs === undefined)
    return conclude({ verdict: 'abstain', note: `the observer abstains: ${abstains.why}` });
  if (facts.goodMs === undefined)
    return conclude({ verdict: 'unknown', note: facts.remark ?? 'not answered yet' });
  return conclude({ verdict: 'up', note: facts.remark ?? 'answers' });
}

/** The time of the last good answer since anything stood against the node and since the observer began to abstain. */
function goodSince(
  before: EvidenceState,
  learned: Facts,
  event: HealthEvent,
  isRipe: boolean,
): number | undefined {
  const beginsToAbstain = abstention(learned) !== undefined && abstention(before.facts) === undefined;
  if (isRipe || beginsToAbstain) return undefined;
  return satisfies(learned, event, before.judgement.evidence) ? event.nowMs : learned.goodMs;
}

/** Whether `event` is an answer that meets the expectation, given what stands against the node. */
function satisfies(facts: Facts, event: HealthEvent, standing: Evidence | undefined): boolean {
  if (event.kind === 'answered') {
    if (facts.target.expect !== 'primary') return true;
    // `not-tried` on a server out of recovery: the write follows.
    return !event.inRecovery && event.write.kind !== 'failed' && event.write.kind !== 'not-tried';
  }
  if (event.kind !== 'server-said') return false;
  // It is there and lets others in; whether it takes writes remains open.
  if (event.word.kind !== 'too-many-connections' && event.word.kind !== 'login-refused') return false;
  return standing !== 'write-failing' && standing !== 'in-recovery';
}
