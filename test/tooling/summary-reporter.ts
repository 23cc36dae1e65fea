// A vitest reporter that says why each skipped test was skipped and, where PG_SENTINEL_TEST_SUMMARY names a file, writes
// the counts there for .ci/run. A skip without a reason fails the run: what is not tested must be known.
import { writeFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node';

export interface TestSummary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Each test that was skipped, with the reason. */
  readonly skips: readonly string[];
  /** A line or a few for each failure, so that the end of a long log says what broke. */
  readonly failures: readonly string[];
}

/** The note given to `skip('…')`, or the `(needs …)` that ends the name of the test or of a suite around it. */
function reasonOf(test: TestCase): string | undefined {
  const result = test.result();
  const note = result.state === 'skipped' ? result.note : undefined;
  return note ?? /\((needs [^()]+)\)/.exec(test.fullName)?.[1];
}

/** Enough of a message to know what broke; the whole of it stands where it happened. */
const FAILURE_CHARACTERS_MAX = 600;

function failureLine(where: string, errors: readonly { readonly message?: string }[] | undefined): string {
  const messages = (errors ?? []).map(({ message }) => stripVTControlCharacters(message ?? 'no message'));
  return `${where}: ${messages.join(' | ').slice(0, FAILURE_CHARACTERS_MAX)}`;
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
    const skips = skipped.map(
      (test) => `${test.module.relativeModuleId} > ${test.fullName}: ${reasonOf(test) ?? 'NO REASON GIVEN'}`,
    );
    for (const line of skips) console.log(`skipped: ${line}`);
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
      skips,
      failures: [
        ...tests
          .filter((test) => test.result().state === 'failed')
          .map((test) =>
            failureLine(`${test.module.relativeModuleId} > ${test.fullName}`, test.result().errors),
          ),
        ...modules
          .filter((module) => module.errors().length > 0)
          .map((module) => failureLine(module.relativeModuleId, module.errors())),
        ...unhandledErrors.map((error) => failureLine('unhandled error', [error as Error])),
      ],
    };
    const file = process.env['PG_SENTINEL_TEST_SUMMARY'];
    if (file !== undefined) writeFileSync(file, JSON.stringify(summary));
  }
}
