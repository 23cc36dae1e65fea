import { expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Role } from '../postgres/role.ts';
import { createRoleMemory } from './role-memory.ts';

const ROLE: Role = {
  kind: 'primary',
  timeline: timeline(1),
  flushLsn: lsn(1n),
  replication: [],
  synchronousStandbyNames: '',
  readerLimit: undefined,
};
const QUERY = { timeoutMs: 1 };

function example() {
  const session: { connected: boolean; backendPid: number | undefined } = { connected: true, backendPid: 7 };
  const clock = { nowMs: 1000 };
  const memory = createRoleMemory({ session, read: () => Promise.resolve(ROLE), nowMs: () => clock.nowMs });
  return { session, clock, memory };
}

test('a role is remembered for as long as it is asked for, from when it was asked for', async () => {
  const { clock, memory } = example();
  expect(memory.recent(100)).toBeUndefined();
  expect(await memory.read(QUERY)).toBe(ROLE);
  clock.nowMs += 50;
  expect(memory.recent(50)).toBe(ROLE);
  expect(memory.recent(49)).toBeUndefined();
  expect(memory.recent(0)).toBeUndefined();
});

test('it is forgotten when the session is lost, and not taken up by the next session', async () => {
  const { session, memory } = example();
  await memory.read(QUERY);
  session.connected = false;
  expect(memory.recent(100)).toBeUndefined();
  session.connected = true;
  session.backendPid = 8;
  expect(memory.recent(100)).toBeUndefined();
});

test('one that came over a session that was only being opened is not remembered', async () => {
  const { session, memory } = example();
  session.backendPid = undefined;
  await memory.read(QUERY);
  expect(memory.recent(100)).toBeUndefined();
});
