// Announcements are shown for an hour, the latest first, each once.
import { expect, test } from 'vitest';
import { createAnnouncements } from './announcements.ts';

const HOUR_MS = 3_600_000;

test('an announcement is shown for an hour, and once however often it is made', () => {
  let nowMs = 0;
  const announcements = createAnnouncements(() => nowMs);
  expect(announcements.text()).toBeUndefined();
  announcements.add('first');
  nowMs = HOUR_MS / 2;
  announcements.add('second');
  announcements.add('second');
  expect(announcements.text()).toBe('second; first (30min ago)');
  nowMs = HOUR_MS + 1;
  expect(announcements.text()).toBe('second (30min ago)');
  nowMs = 2 * HOUR_MS;
  expect(announcements.text()).toBeUndefined();
});

test('what is over is no longer shown, and what went on is shown as it went on, as old as it was', () => {
  let nowMs = 0;
  const announcements = createAnnouncements(() => nowMs);
  announcements.add('slot full');
  announcements.add('crashed');
  nowMs = 120_000;
  announcements.withdraw('slot full');
  announcements.withdraw('never said');
  announcements.replace('crashed', 'crashed, and runs again');
  announcements.replace('never said', 'nothing');
  expect(announcements.text()).toBe('crashed, and runs again (2min ago)');
  announcements.withdraw('crashed, and runs again');
  expect(announcements.text()).toBeUndefined();
});

test('no more than the five latest are shown', () => {
  const announcements = createAnnouncements(() => 0);
  for (const message of ['a', 'b', 'c', 'd', 'e', 'f']) announcements.add(message);
  expect(announcements.text()).toBe('f; e; d; c; b');
});
