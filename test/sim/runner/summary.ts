// The sum of a run, in words: what happened how often, how fast it went, which rare branches were never reached.
import { type Tally, addTally, clientOperations, createTally } from '../tally.ts';
import type { Batch, Found } from './batch.ts';

/** What the build found in the sources (catalogue.json). */
export interface Catalogue {
  readonly marks: readonly { readonly name: string; readonly file: string }[];
  readonly mutations: readonly { readonly id: string; readonly number: number }[];
}

export interface Sum {
  readonly jobs: number;
  readonly beganAtMs: number;
  elapsedMs: number;
  /** Of the whole process. */
  processorMs: number;
  lives: number;
  readonly tally: Tally;
  readonly failures: Found[];
  readonly marks: number[];
}

export function createSum(jobs: number): Sum {
  return {
    jobs,
    beganAtMs: performance.now(),
    elapsedMs: 0,
    processorMs: 0,
    lives: 0,
    tally: createTally(),
    failures: [],
    marks: [],
  };
}

export function addBatch(sum: Sum, batch: Batch): void {
  sum.lives += batch.lives;
  addTally(sum.tally, batch.tally);
  sum.failures.push(...batch.failures);
  batch.marks.forEach((count, place) => {
    sum.marks[place] = (sum.marks[place] ?? 0) + count;
  });
}

/** What every life must hold on average, or the run proves little. */
const QUOTAS: readonly (readonly [string, number, (tally: Tally) => number])[] = [
  ['events', 5000, (tally) => tally.events],
  ['faults', 5, (tally) => tally.faults],
  ['elections', 2, (tally) => tally.elections],
  ['failovers', 1, (tally) => tally.failovers],
  ['client operations', 1000, clientOperations],
];

export function describeSum(sum: Sum, catalogue: Catalogue): string {
  const { tally, lives, failures } = sum;
  const count = (value: number): string => String(Math.round(value));
  const { faultKinds, requestKinds, ...totals } = tally;
  const words = Object.entries(totals).map(([name, value]) => `${inWords(name)} ${count(value)}`);
  const kindsOf = (counts: Record<string, number>): string => {
    const sorted = Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1));
    return sorted.map(([kind, times]) => `${kind} ${times}`).join(', ') || 'none';
  };
  const quotas = QUOTAS.map(([name, least, of]) => {
    const average = lives === 0 ? 0 : of(tally) / lives;
    return `${name} ${average < 10 ? average.toFixed(2) : count(average)}${average < least ? ` (fewer than ${least})` : ''}`;
  });
  return [
    `totals: ${words.join(', ')}, client operations ${count(clientOperations(tally))}`,
    `faults by kind: ${kindsOf(faultKinds)}`,
    `requests of people by kind: ${kindsOf(requestKinds)}`,
    `a life on average: ${quotas.join(', ')}`,
    describeMarks(sum, catalogue),
    `${lives} lives in ${(sum.elapsedMs / 1000).toFixed(1)} s: ${perSecond(lives, sum.elapsedMs)} seeds per second with ` +
      `${sum.jobs} thread${sum.jobs === 1 ? '' : 's'}, ${perSecond(lives, sum.processorMs)} for each second of one core`,
    `${lives - failures.length} passed, ${failures.length} failed`,
  ].join('\n');
}

const perSecond = (lives: number, ms: number): string => (ms === 0 ? '0' : ((lives * 1000) / ms).toFixed(1));

function inWords(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

function describeMarks({ marks }: Sum, catalogue: Catalogue): string {
  const missed = catalogue.marks.filter((_, place) => (marks[place] ?? 0) === 0);
  const reached = catalogue.marks.length - missed.length;
  const head = `marks: ${reached} of ${catalogue.marks.length} reached`;
  if (missed.length === 0) return head;
  return `${head}; never reached: ${missed.map(({ name, file }) => `${name} (${file})`).join(', ')}`;
}
