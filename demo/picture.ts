// The live picture of the demo, 80 columns wide: the nodes, the client, the story with its times, the result. Pure: the
// same model gives the same lines. Without a terminal only the story's lines are used.
import { formatBytes, shorten, wrap } from '../src/cli/format.ts';
import type { Paint, Style } from '../src/cli/paint.ts';
import { renderTable, type Cell } from '../src/cli/table.ts';
import type { GroupView, NodeView } from '../src/transport/types.ts';
import { renderPulse } from './pulse.ts';
import { formatCount, formatElapsed, formatSince, type Step } from './story.ts';

export interface Model {
  readonly title: string;
  /** How to look at the same from beside. */
  readonly hint: string | undefined;
  /** Undefined until a peer answers. */
  readonly group: GroupView | undefined;
  /** Undefined until the client writes. */
  readonly client: ClientModel | undefined;
  /** Times since the start. */
  readonly before: readonly Step[];
  /** Times since the kill. */
  readonly after: readonly Step[];
  readonly result: readonly string[];
  /** Monotonic times. */
  readonly nowMs: number;
  readonly killedAtMs: number | undefined;
}

export interface ClientModel {
  readonly acked: number;
  /** That acknowledged the last write; undefined while none does. */
  readonly node: string | undefined;
  readonly ackedAtMs: readonly number[];
}

export interface PictureOptions {
  readonly width: number;
  /** Lines that there is room for; what a person needs least is left out first. */
  readonly height: number;
  readonly paint: Paint;
  readonly unicode: boolean;
}

const WIDTH_MAX = 80;
const TONES: Record<Step['tone'], Style | undefined> = { plain: undefined, bad: 'red', good: 'green' };

export function renderPicture(model: Model, options: PictureOptions): string[] {
  const { paint } = options;
  const look = { ...options, width: Math.min(WIDTH_MAX, options.width) };
  const title = [
    paint('bold', shorten(model.title, look.width)),
    ...(model.hint === undefined ? [] : [paint('dim', shorten(model.hint, look.width))]),
  ];
  const nodes = renderNodes(model.group, look.width, paint);
  const client = renderClient(model, look);
  const before = model.before.flatMap((step) => renderStep(step, formatElapsed, look));
  const after = inOrder(model.after).flatMap((step) => renderStep(step, formatSince, look));
  const { result } = model;
  const variants = [
    [title, nodes, client, before, after, result],
    [title, nodes, client, after.length > 0 ? [] : before, after, result],
    [nodes, client, after.length > 0 ? [] : before, after, result],
    [nodes, after, result],
    [after, result],
  ].map(join);
  return (
    variants.find((lines) => lines.length <= options.height) ?? variants.at(-1)?.slice(-options.height) ?? []
  );
}

/** The sections that have lines, an empty line between them. */
function join(sections: readonly (readonly string[])[]): string[] {
  return sections
    .filter(({ length }) => length > 0)
    .flatMap((lines, at) => (at === 0 ? lines : ['', ...lines]));
}

/** Log entries reach us a little after they were made: told in the order of their times. */
export function inOrder(steps: readonly Step[]): Step[] {
  return steps.toSorted((a, b) => a.atMs - b.atMs);
}

export function renderStep(
  step: Step,
  format: (ms: number) => string,
  options: { readonly width: number; readonly paint: Paint },
): string[] {
  const tone = TONES[step.tone];
  const time = format(step.atMs);
  return wrap(`${time}  `, step.text, options.width).map((line) =>
    tone === undefined ? line : line.slice(0, time.length) + options.paint(tone, line.slice(time.length)),
  );
}

const COLUMNS = [
  { title: 'NODE' },
  { title: 'ROLE' },
  { title: 'STATE        ' },
  { title: 'TIMELINE', align: 'right' as const },
  { title: 'LSN' },
  { title: 'BEHIND', align: 'right' as const },
  { title: 'COMMITS WAIT', drop: 1 },
];

function renderNodes(group: GroupView | undefined, width: number, paint: Paint): string[] {
  if (group === undefined) return [paint('dim', '  the peers are starting ...')];
  const rows = group.nodes.map((node) => nodeRow(node, group));
  return renderTable({ columns: COLUMNS, rows, width, indent: '  ', paint });
}

function nodeRow(node: NodeView, group: GroupView): Cell[] {
  const isPrimary = node.role === 'primary';
  const isWell = node.state === (isPrimary ? 'running' : 'streaming');
  const isIn = node.sync === 'quorum' || node.sync === 'sync';
  const isHeld = node.heldDownBy.length > 0 && (isPrimary || node.state === 'unknown');
  return [
    { text: node.node, style: isPrimary ? 'bold' : undefined },
    { text: node.role === 'none' ? '-' : node.role, style: isPrimary ? 'bold' : undefined },
    isHeld
      ? { text: 'held for down', style: 'red' }
      : { text: node.state, style: isWell ? 'green' : node.state === 'stopped' ? 'red' : 'yellow' },
    { text: node.timeline === undefined ? '-' : String(node.timeline) },
    { text: node.lsn ?? '-' },
    { text: node.lagBytes === undefined || isPrimary ? '-' : formatBytes(node.lagBytes) },
    { text: isPrimary ? `for ${group.rule === 'alone' ? 'nobody' : group.rule}` : isIn ? 'counts' : '-' },
  ];
}

function renderClient({ client, nowMs, killedAtMs }: Model, options: PictureOptions): string[] {
  if (client === undefined) return [];
  const { paint, unicode, width } = options;
  const { bars, sliceMs } = renderPulse({
    ackedAtMs: client.ackedAtMs,
    nowMs,
    killedAtMs,
    unicode,
    width: width - 4,
  });
  const waits = client.node === undefined ? 'waiting for a primary' : `now by ${client.node}`;
  const text = `client: ${formatCount(client.acked)} writes acknowledged, ${waits}`;
  const scale = `1 column = ${sliceMs} ms`;
  const gap = ' '.repeat(Math.max(1, width - 2 - text.length - scale.length));
  return [`  ${text}${gap}${paint('dim', scale)}`, `  [${paint('green', bars)}]`];
}
