import { mergeConfig } from 'vitest/config';
import config, { LONG_TESTS } from './vitest.config.ts';

// `npm run test:long`: what would make `npm test` longer than a newcomer waits.
export default mergeConfig(
  { ...config, test: { ...config.test, include: [], exclude: [] } },
  {
    test: {
      include: LONG_TESTS,
      exclude: ['node_modules/**', 'dist/**'],
    },
  },
);
