// A vitest reporter that says why each skipped test was skipped and, where PG_SENTINEL_TEST_SUMMARY names a file, writes
// the counts there for .ci/run. A skip without a reason fails the run: what is not tested must be known.
import { writeFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node';

export interface TestSummary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** The note given to `skip('…')`, or the `(needs …)` that ends the name of the test or of a suite around it. */
function reasonOf(test: TestCase): string | undefined {
  const result = test.result();
  const note = result.state === 'skipped' ? result.note : undefined;
  return note ?? /\((needs [^()]+)\)/.exec(test.fullName)?.[1];
}

export class SummaryReporter implements Reporter {
  #isFiltered = false;

  onInit(vitest: Vitest): void {
    this.#isFiltered = vitest.config.testNamePattern !== undefined;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const count = (state: string): number => tests.filter((test) => test.result().state === state).length;
    const brokenModules = modules.filter((module) => module.errors().length > 0).length;
    const skipped = this.#isFiltered ? [] : tests.filter((test) => test.result().state === 'skipped');
    const unexplained = skipped.filter((test) => reasonOf(test) === undefined);
    for (const test of skipped) {
      console.log(
        `skipped: ${test.module.relativeModuleId} > ${test.fullName}: ${reasonOf(test) ?? 'NO REASON GIVEN'}`,
      );
    }
    if (unexplained.length > 0) {
      console.error(
        `${unexplained.length} skipped without a reason: use skip('why') or name the suite "… (needs what)"`,
      );
      process.exitCode = 1;
    }
    const summary: TestSummary = {
      passed: count('passed'),
      failed: count('failed') + brokenModules + unhandledErrors.length + unexplained.length,
      skipped: skipped.length - unexplained.length,
    };
    const file = process.env['PG_SENTINEL_TEST_SUMMARY'];
    if (file !== undefined) writeFileSync(file, JSON.stringify(summary));
  }
}
