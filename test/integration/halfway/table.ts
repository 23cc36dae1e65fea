// A table of the steps of one operation, as tests: first that the operation has no step which the table lacks, then a kill at each. A step that
// is new in the program makes the first test fail: it then gets its line here.
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import type { Host } from '../../../harness/host.ts';
import type { LocalCluster } from '../../../harness/local-cluster.ts';
import { openScene, type Run, type Scene, TEST_MS } from './scene.ts';

/**
 * Who is killed just before the step: sentineld alone, its whole host with PostgreSQL, or one after the other. `sometimes`: the step
 * depends on what comes in between, such as which of two writes is first; where it does not come, nothing is killed.
 */
export type Who = 'alone' | 'whole' | 'both' | 'sometimes';

export type Steps = Readonly<Record<string, Who>>;

/** One operation on a healthy cluster. */
export interface Operation {
  readonly victim: Host;
  readonly start: () => Promise<unknown>;
  readonly before?: Run['before'];
  /** The victim is running again: what a person would do next, until the operation is done; then what must hold. */
  readonly complete: () => Promise<void>;
}

export interface Table {
  readonly name: string;
  readonly steps: Steps;
  /** Of another table, where what is the same is killed. */
  readonly known?: Steps;
  /** Brings the cluster to where the operation can be started, inside the writers' time. */
  readonly prepare: (scene: Scene) => Promise<Operation>;
}

const TRIES_MAX = 3;

/** The tables of one file, on one cluster; a new one after a failure, which may have left it in any state. */
export function testTables(name: string, tables: readonly Table[]): void {
  let opened: Scene | undefined;
  const onScene = async (work: (scene: Scene) => Promise<void>): Promise<void> => {
    opened ??= await openScene(name);
    const scene = opened;
    try {
      await work(scene);
    } catch (error) {
      console.log(lastOfLogs(scene.cluster));
      opened = undefined;
      await scene.close();
      throw error;
    }
  };
  let killCount = 0;
  afterAll(async () => {
    await opened?.close();
    console.log(`${name}: ${killCount} kills`);
  }, TEST_MS);

  describe.each(tables.map((table) => ({ ...table })))('$name', ({ steps, known, prepare }) => {
    test('has no step that is not in the table', { timeout: TEST_MS }, () =>
      onScene(async (scene) => {
        let recorded: string[] = [];
        await scene.judged(async () => {
          const { victim, start, complete } = await prepare(scene);
          recorded = await scene.record(victim, start, sureOf(steps));
          await complete();
        });
        unknownSteps(recorded, { ...known, ...steps });
      }),
    );

    test.each(runsOf(steps))('killed before: $step ($who)', { timeout: TEST_MS }, ({ step, who }) =>
      onScene(async (scene) => {
        for (let tries = 1; ; tries += 1) {
          let isKilled = false;
          await scene.judged(async () => {
            const { victim, start, before, complete } = await prepare(scene);
            isKilled = await scene.kill({
              ...{ victim, step, whole: who === 'whole', isSure: who !== 'sometimes', operation: start },
              ...(before === undefined ? {} : { before }),
            });
            await complete();
          });
          if (isKilled) killCount += 1;
          if (isKilled || who === 'sometimes') return;
          expect(tries, `the operation went through ${tries} times without ${step}`).toBeLessThan(TRIES_MAX);
        }
      }),
    );
  });
}

/** Fails where the operation has a step that the table lacks. */
export function unknownSteps(recorded: readonly string[], steps: Steps): void {
  // On a slow machine more passes of the agent fit into one operation: the same again is nothing new.
  const names = new Set(Object.keys(steps).map(nameOf));
  const unknown = recorded.filter((step) => !names.has(nameOf(step)) && !BESIDE.test(step));
  expect(unknown.join('\n'), `steps that the table lacks, of ${JSON.stringify(recorded)}`).toBe('');
}

const nameOf = (step: string): string => step.replace(/ #\d+$/, '');

/**
 * What a sentineld tells the log as an observer, or decides as its leader, whatever else it does; the lock of the data directory, whose
 * steps are those of seat.ts; and where the database is, written down once by each node.
 */
const BESIDE =
  /^(write|link|remove) state\/local\/|^write state\/postgresql\/NODE\.database\.json|^(propose|applied|refused|unknown) (subjective-(down|up)|mark-absent|mark-present|begin-rule-change|commit-rule|floor-passed|register-node|declare-host|set-feature-level|cut-report|configure|set-accounts)\b/;

/** Those that come each time. */
export const sureOf = (steps: Steps): string[] =>
  Object.entries(steps).flatMap(([step, who]) => (who === 'sometimes' ? [] : [step]));

export const runsOf = (steps: Steps): { readonly step: string; readonly who: Exclude<Who, 'both'> }[] =>
  Object.entries(steps).flatMap(([step, who]) =>
    (who === 'both' ? (['alone', 'whole'] as const) : [who]).map((each) => ({ step, who: each })),
  );

/** Of every sentineld, for who looks into a failure. */
export function lastOfLogs(cluster: LocalCluster): string {
  const lines = cluster.hosts.flatMap((host) => {
    const log = readFileSync(host.logFile, 'utf8').trim().split('\n').slice(-LOG_LINES);
    return [`--- ${host.node}`, ...log.map(shortened)];
  });
  return lines.join('\n');
}

const LOG_LINES = 25;

function shortened(line: string): string {
  try {
    const { time, level: _, name: __, self: ___, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
    return `${String(time).slice(-7)} ${String(msg)} ${JSON.stringify(rest)}`.slice(0, 250);
  } catch {
    return line.slice(0, 250);
  }
}
