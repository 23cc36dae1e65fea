import { defineConfig } from 'vitest/config';
import { SummaryReporter } from '../tooling/summary-reporter.ts';

// `npm run chaos`: one scenario after the other, on one cluster of containers. Time limits only catch hangs.
const isSoak = process.env['PG_SENTINEL_CHAOS_SOAK_MINUTES'] !== undefined;

export default defineConfig({
  test: {
    include: [isSoak ? 'test/chaos/scenarios/soak/soak.test.ts' : 'test/chaos/scenarios/*.test.ts'],
    globalSetup: ['test/chaos/scenarios/setup.ts'],
    fileParallelism: false,
    testTimeout: 600_000,
    hookTimeout: 600_000,
    reporters: ['verbose', new SummaryReporter()],
  },
});
