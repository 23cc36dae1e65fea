// When a repmgrd beside us is announced, and that no report waits for the look.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RunningProcess } from '../postgres/other-managers.ts';
import { createRivalWatch } from './rival-watch.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pg-sentinel-rival-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

test('it is said once, again after half an hour, and not of one that is of somebody else or of nobody known', async () => {
  const config = join(directory, 'repmgr.conf');
  writeFileSync(config, `data_directory='${directory}'\n`);
  let running: readonly RunningProcess[] = [];
  let nowMs = 0;
  let isInGroup = false;
  const said: string[] = [];
  const withdrawn: string[] = [];
  const watch = createRivalWatch({
    dataDirectory: directory,
    isInGroup: () => isInGroup,
    announce: (message) => said.push(message),
    withdraw: (message) => withdrawn.push(message),
    nowMs: () => nowMs,
    warn: () => undefined,
    processes: () => Promise.resolve(running),
  });
  const after = async (ms: number): Promise<number> => {
    nowMs += ms;
    await watch.look();
    return said.splice(0).length;
  };
  running = [
    { pid: 8, words: ['repmgrd', '-f', '/nowhere/other.conf'] },
    { pid: 9, words: ['patroni'] },
  ];
  expect(await after(0)).toBe(0);
  running = [{ pid: 7, words: ['repmgrd', '-f', config] }, ...running];
  expect(await after(61_000)).toBe(0);
  isInGroup = true;
  expect(await after(0)).toBe(1);
  expect(await after(61_000)).toBe(0);
  expect(await after(1_800_000)).toBe(1);
  expect(withdrawn).toEqual([]);
  running = [];
  expect(await after(61_000)).toBe(0);
  expect(withdrawn).toEqual([expect.stringMatching(/repmgrd/)]);
  running = [{ pid: 7, words: ['repmgrd', '-f', config] }];
  expect(await after(1000)).toBe(0);
  expect(await after(60_000)).toBe(1);
});

describe('a report goes out', () => {
  const watchOf = (processes: () => Promise<never>) => {
    const warned: string[] = [];
    let nowMs = 0;
    const watch = createRivalWatch({
      ...{
        dataDirectory: directory,
        isInGroup: () => true,
        announce: () => undefined,
        withdraw: () => undefined,
        processes,
      },
      ...{ warn: (message) => warned.push(message), nowMs: () => nowMs },
    });
    const look = (): Promise<void> => {
      nowMs += 60_000;
      return watch.look();
    };
    return { look, warned };
  };

  test('where the processes cannot be read, which is said once', async () => {
    let count = 0;
    const { look, warned } = watchOf(() => {
      count += 1;
      return Promise.reject(new Error('EACCES'));
    });
    for (let times = 0; times < 3; times += 1) await look();
    expect(count).toBe(3);
    expect(warned).toEqual([expect.stringMatching(/not known: EACCES/)]);
  });

  test('where to read them takes for ever, which is never begun twice', () => {
    let count = 0;
    const { look, warned } = watchOf(() => {
      count += 1;
      return new Promise(() => undefined);
    });
    const looks = [look(), look(), look()];
    expect(looks).toHaveLength(3);
    expect(count).toBe(1);
    expect(warned).toEqual([expect.stringMatching(/does not end/)]);
  });
});
