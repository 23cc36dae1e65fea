// What must hold at every step of a life: nothing acknowledged is lost, nobody acknowledges beside another, and epochs and timelines
// only rise. Never used outside tests.
import type { GroupState } from '../../cluster/state.ts';
import { isLeased } from '../../cluster/quorum.ts';
import { mayLose } from './life-settings.ts';
import type { Tally } from './life-parts.ts';
import { type NodeModel, canAcknowledge } from './postgres-model.ts';
import { timelineOf } from './wal.ts';

export interface PromiseChecks {
  readonly onCommitted: (before: GroupState, after: GroupState, index: number) => void;
  readonly acknowledge: (node: NodeModel, values: readonly number[]) => void;
  readonly checkHolds: (node: NodeModel, what: string) => void;
  readonly onOpened: (node: NodeModel) => void;
  /** Timelines that were assigned in the part of the log that is lost, and not opened, may be assigned again. */
  readonly onRecovered: () => void;
  readonly checkAcknowledgers: () => void;
}

export function createPromise(life: {
  readonly nodes: readonly NodeModel[];
  readonly tally: Tally;
  readonly group: () => GroupState;
  readonly fail: (text: string) => never;
  readonly trace: (line: () => string) => void;
}): PromiseChecks {
  const { nodes, tally, group, fail, trace } = life;
  const acknowledged: { readonly value: number; readonly timeline: number }[] = [];
  let highestOpened = 1;
  /** By the node that opened the highest timeline, when it did. */
  let heldWhenOpened: ReadonlySet<number> = new Set();
  let highestPromoted = 1;

  const checkHolds = (node: NodeModel, what: string): void => {
    const held = new Set(node.wal.map((record) => record.value));
    const lost = acknowledged.find((record) => !held.has(record.value));
    if (lost !== undefined)
      fail(`${node.name} ${what} without acknowledged write ${lost.value} of timeline ${lost.timeline}`);
  };

  return {
    checkHolds,
    onCommitted(before, after, index) {
      if (mayLose(before, after)) acknowledged.length = 0;
      if (after.epoch < before.epoch) fail(`the epoch fell from ${before.epoch} to ${after.epoch}`);
      if (after.highestTimeline < before.highestTimeline) fail('the highest timeline fell');
      if (after.epoch !== before.epoch && after.epoch !== index)
        fail('an epoch is not the index of its entry');
      if (after.phase.kind === 'promoting' && before.phase.kind !== 'promoting') {
        if (after.phase.timeline <= highestPromoted)
          fail(`timeline ${after.phase.timeline} is not higher than ${highestPromoted}`);
        highestPromoted = after.phase.timeline;
      }
    },
    acknowledge(node, values) {
      for (const done of values) {
        const on = timelineOf(node.wal);
        // Of several acknowledgements the last may come late, for a commit that the new primary holds; it may for no other.
        if (on < highestOpened && !heldWhenOpened.has(done))
          fail(`${node.name} acknowledged on timeline ${on} after ${highestOpened} was opened`);
        trace(() => `${node.name} acknowledges ${done} on timeline ${on}`);
        // Under a lease the last writes may be lost, but never by two nodes that acknowledge side by side.
        if (!isLeased(group())) acknowledged.push({ value: done, timeline: on });
        tally.acknowledged += 1;
      }
    },
    onOpened(node) {
      // A stale promotion opens a timeline that was passed by already: useless, and unable to acknowledge, which is checked there.
      if (timelineOf(node.wal) >= highestOpened) {
        checkHolds(node, 'became primary');
        heldWhenOpened = new Set(node.wal.map((record) => record.value));
      }
      highestOpened = Math.max(highestOpened, timelineOf(node.wal));
    },
    onRecovered() {
      highestPromoted = highestOpened;
    },
    checkAcknowledgers() {
      const able = nodes.filter((node) => canAcknowledge(node, nodes));
      if (able.length > 1) fail(`${able.map((node) => node.name).join(' and ')} can both acknowledge`);
    },
  };
}
