// Which known word a mistyped one is taken for.
import { expect, it } from 'vitest';
import { didYouMean } from './did-you-mean.ts';

it('did-you-mean sees through typing errors and other spellings only', () => {
  const keys = ['data_directory', 'bin_directory', 'name', 'log'];
  expect(
    ['dataDirectory', 'data-dir', 'nmae', 'lgo', 'colour'].map((word) => didYouMean(word, keys)),
  ).toEqual(['data_directory', undefined, 'name', 'log', undefined]);
});
