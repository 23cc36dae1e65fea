// Chains of misfortunes among leaders. Figure 8 of the Raft paper: an entry of an old term reaches a majority, its leader dies before
// anything of the present term has, and a peer returns that holds something of a term in between. And a leader that was relieved
// without hearing of it, while old answers still reach it.
// Must never do more than cut the network and end processes.
import { lastIndex } from '../../../src/raft/log.ts';
import { REGISTER_COUNT, readRegister, writeRegister } from '../clients/clients.ts';
import { put } from '../raft/inbox.ts';
import { endProcess, startProcess } from '../raft/process.ts';
import { EVENT, type Host, type World, after, leaderHost } from '../world.ts';

const LOOK_EVERY_US = 300;
const STEP_US_MAX = 900_000;

/** Played as far as it will go. */
export function ambushReigns(world: World): boolean {
  const first = leaderHost(world);
  const voters = first?.raft?.membership.voters.map((voter) => world.hostOf.get(voter) as Host) ?? [];
  if (first === undefined || voters.length !== 3 || world.lost.size > 0) return false;
  if (voters.some((host) => host.raft === undefined || host.isHeldDown)) return false;
  world.network.blocked.fill(0);
  // What the first leader takes from now on stays with it.
  block(world, first);
  later(world, world.random.between(20_000, 90_000), () => {
    hold(world, first, 'the first leader dies');
    world.network.blocked.fill(0);
    when(
      world,
      () => isElected(voters, first),
      () => {
        const second = voters.find((host) => host.raft?.role === 'candidate') as Host;
        // The votes come, but what the second leader says does not get through.
        block(world, second);
        when(
          world,
          () => second.raft?.role === 'leader',
          () => {
            later(world, world.random.between(5000, 25_000), () =>
              hold(world, second, 'the second leader dies'),
            );
            later(world, 30_000, () => playThirdReign(world, first, second, voters));
          },
        );
      },
    );
  });
  return true;
}

function playThirdReign(world: World, first: Host, second: Host, voters: readonly Host[]): void {
  world.network.blocked.fill(0);
  release(world, first);
  const third = voters.find((host) => host !== first && host !== second) as Host;
  const before = third.raft === undefined ? 0 : lastIndex(third.raft.log);
  const isPartlyThere = (): boolean => {
    const { raft } = third;
    return raft !== undefined && first.raft?.role === 'leader' && lastIndex(raft.log) > before;
  };
  when(world, isPartlyThere, () => {
    block(world, first);
    later(world, world.random.between(5000, 40_000), () => {
      hold(world, first, 'the first leader dies again');
      world.network.blocked.fill(0);
      release(world, second);
      later(world, 500_000, () => release(world, first));
    });
  });
}

/**
 * Answers to the leader are late. It hands over, hears nothing new from then on, and so does not learn that it was relieved; the late
 * answers still come, while clients write through its successor and read through it.
 */
export function ambushDeafLeader(world: World): boolean {
  const { network, random } = world;
  const leader = leaderHost(world);
  const target = random.pick(world.hosts);
  const isVoter = leader?.raft?.membership.voters.includes(target.id) === true;
  if (leader === undefined || target === leader || !isVoter || network.lateHeartbeatPpm > 0) return false;
  network.blocked.fill(0);
  network.lateHeartbeatPpm = LATE_PPM;
  later(world, 200_000, () => {
    network.lateHeartbeatPpm = 0;
    put(world, leader, { kind: 'transfer', nowMs: 0, to: target.id });
    const stands = (): boolean => target.raft?.role === 'candidate' || target.raft?.role === 'leader';
    when(world, stands, () => {
      for (const other of world.hosts) if (other !== leader) blockTo(world, other, leader);
    });
  });
  for (let atUs = 0; atUs < 400_000; atUs += 6000) {
    later(world, atUs, () => {
      readRegister(world, leader, random.below(REGISTER_COUNT));
      if (target.replica?.proposer.isOpen === true)
        writeRegister(world, target, random.below(REGISTER_COUNT));
    });
  }
  return true;
}

const LATE_PPM = 500_000;

/** Somebody stands and another one has voted for it: it will know in a moment. */
function isElected(voters: readonly Host[], first: Host): boolean {
  const candidate = voters.find((host) => host.raft?.role === 'candidate');
  if (candidate?.raft === undefined) return false;
  const { term } = candidate.raft;
  return voters.some(
    ({ raft, id }) =>
      raft !== undefined &&
      id !== first.id &&
      id !== candidate.id &&
      raft.term === term &&
      raft.votedFor === candidate.id,
  );
}

/** Nothing that the host says gets through. */
function block(world: World, host: Host): void {
  for (const other of world.hosts) if (other !== host) blockTo(world, host, other);
}

function blockTo(world: World, from: Host, to: Host): void {
  world.network.blocked[from.place * world.hosts.length + to.place] = 1;
}

function hold(world: World, host: Host, why: string): void {
  endProcess(world, host, why);
  host.isHeldDown = true;
}

function release(world: World, host: Host): void {
  host.isHeldDown = false;
  startProcess(world, host);
}

/** Looks again and again; where it does not come true, all return. */
function when(world: World, isSo: () => boolean, then: () => void): void {
  const untilUs = world.timeline.nowUs + STEP_US_MAX;
  const look = (): void => {
    if (isSo()) {
      then();
    } else if (world.timeline.nowUs > untilUs) {
      world.network.blocked.fill(0);
      for (const host of world.hosts) if (host.isHeldDown) release(world, host);
    } else {
      later(world, LOOK_EVERY_US, look);
    }
  };
  look();
}

function later(world: World, delayUs: number, work: () => void): void {
  const ref = (): void => {
    if (world.isTroubled) work();
  };
  after(world, delayUs, { kind: EVENT.faultEnd, host: 0, boot: -1, ref });
}
