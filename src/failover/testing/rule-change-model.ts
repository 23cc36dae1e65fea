// Changing the sync rule on a running primary in the protocol's model: rule-change.ts, stage by stage; begun again whenever PostgreSQL
// or the agent was restarted. Never used outside tests.
import { showsCount } from '../../cluster/quorum.ts';
import type { DutyOf, Surroundings } from './agent-model.ts';
import { type NodeModel, hasPriority } from './postgres-model.ts';
import { NOBODY, namesFor } from './wal.ts';

export const sendersOf = (node: NodeModel, members: readonly string[]) =>
  [...node.senders].filter(([member]) => members.includes(member));

export function changeRule(
  node: NodeModel,
  world: Surroundings,
  duty: DutyOf<'primary'>,
  next: NonNullable<DutyOf<'primary'>['next']>,
): void {
  const { memo } = node.agent;
  if (memo.change?.index !== next.change || memo.change.start !== node.startCount) {
    const isFirst = duty.rule.acks === 0 && next.rule.acks > 0;
    memo.change = {
      index: next.change,
      start: node.startCount,
      stage: isFirst ? 'wait' : 'set',
      seenAt: 0,
      flushed: 0,
    };
    if (isFirst) node.fileNames = NOBODY;
    return;
  }
  const { change } = memo;
  switch (change.stage) {
    case 'wait':
      if (node.checkpointerNames.kind !== 'alone' || world.faults.waitUnseen) change.stage = 'set';
      return;
    case 'set':
      node.fileNames = namesFor(next.rule);
      change.seenAt = world.now;
      change.stage = 'verify';
      return;
    case 'verify': {
      // All of them: a member of a change that was replaced while alone is in neither rule, but may still release commits.
      const concerned = world.faults.strangersUnverified
        ? sendersOf(node, [...duty.rule.members, ...next.rule.members])
        : [...node.senders];
      const isTelling = world.faults.countUnverified === true || showsCount(duty.rule, next.rule);
      const haveTaken = concerned.every((entry) => {
        const isIn = next.rule.members.includes(entry[0]);
        return entry[1].startedAt > change.seenAt || (hasPriority(entry) === isIn && (!isIn || isTelling));
      });
      if (!isTelling)
        for (const [member, sender] of node.senders)
          if (sender.startedAt <= change.seenAt) node.senders.delete(member);
      if (!haveTaken && !world.faults.walSendersUnverified) return;
      change.flushed = node.wal.length;
      change.stage = 'flush';
      return;
    }
    case 'flush': {
      const holders = sendersOf(node, next.rule.members).filter(
        ([, sender]) => sender.flush >= change.flushed,
      );
      if (holders.length < next.rule.acks && !world.faults.flushUnverified) return;
      world.propose({ kind: 'commit-rule', group: duty.group, epoch: duty.epoch, change: next.change });
    }
  }
}
