import { defineConfig } from 'vitest/config';
import { SummaryReporter } from './test/tooling/summary-reporter.ts';

// Unit tests sit beside the code; tests with real processes are below test/integration. Time limits only catch
// hangs: no test asserts a speed.
export default defineConfig({
  test: {
    include: [
      'src/**/*.test.ts',
      'harness/**/*.test.ts',
      'bench/**/*.test.ts',
      'demo/**/*.test.ts',
      'test/**/*.test.ts',
    ],
    exclude: ['test/chaos/scenarios/**', 'test/fixtures/**', 'node_modules/**', 'dist/**'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    reporters: ['default', new SummaryReporter()],
  },
});
