// The order of operations on the disk, as a real process carries them out: what kill -9 cannot show, since it loses nothing that
// was handed to the kernel, but a power failure would.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileWriter } from './testing/child.ts';
import type { Writer } from './testing/child.ts';
import { historyOf } from './testing/history.ts';
import { withDirectory } from './testing/stores.ts';

const history = { seed: 141, count: 14, snapshotBytesMax: 5 << 20 };
const snapshots = historyOf(history).flatMap(({ snapshot }, position) =>
  snapshot === undefined ? [] : [{ ...snapshot, number: position + 1 }],
);
let writer: Writer;
let lines: readonly string[] = [];

beforeAll(async () => {
  writer = compileWriter();
  await withDirectory(async (directory) => {
    ({ lines } = await writer.run({ directory, history, printsOperations: true, oneByOne: true }));
  });
});
afterAll(() => writer.remove());

/** The first of these lines, in this order, each after the one before; fails where one is missing. Returns their places. */
function inOrder(from: number, ...wanted: readonly string[]): number[] {
  const places: number[] = [];
  let after = from;
  for (const line of wanted) {
    const place = lines.indexOf(line, after);
    expect(place, `${line} after line ${after} of\n${lines.join('\n')}`).toBeGreaterThanOrEqual(0);
    places.push(place);
    after = place + 1;
  }
  return places;
}

function fileOf(index: number): string {
  return `snapshot-${String(index).padStart(16, '0')}`;
}

const BATCH = 'disk batch synchronous';
const SIDE_WRITE = 'disk write hard-state.new';
const SIDE_FLUSH = 'disk flush hard-state.new';

describe('the operations of a store on the disk', () => {
  test('answer for a write after a synchronous batch, and after the side file was written and flushed', () => {
    expect(lines.at(-1)).toBe('end');
    expect(lines.filter((line) => line.startsWith('disk batch') && line !== BATCH)).toEqual([]);
    const beginning = lines.indexOf('disk rename hard-state');
    for (let number = 1; number <= history.count; number += 1) {
      const answer = lines.indexOf(`ack ${number}`);
      const done = lines.slice(beginning, answer);
      // The record of a snapshot is a write as well, so there may be more; each has all three steps.
      for (const step of [BATCH, SIDE_WRITE, SIDE_FLUSH])
        expect(
          done.filter((line) => line === step).length,
          `${step} before ack ${number}`,
        ).toBeGreaterThanOrEqual(number);
    }
    const steps = lines.slice(beginning).filter((line) => [BATCH, SIDE_WRITE, SIDE_FLUSH].includes(line));
    for (let at = 0; at < steps.length; at += 3)
      expect(steps.slice(at, at + 3)).toEqual([BATCH, SIDE_WRITE, SIDE_FLUSH]);
  });

  test.each(snapshots)(
    'name the snapshot at $snapshot.index only when its file is durable (replaces the log: $replacesLog)',
    ({ snapshot }) => {
      const file = fileOf(snapshot.index);
      const lastWrite = lines.lastIndexOf(`disk write ${file}.new`);
      const [, renamed = 0] = inOrder(lastWrite, `disk flush ${file}.new`, `disk rename ${file}`);
      expect(lines.indexOf(`disk rename ${file}`)).toBe(renamed);
      inOrder(renamed, 'disk open raft', 'disk flush raft', BATCH, SIDE_WRITE, SIDE_FLUSH);
    },
  );

  test.each(snapshots.slice(1))(
    'remove what the snapshot at $snapshot.index replaces only when nothing needs it any more',
    ({ snapshot }) => {
      const previous = snapshots[snapshots.findIndex((other) => other.snapshot === snapshot) - 1];
      const [directoryFlushed = 0] = inOrder(
        lines.indexOf(`disk rename ${fileOf(snapshot.index)}`),
        'disk flush raft',
      );
      const [, , recorded = 0] = inOrder(directoryFlushed, BATCH, SIDE_WRITE, SIDE_FLUSH);
      const removed = lines.indexOf(`disk remove ${fileOf(previous?.snapshot.index ?? 0)}`);
      expect(removed).toBeGreaterThan(recorded);
      expect(lines.indexOf('disk clear log', removed)).toBeGreaterThan(removed);
    },
  );

  test('answer for a snapshot that replaces the log after it is durable, and not before it is for others', () => {
    for (const { snapshot, replacesLog, number } of snapshots) {
      const answered = lines.indexOf(`ack ${number}`);
      const renamed = lines.indexOf(`disk rename ${fileOf(snapshot.index)}`);
      if (replacesLog) expect(answered).toBeGreaterThan(renamed);
    }
    const large = snapshots.filter(
      ({ snapshot, replacesLog }) => snapshot.data.length > 1 << 20 && !replacesLog,
    );
    expect(large.length).toBeGreaterThan(0);
    for (const { snapshot, number } of large)
      expect(lines.indexOf(`ack ${number}`)).toBeLessThan(
        lines.indexOf(`disk rename ${fileOf(snapshot.index)}`),
      );
  });

  test('write a large snapshot in pieces, and flush it more than once', () => {
    const { snapshot } =
      snapshots.find((candidate) => candidate.snapshot.data.length > 4 << 20) ?? snapshots[0]!;
    const file = `${fileOf(snapshot.index)}.new`;
    expect(lines.filter((line) => line === `disk write ${file}`).length).toBeGreaterThan(
      snapshot.data.length / (1 << 20),
    );
    expect(lines.filter((line) => line === `disk flush ${file}`).length).toBeGreaterThan(1);
  });
});
