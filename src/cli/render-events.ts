// Lines of `sentinelctl events`. Pure. Each line stands for itself, so that `--follow` can print them one by one.
import type { EventView } from '../transport/types.ts';
import { formatClockMs, formatDay, wrap } from './format.ts';
import type { Paint, Style } from './paint.ts';

const STYLE: Readonly<Record<string, Style>> = {
  'subjective-down': 'yellow',
  'begin-failover': 'red',
  'promotion-failed': 'red',
  'fence-failed': 'red',
  promote: 'yellow',
  promoted: 'green',
  resume: 'green',
};

/** `2026-11-21 04:12:31.067  main  #421 begin-failover  text`; `width` undefined leaves long lines as they are. */
export function renderEvent(
  event: EventView,
  options: { readonly width: number | undefined; readonly paint: Paint },
): string[] {
  const { paint } = options;
  const kind = event.kind.padEnd(17);
  const start = `${formatDay(event.atMs)} ${formatClockMs(event.atMs)}  ${`#${event.index}`.padEnd(6)} ${(event.group ?? '-').padEnd(6)}  ${kind}  `;
  // Refused comes first: what follows was asked for and did not happen.
  const text = event.refused === undefined ? event.text : `refused (${event.refused}): ${event.text}`;
  const lines = options.width === undefined ? [start + text] : wrap(start, text, options.width);
  const style = event.refused === undefined ? STYLE[event.kind] : 'dim';
  return style === undefined
    ? lines
    : lines.map((line, at) => (at === 0 ? line.replace(event.kind, paint(style, event.kind)) : line));
}
