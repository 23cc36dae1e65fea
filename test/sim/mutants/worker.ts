// A thread that hunts mutations, one after the other, each from where the hunt was left.
import { parentPort } from 'node:worker_threads';
import { type Hunt, type ListedMutation, tryNextSeed } from './hunt.ts';

/** What the thread is asked: to try seeds up to and including `lastSeed`. */
export interface Task {
  readonly mutation: ListedMutation;
  readonly hunt: Hunt;
  readonly lastSeed: number;
}

/** What it says, now and then and at the end. */
export interface Progress {
  readonly hunt: Hunt;
  readonly isDone: boolean;
}

const SAY_EVERY_MS = 2000;

parentPort?.on('message', ({ mutation, hunt, lastSeed }: Task) => {
  const beganAtMs = performance.now();
  const elapsedBeforeMs = hunt.elapsedMs;
  let saidAtMs = beganAtMs;
  let isKilled = false;
  while (!isKilled && hunt.nextSeed <= lastSeed) {
    isKilled = tryNextSeed(hunt, mutation);
    const nowMs = performance.now();
    hunt.elapsedMs = elapsedBeforeMs + Math.round(nowMs - beganAtMs);
    if (nowMs - saidAtMs < SAY_EVERY_MS) continue;
    saidAtMs = nowMs;
    say({ hunt, isDone: false });
  }
  say({ hunt, isDone: true });
});

function say(progress: Progress): void {
  parentPort?.postMessage(progress);
}
