// Three of our members on loopback, each a process of its own.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { freePorts } from '../../src/transport/testing/free-ports.ts';
import { compiled } from '../../harness/programs.ts';
import { callUnary, openBatching, openLoopback } from './calls.ts';
import type { Client, Contestant } from './contestant.ts';
import {
  BATCHED_PATH,
  PROPOSE_PATH,
  VIEW_PATH,
  type MemberFigures,
  type MemberPlan,
  type MemberRequest,
} from './member-plan.ts';
import { createProgram, type Program, programOf } from './program.ts';
import { decodeProposeResponse, decodeView, encodeProposeRequest } from './wire.ts';

const NAMES = ['a', 'b', 'c'] as const;
const ASK_TIMEOUT_MS = 10_000;
const NOTHING = Buffer.alloc(0);

export interface SentinelCluster extends Contestant {
  figures(member: string): Promise<MemberFigures>;
  ask(member: string, request: MemberRequest): Promise<unknown>;
}

/** Starts the members in directories below `directory`; does not wait for a leader. */
export async function startSentinelCluster(options: {
  readonly directory: string;
  /** Options of Node for every member, such as `--cpu-prof`. */
  readonly nodeOptions: readonly string[];
}): Promise<SentinelCluster> {
  const ports = await freePorts(2 * NAMES.length);
  const members = NAMES.map((name, at) => ({ name, port: ports[2 * at] ?? 0 }));
  const servicePorts = new Map(NAMES.map((name, at) => [name as string, ports[2 * at + 1] ?? 0]));
  const programs = new Map<string, Program>();
  for (const name of NAMES) {
    const directory = join(options.directory, `sentinel-${name}`);
    await mkdir(directory, { recursive: true });
    const plan: MemberPlan = {
      self: name,
      clusterId: 'bench',
      members,
      servicePort: servicePorts.get(name) ?? 0,
      storeDirectory: join(directory, 'raft'),
    };
    const program = createProgram({
      name: `member ${name}`,
      command: process.execPath,
      commandArguments: [...options.nodeOptions, compiled('bench/raft/member.js'), JSON.stringify(plan)],
      directory,
      environment: process.env,
      takesMessages: true,
    });
    program.start();
    programs.set(name, program);
  }
  const ask = (member: string, request: MemberRequest): Promise<unknown> =>
    programOf(programs, member).ask(request, ASK_TIMEOUT_MS);
  return {
    name: 'pg-sentinel',
    members: NAMES,
    open: (member) => openClient(servicePorts.get(member) ?? 0),
    kill: (member) => programOf(programs, member).kill(),
    start: (member) => programOf(programs, member).start(),
    assertRunning() {
      for (const program of programs.values()) program.assertRunning();
    },
    ask,
    figures: async (member) => (await ask(member, { kind: 'figures' })) as MemberFigures,
  };
}

function openClient(port: number): Client {
  const channel = openLoopback(port);
  return {
    async propose(value) {
      await callUnary(channel, PROPOSE_PATH, encodeProposeRequest(value), decodeProposeResponse);
    },
    proposeBatched: openBatching(channel, BATCHED_PATH),
    view: () => callUnary(channel, VIEW_PATH, NOTHING, decodeView),
    close: () => channel.destroy(),
  };
}
