// A start does not wait for a copy where the disk does not answer.
import { expect, test, vi } from 'vitest';
import { copyMissingSlots } from './logical-slot-copy.ts';
import { openSlotMemory } from './logical-slot-memory.ts';
import { FOLLOW, STANDBY, fakeContext } from './testing/context.ts';

vi.mock('node:fs/promises', async (original) => ({
  ...(await original<object>()),
  readdir: () => new Promise(() => undefined),
}));

test('it is broken off with the duty, while the disk does not answer', { timeout: 20_000 }, async () => {
  const context = fakeContext({ dataDirectory: '/nowhere' });
  Object.assign(context, { localMember: () => STANDBY });
  const abort = new AbortController();
  const copying = copyMissingSlots(context, FOLLOW, {
    ...{ memory: openSlotMemory('/nowhere/slots.json'), slots: [], notes: new Map(), signal: abort.signal },
  });
  abort.abort(new Error('the duty has changed'));
  await expect(copying).rejects.toThrow('the duty has changed');
});
