import { mergeConfig } from 'vitest/config';
import config from './vitest.config.ts';

// `npm run matrix`: any of the integration tests, short or long, on the PostgreSQL that PG_SENTINEL_TEST_POSTGRES names.
export default mergeConfig(
  { ...config, test: { ...config.test, include: [], exclude: [] } },
  { test: { include: ['test/integration/**/*.test.ts'], exclude: ['node_modules/**', 'dist/**'] } },
);
