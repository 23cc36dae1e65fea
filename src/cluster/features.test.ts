// The feature levels: each stands for something that the log may hold, and each is known by one name.
import { expect, test } from 'vitest';
import * as features from './features.ts';

test('every level up to the highest has one name, and there is none above or between', () => {
  const levels = Object.entries(features)
    .filter(([name]) => name.endsWith('_FEATURE_LEVEL'))
    .map(([, level]) => level as unknown)
    .sort((a, b) => Number(a) - Number(b));
  expect(levels).toEqual(Array.from({ length: features.FEATURES }, (_, index) => index + 1));
});
