// The outcome of `sentinelctl node check` as plugins for Nagios print it: a line for each node, figures behind a bar. Pure.
import type { Figure, Level, NodeCheck } from './check-node.ts';
import { formatBytes } from './format.ts';

/** `OK - pg2: streams from pg1 | lag=0B;67108864;1073741824;0`. Of one among several the figures carry its name. */
export function checkLine(check: NodeCheck, facts: string, isOneOfMany: boolean): string {
  const texts = check.findings.map(({ text }) => text);
  const text = `${check.node}: ${texts.length > 0 ? texts.join('; ') : facts}`;
  const prefix = isOneOfMany ? `${check.node}_` : '';
  const figures = check.figures.map((figure) => figureText(figure, prefix)).join(' ');
  return plainLine(check.level, text) + (figures === '' ? '' : ` | ${figures}`);
}

/** A bar would begin the figures, and a message may hold anything. */
export function plainLine(level: Level, text: string): string {
  return `${level} - ${text.replaceAll(/[\p{Cc}|]+/gu, ' ')}`;
}

/** What is well, said shortly. */
export function factsOf(check: NodeCheck, state: string): string {
  const find = (label: string): Figure | undefined => check.figures.find((each) => each.label === label);
  const [lag, free] = [find('lag'), find('data_free')];
  return [
    state,
    ...(lag === undefined ? [] : [`${formatBytes(lag.value)} behind`]),
    ...(free === undefined ? [] : [`${free.value} % of its disk free`]),
  ].join(', ');
}

/** As the guidelines for plugins have it; `5:` is a bound from below. */
function figureText({ label, value, unit, limit, isLeast }: Figure, prefix: string): string {
  const bound = (limitValue: number | undefined): string =>
    limitValue === undefined ? '' : `${limitValue}${isLeast === true ? ':' : ''}`;
  const least = unit === '%' ? '0;100' : '0';
  return `${prefix}${label}=${value}${unit};${bound(limit?.warning)};${bound(limit?.critical)};${least}`;
}
