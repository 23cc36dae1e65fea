// Clients of the log: they write registers by proposals and read them by ReadIndex, through whatever peer they reach, and note
// what they asked and were told. A register is a node of a group that nobody manages; its priority is the value.
import { type GroupId, type NodeId, groupId, nodeId } from '../../../src/base/ids.ts';
import { propose } from '../cluster/replica.ts';
import { startRead } from '../cluster/reads.ts';
import { EVENT, type Host, type World, after } from '../world.ts';
import { checkRegister } from './linearizability.ts';
import type { Operation } from './history.ts';
import { violated } from '../engine/violation.ts';

export const REGISTER_COUNT = 4;
const REGISTERS: readonly NodeId[] = Array.from({ length: REGISTER_COUNT }, (_, place) =>
  nodeId(`k${place}`),
);
const REGISTER_GROUP: GroupId = groupId('registers');
const TIMEOUT_US = 900_000;

/** One client asks for a few things at once; it comes back after a while. */
export function onClient(world: World): void {
  const { random, profile } = world;
  if (!world.isTroubled) return;
  after(world, random.between(profile.clientEveryUs[0], profile.clientEveryUs[1]), {
    kind: EVENT.client,
    host: 0,
    boot: -1,
    ref: undefined,
  });
  const host = reachable(world);
  if (host === undefined) return;
  const count = random.ppm(profile.burstPpm) ? 40 : random.between(1, profile.clientOperationsMax);
  for (let at = 0; at < count; at += 1) {
    const register = random.below(REGISTER_COUNT);
    if (random.ppm(profile.readPpm)) readRegister(world, host, register);
    else writeRegister(world, host, register);
  }
}

function reachable(world: World): Host | undefined {
  for (let tries = 0; tries < 3; tries += 1) {
    const host = world.random.pick(world.hosts);
    if (host.replica?.proposer.isOpen === true && host.pausedUntilUs <= world.timeline.nowUs) return host;
  }
  return undefined;
}

/** Moments of a history: strictly ordered. */
function moment(world: World): number {
  world.counter += 1;
  return world.counter;
}

export function writeRegister(world: World, host: Host, register: number): Operation | undefined {
  const value = moment(world);
  const operation: Operation = {
    kind: 'write',
    value,
    calledAt: value,
    returnedAt: undefined,
    place: undefined,
  };
  const node = REGISTERS[register] as NodeId;
  const isTaken = propose(
    world,
    host,
    {
      kind: 'register-node',
      node,
      group: REGISTER_GROUP,
      peer: world.hosts[0]?.id as Host['id'],
      host: node,
      port: 5432,
      member: undefined,
      systemIdentifier: '1',
      priority: value,
    },
    TIMEOUT_US,
    (outcome) => {
      if (outcome === 'applied') operation.returnedAt = moment(world);
      else if (outcome === 'unknown') world.tally.unknownOutcomes += 1;
      // Refused by apply: it certainly has no effect, so it never was.
      else world.history.registers[register]?.splice(world.history.registers[register].indexOf(operation), 1);
    },
  );
  if (!isTaken) return undefined;
  world.tally.logWrites += 1;
  world.history.registers[register]?.push(operation);
  return operation;
}

export function readRegister(world: World, host: Host, register: number): Operation {
  const operation: Operation = {
    kind: 'read',
    value: 0,
    calledAt: moment(world),
    returnedAt: undefined,
    place: undefined,
  };
  world.tally.logReads += 1;
  startRead(world, host, (handle) => {
    if (handle.state !== 'ready' || host.replica === undefined) return;
    operation.value = host.replica.state.nodes.get(REGISTERS[register] as NodeId)?.priority ?? 0;
    operation.returnedAt = moment(world);
    operation.place = host.replica.state.appliedIndex;
    world.history.registers[register]?.push(operation);
  });
  return operation;
}

/** The whole history, register by register. */
export function checkHistory(world: World): void {
  world.history.registers.forEach((operations, place) => {
    for (const operation of operations)
      if (operation.kind === 'write') operation.place = world.history.places.get(operation.value);
    const verdict = checkRegister(operations);
    if (verdict.kind === 'violated') violated('Linearizability', `register k${place}: ${verdict.detail}`);
  });
}
