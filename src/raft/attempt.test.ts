import { expect, test } from 'vitest';
import { attemptOf, proposalIdOf } from './attempt.ts';

test('the proposal of a try is what it was made from, whatever characters its id has', () => {
  for (const id of ['a', 'p1-17-3', 'with/slash', '']) expect(proposalIdOf(attemptOf(id, 12))).toBe(id);
  expect(proposalIdOf('no number')).toBe('no number');
});
