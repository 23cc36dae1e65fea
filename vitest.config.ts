import { defineConfig } from 'vitest/config';
import { SummaryReporter } from './test/tooling/summary-reporter.ts';

/** Dangers, what administrators do, gray failures, the guard and rejoining, each on real PostgreSQL and with real waits. */
const LONG_FOLDERS = [
  'adopt',
  'cascade',
  'dangers',
  'expectations',
  'gray',
  'guard',
  'leave',
  'layouts',
  'local',
  'logical',
  'rejoin',
  'restore',
  'site',
  'slots',
  'walks',
];
const LONG_FILES = [
  'bad-input/cluster',
  ...[
    'candidates',
    'commands',
    'hba',
    'membership',
    'node',
    'passwords',
    'replace-database',
    'scheduled-restart',
    'settings',
  ].map((name) => `commands/${name}`),
  'demo/availability',
  'demo/demo',
  'health/answers',
  'halfway/sample',
  'health/crash',
  'postgres/failover',
  'postgres/initdb',
  'postgres/promote-command',
  'postgres/slow-clone',
  'raft/idle',
  'raft/left-behind',
  'raft/membership',
  'raft/store',
];
export const LONG_TESTS = [
  ...LONG_FOLDERS.map((folder) => `test/integration/${folder}/*.test.ts`),
  ...LONG_FILES.map((name) => `test/integration/${name}.test.ts`),
];

/** Every operation broken off at each of its steps: `npm run test:halfway` (vitest.halfway.config.ts). */
export const HALFWAY_TESTS = 'test/integration/halfway/*.test.ts';
/** A few of those steps, all of them among the others; one of the long tests. */
export const HALFWAY_SAMPLE = 'test/integration/halfway/sample.test.ts';

// Unit tests sit beside the code; tests with real processes are below test/integration. Time limits only catch
// hangs: no test asserts a speed. Those that take minutes are run by `npm run test:long` (vitest.long.config.ts).
export default defineConfig({
  test: {
    include: [
      'src/**/*.test.ts',
      'harness/**/*.test.ts',
      'bench/**/*.test.ts',
      'demo/**/*.test.ts',
      'test/**/*.test.ts',
    ],
    exclude: [
      ...LONG_TESTS,
      HALFWAY_TESTS,
      'test/chaos/scenarios/**',
      'test/fixtures/**',
      'node_modules/**',
      'dist/**',
    ],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    reporters: ['default', new SummaryReporter()],
  },
});
