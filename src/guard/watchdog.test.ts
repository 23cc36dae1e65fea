import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openWatchdog } from './watchdog.ts';

let directory: string;
let device: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'watchdog-'));
  device = join(directory, 'fifo');
  execFileSync('mkfifo', [device]);
});
afterEach(() => rm(directory, { recursive: true }));

function read(file: number): string {
  const buffer = Buffer.alloc(100);
  return buffer.toString('utf8', 0, readSync(file, buffer, 0, 100, null));
}

test('is petted without the letter that would let it stand still, and closed in order with it', () => {
  const reader = openSync(device, constants.O_RDONLY | constants.O_NONBLOCK);
  const watchdog = openWatchdog(device, () => undefined);
  expect(watchdog.condition).toBe('off');
  watchdog.pet();
  watchdog.pet();
  expect(watchdog.condition).toBe('open');
  expect(read(reader)).toBe('..');
  watchdog.close();
  expect(read(reader)).toBe('V');
  watchdog.pet();
  watchdog.leave();
  expect(read(reader)).toBe('.');
  expect(read(reader)).toBe('');
  closeSync(reader);
});

test('one that cannot be opened says so once, and is tried again', () => {
  const said: string[] = [];
  const watchdog = openWatchdog(device, (message) => said.push(message));
  watchdog.pet();
  watchdog.pet();
  expect(said).toHaveLength(1);
  expect(watchdog.condition).toMatch(/cannot open .*fifo/);
  const reader = openSync(device, constants.O_RDONLY | constants.O_NONBLOCK);
  watchdog.pet();
  expect(watchdog.condition).toBe('open');
  watchdog.close();
  closeSync(reader);
});

test('without a path there is none', () => {
  const watchdog = openWatchdog(undefined, () => undefined);
  watchdog.pet();
  watchdog.close();
  expect(watchdog.condition).toBe('off');
});
