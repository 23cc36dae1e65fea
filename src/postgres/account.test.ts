import { beforeEach, expect, test } from 'vitest';
import { type Account, rotatingAccount } from './account.ts';

let file: readonly string[] | undefined;
let account: Account;
beforeEach(() => {
  file = undefined;
  account = rotatingAccount('probe', ['old'], () => file);
});

test('while a password is changed each login tries the other one after a refusal', () => {
  file = ['old', 'new'];
  expect(account.password).toBe('old');
  account.rotation?.rejected('old');
  // Another connection that began before failed as well.
  account.rotation?.rejected('old');
  expect(account.password).toBe('new');
  account.rotation?.rejected('new');
  expect(account.password).toBe('old');
});

test('what is wanted is the first one, what is tried the one that the server has', () => {
  file = ['old', 'new'];
  const before = account.rotation?.revision();
  file = ['new', 'old'];
  expect(account.rotation?.wanted()).toBe('new');
  expect(account.password).toBe('old');
  expect(account.rotation?.revision()).not.toBe(before);
  account.rotation?.accepted('new');
  expect(account.password).toBe('new');
  file = ['new'];
  expect(account.password).toBe('new');
});

test('a password that was taken away is tried no longer; a file that cannot be read changes nothing', () => {
  file = ['new'];
  expect(account.password).toBe('new');
  file = undefined;
  expect(account.password).toBe('new');
  account.rotation?.rejected('new');
  expect(account.password).toBe('new');
});
