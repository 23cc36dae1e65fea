// How far a copy has come: a bar on a terminal, drawn anew in its place; elsewhere a line now and then.
import { formatDuration } from '../base/duration.ts';
import { shareOf } from '../base/share.ts';
import type { LocalProgress } from '../local/request.ts';
import type { Output } from './context.ts';
import { formatBytes, shorten } from './format.ts';

const DRAW_EVERY_MS = 100;
const LINE_EVERY_MS = 5000;
const BAR_CELLS = 24;

export interface CloneBar {
  show(progress: LocalProgress): void;
  /** Before anything else is written. */
  clear(): void;
}

export function createCloneBar(output: Output, nowMs: () => number = () => performance.now()): CloneBar {
  const everyMs = output.isTerminal ? DRAW_EVERY_MS : LINE_EVERY_MS;
  let drawnAtMs: number | undefined;
  let isDrawn = false;
  return {
    show(progress) {
      const atMs = nowMs();
      if (drawnAtMs !== undefined && atMs - drawnAtMs < everyMs) return;
      drawnAtMs = atMs;
      if (!output.isTerminal) return output.write(`${progressText(progress)}\n`);
      isDrawn = true;
      const text = `${barOf(progress)}${progressText(progress)}`;
      output.write(`\r\x1b[K${shorten(text, Math.max(1, output.size().columns - 1))}`);
    },
    clear() {
      if (isDrawn) output.write('\r\x1b[K');
      isDrawn = false;
    },
  };
}

/** `[==========>             ] `; nothing where its size is not known. */
function barOf({ bytes, totalBytes }: LocalProgress): string {
  if (totalBytes === undefined || totalBytes <= 0) return '';
  const done = Math.min(BAR_CELLS, Math.floor((bytes / totalBytes) * BAR_CELLS));
  const head = done === BAR_CELLS ? '' : '>';
  return `[${`${'='.repeat(done)}${head}`.padEnd(BAR_CELLS)}] `;
}

/** `42 %, 1.2 GB of about 2.9 GB, 55 MB/s, 31s left`. */
function progressText({ bytes, totalBytes, bytesPerSecond, leftMs }: LocalProgress): string {
  const share = totalBytes !== undefined && totalBytes > 0 ? shareOf(bytes, totalBytes) : undefined;
  return [
    ...(share === undefined
      ? [formatBytes(bytes)]
      : [`${share.percent} %`, `${formatBytes(bytes)} of about ${formatBytes(share.wholeBytes)}`]),
    ...(bytesPerSecond === undefined ? [] : [`${formatBytes(bytesPerSecond)}/s`]),
    ...(leftMs === undefined ? [] : [`${formatDuration(leftMs)} left`]),
  ].join(', ');
}
