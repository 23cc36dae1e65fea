// Changing the sync rule on a running primary, stage by stage, begun again whenever PostgreSQL or the agent was restarted
// (src/actions/rule-change.ts is what it stands for). Must never report the change before every walsender has taken it and the
// new members hold everything that was acknowledged before.
import type { Lsn } from '../../../src/base/lsn.ts';
import type { SyncRule } from '../../../src/cluster/commands.ts';
import { showsCount } from '../../../src/cluster/quorum.ts';
import { type DutyOf, type Pass, type RuleChange, proposeOnce } from './pass.ts';
import { type WalSender, hasPriority } from './postgres.ts';
import { setNames } from './streams.ts';
import { NOBODY, namesFor, sameNames } from '../../../src/failover/testing/wal.ts';

type PrimaryDuty = DutyOf<'primary'>;

export function changeRule(pass: Pass, duty: PrimaryDuty, next: NonNullable<PrimaryDuty['next']>): boolean {
  const { agent, node, world } = pass;
  if (agent.change?.index !== next.change || agent.change.startCount !== node.startCount) {
    const isFirst = duty.rule.acks === 0 && next.rule.acks > 0;
    const { startCount } = node;
    agent.change = { index: next.change, startCount, stage: isFirst ? 'wait' : 'set', seenAt: 0, flushed: 0 };
    if (isFirst) setNames(world, node, NOBODY);
    return true;
  }
  return advance(pass, duty, next, agent.change);
}

function advance(
  pass: Pass,
  duty: PrimaryDuty,
  next: NonNullable<PrimaryDuty['next']>,
  change: RuleChange,
): boolean {
  const { node, world } = pass;
  switch (change.stage) {
    case 'wait':
      // From no rule to a rule: only once a commit was seen to wait.
      if (node.checkpointerNames.kind !== 'alone') change.stage = 'set';
      return true;
    case 'set':
      setNames(world, node, namesFor(next.rule));
      // A fresh session shows what the postmaster has read.
      if (!sameNames(node.postmasterNames, namesFor(next.rule))) return true;
      change.seenAt = world.timeline.count;
      change.stage = 'verify';
      return true;
    case 'verify':
      // All of them: a member of a change that was replaced is in neither rule, but may still release commits.
      if (!node.senders.every((sender) => hasTaken(sender, duty.rule, next.rule, change.seenAt))) {
        endUntellable(pass, duty.rule, next.rule, change.seenAt);
        return true;
      }
      change.flushed = node.wal.length;
      change.stage = 'flush';
      return true;
    case 'flush':
      if (!haveFlushed(node.senders, next.rule, change.flushed)) return true;
      proposeOnce(pass, { kind: 'commit-rule', group: duty.group, epoch: duty.epoch, change: next.change });
      return false;
  }
}

/** A walsender that does not show which number it counts to is ended: the one that comes after it counts to the new one. */
function endUntellable({ node }: Pass, rule: SyncRule, next: SyncRule, seenAt: number): void {
  if (showsCount(rule, next)) return;
  node.senders = node.senders.filter(
    (sender) => sender.startedAt > seenAt || !next.members.includes(sender.member),
  );
}

/** It shows the priority that `next` gives it, or began after a fresh session saw the new value. */
function hasTaken(sender: WalSender, rule: SyncRule, next: SyncRule, seenAt: number): boolean {
  if (sender.startedAt > seenAt) return true;
  if (hasPriority(sender) !== next.members.includes(sender.member)) return false;
  return !next.members.includes(sender.member) || showsCount(rule, next);
}

function haveFlushed(senders: readonly WalSender[], rule: SyncRule, position: number): boolean {
  const holders = new Set<string>();
  for (const sender of senders)
    if (rule.members.includes(sender.member) && sender.flush >= position) holders.add(sender.member);
  return holders.size >= rule.acks;
}

/** Says so once `acks` members have flushed the switch point of the last promotion. */
export function passFloor(pass: Pass, duty: PrimaryDuty, floor: Lsn): void {
  if (!haveFlushed(pass.node.senders, duty.rule, Number(floor))) return;
  proposeOnce(pass, { kind: 'floor-passed', group: duty.group, epoch: duty.epoch });
}
