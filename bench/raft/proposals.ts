// The proposals of one member that wait for their commit. Their number travels in the entry, so that the member knows its
// own again. Must never settle a proposal that was not committed.
import { randomBytes } from 'node:crypto';
import type { LogIndex } from '../../src/base/ids.ts';
import type { Entry, RefusalReason } from '../../src/raft/types.ts';

/** `index` undefined: refused, or not committed in time; it may still be. */
export type Settle = (index: LogIndex | undefined, reason: string | undefined) => void;

export interface Proposals {
  readonly appliedIndex: number;
  propose(value: Uint8Array, settle: Settle): void;
  commit(entries: readonly Entry[]): void;
  /** The log was replaced by a snapshot of `index`: what waited may or may not be in it. */
  restore(index: LogIndex): void;
  refused(proposalId: string, reason: RefusalReason): void;
  close(): void;
}

const RUN_BYTES = 8;
const NUMBER_BYTES = 8;
const GIVEN_UP_MS = 10_000;

export function createProposals(submit: (proposalId: string, data: Uint8Array) => void): Proposals {
  const run = randomBytes(RUN_BYTES);
  const prefix = run.toString('hex');
  const waiting = new Map<number, { readonly settle: Settle; readonly atMs: number }>();
  let appliedIndex = 0;
  let count = 0;

  // Proposals that went down with a leader are neither refused nor committed.
  const sweeper = setInterval(() => {
    const sinceMs = performance.now() - GIVEN_UP_MS;
    for (const [number, { settle, atMs }] of waiting) {
      if (atMs > sinceMs) break;
      waiting.delete(number);
      settle(undefined, 'not committed in time');
    }
  }, 1000);

  return {
    get appliedIndex() {
      return appliedIndex;
    },
    propose(value, settle) {
      count += 1;
      const data = Buffer.allocUnsafe(RUN_BYTES + NUMBER_BYTES + value.length);
      run.copy(data);
      data.writeDoubleBE(count, RUN_BYTES);
      data.set(value, RUN_BYTES + NUMBER_BYTES);
      waiting.set(count, { settle, atMs: performance.now() });
      submit(`${prefix}-${count}`, data);
    },
    commit(entries) {
      for (const { index, kind, data } of entries) {
        appliedIndex = index;
        if (kind !== 'command') continue;
        const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
        if (bytes.compare(run, 0, RUN_BYTES, 0, RUN_BYTES) !== 0) continue;
        const number = bytes.readDoubleBE(RUN_BYTES);
        waiting.get(number)?.settle(index, undefined);
        waiting.delete(number);
      }
    },
    restore(index) {
      appliedIndex = index;
    },
    refused(proposalId, reason) {
      const number = Number(proposalId.slice(proposalId.lastIndexOf('-') + 1));
      waiting.get(number)?.settle(undefined, reason);
      waiting.delete(number);
    },
    close: () => clearInterval(sweeper),
  };
}
