// What a node says of itself in the log, and when it says it again.
import { expect, test } from 'vitest';
import { groupId, makeMemberId, nodeId, peerId } from '../base/ids.ts';
import type { Command, NodeRegistration } from '../cluster/commands.ts';
import type { PostmasterFile } from '../postgres/processes.ts';
import type { DataDirectory } from './data-directory.ts';
import { createRegistering } from './registering.ts';

const NODE = nodeId('pg2');
const MEMBER = makeMemberId(NODE, '00000001');
const KNOWN: NodeRegistration = {
  ...{ node: NODE, group: groupId('main'), peer: peerId('b'), host: '10.0.0.2', port: 5432, priority: 100 },
  ...{ member: MEMBER, systemIdentifier: '77' },
};
const DATA: DataDirectory = {
  kind: 'ready',
  control: { systemIdentifier: '77' } as never,
  member: { node: NODE, memberId: MEMBER, systemIdentifier: '77' },
};

function example(wanted: Partial<NodeRegistration>, known: NodeRegistration | undefined = KNOWN) {
  const proposed: Command[] = [];
  const postgres = { isRemoved: false, isDelayed: true };
  const outcome = { kind: 'applied' as 'applied' | 'refused', reason: 'not now' };
  const { member: _, systemIdentifier: __, ...rest } = { ...KNOWN, ...wanted };
  const registering = createRegistering({
    wanted: () => rest,
    registered: () => known && { ...known, subjectiveDown: [] },
    postmaster: () => ({ listenAddress: '10.0.0.2', port: 5432 }) as PostmasterFile,
    isRemoved: () => postgres.isRemoved,
    isDelayed: () => Promise.resolve(postgres.isDelayed),
    propose: (command) => {
      proposed.push(command);
      return Promise.resolve(outcome);
    },
    announce: () => undefined,
    withdraw: () => undefined,
  });
  return { registering, proposed, outcome, postgres };
}

test('what the log has already is not said again', async () => {
  const { registering, proposed } = example({});
  expect(await registering.register(DATA)).toBe(true);
  expect(proposed).toEqual([]);
});

test('new options are said at once, a new address once PostgreSQL listens there', async () => {
  const options = { noFailover: false, noSync: true, applyDelayMs: 0 };
  const { registering, proposed } = example({ host: '10.0.1.2', options });
  await registering.register(DATA);
  expect(proposed).toMatchObject([{ kind: 'register-node', host: '10.0.0.2', options, member: MEMBER }]);
});

test('a refusal stands until something changes, or a person asks', async () => {
  const { registering, proposed, outcome } = example({ priority: 7 });
  outcome.kind = 'refused';
  expect(await registering.register(DATA)).toBe(false);
  expect(await registering.register(DATA)).toBe(false);
  expect(registering.refusal()).toBe('not now');
  expect(proposed).toHaveLength(1);
  registering.retry();
  await registering.register(DATA);
  expect(proposed).toHaveLength(2);
  outcome.kind = 'applied';
  await registering.register({ kind: 'absent' });
  expect(proposed.at(-1)).toMatchObject({ member: undefined, systemIdentifier: undefined });
});

test('that its delay is over is said once PostgreSQL replays at once', async () => {
  const delayed = { ...KNOWN, options: { noFailover: false, noSync: false, applyDelayMs: 3_600_000 } };
  const { registering, proposed, postgres } = example({}, delayed);
  expect(await registering.register(DATA)).toBe(true);
  expect(proposed).toEqual([]);
  postgres.isDelayed = false;
  await registering.register(DATA);
  expect(proposed).toHaveLength(1);
  expect(proposed[0]).not.toHaveProperty('options');
});

test('what else has changed is said while the delay lasts', async () => {
  const delayed = { ...KNOWN, options: { noFailover: false, noSync: false, applyDelayMs: 3_600_000 } };
  const { registering, proposed } = example(
    { options: { noFailover: true, noSync: false, applyDelayMs: 0 } },
    delayed,
  );
  await registering.register(DATA);
  expect(proposed).toMatchObject([{ options: { noFailover: true, applyDelayMs: 3_600_000 } }]);
});

test('a node that was removed says nothing, whatever has changed, until it may again', async () => {
  const { registering, proposed, postgres } = example({ priority: 7 });
  postgres.isRemoved = true;
  expect(await registering.register(DATA)).toBe(false);
  expect(proposed).toEqual([]);
  postgres.isRemoved = false;
  expect(await registering.register(DATA)).toBe(true);
  expect(proposed).toHaveLength(1);
});
