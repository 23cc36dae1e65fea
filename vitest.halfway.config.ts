import { mergeConfig } from 'vitest/config';
import config, { HALFWAY_SAMPLE, HALFWAY_TESTS } from './vitest.config.ts';

// `npm run test:halfway`: sentineld and sentinelctl killed at each step of what they do.
export default mergeConfig(
  { ...config, test: { ...config.test, include: [], exclude: [] } },
  { test: { include: [HALFWAY_TESTS], exclude: [HALFWAY_SAMPLE, 'node_modules/**', 'dist/**'] } },
);
