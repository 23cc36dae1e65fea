// Where the demo is shown: drawn again in place on a terminal, plain lines elsewhere. Owns the drawing timer; close() leaves
// the last picture standing. Never writes to standard output what belongs to the JSON reader.
import type { Output } from '../src/cli/context.ts';
import { coloured, plain, wantsColour } from '../src/cli/paint.ts';
import { openScreen } from '../src/cli/screen.ts';
import { inOrder, renderPicture, renderStep, type Model } from './picture.ts';
import { formatElapsed, formatSince, type Step } from './story.ts';

export interface Stage {
  /** A line of the story before the kill. */
  tell(text: string, tone?: Step['tone']): void;
  /** A line of the story after the kill; `atMs` since it. */
  step(step: Step): void;
  /** Takes the changed parts of the model. */
  show(change: Partial<Pick<Model, 'hint' | 'group' | 'client' | 'result'>>): void;
  close(): void;
}

const DRAW_EVERY_MS = 50;
const LAST_ROWS = 1000;
/** Without a terminal lines cannot be put in order later: they wait this long for earlier ones. */
const HOLD_BACK_MS = 400;

/** `startMs` is monotonic; `killMs()` too, once there was a kill. */
export function openStage(options: {
  readonly output: Output;
  readonly env: NodeJS.ProcessEnv;
  readonly title: string;
  readonly startMs: number;
  readonly killMs: () => number | undefined;
}): Stage {
  return options.output.isTerminal && options.env['TERM'] !== 'dumb'
    ? liveStage(options)
    : plainStage(options);
}

type StageOptions = Parameters<typeof openStage>[0];

function liveStage({ output, env, title, startMs, killMs }: StageOptions): Stage {
  let isLast = false;
  // The last picture may be taller than the terminal: it scrolls, and stays.
  const screen = openScreen({
    ...output,
    size: () => (isLast ? { ...output.size(), rows: LAST_ROWS } : output.size()),
  });
  const paint = wantsColour(env, output.isTerminal) ? coloured : plain;
  const unicode = /utf-?8/i.test(env['LC_ALL'] ?? env['LC_CTYPE'] ?? env['LANG'] ?? '');
  let model: Omit<Model, 'nowMs' | 'killedAtMs'> = {
    title,
    hint: undefined,
    group: undefined,
    client: undefined,
    before: [],
    after: [],
    result: [],
  };
  let isClosed = false;
  const draw = (): void => {
    const times = { nowMs: performance.now(), killedAtMs: killMs() };
    const { columns, rows } = output.size();
    screen.draw(
      renderPicture(
        { ...model, ...times },
        { width: columns, height: isLast ? LAST_ROWS : rows - 1, paint, unicode },
      ),
    );
  };
  const timer = setInterval(draw, DRAW_EVERY_MS);
  draw();
  return {
    tell(text, tone = 'plain') {
      model = { ...model, before: [...model.before, { atMs: performance.now() - startMs, text, tone }] };
    },
    step(step) {
      model = { ...model, after: [...model.after, step] };
    },
    show(change) {
      model = { ...model, ...change };
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      clearInterval(timer);
      isLast = true;
      draw();
      screen.close();
    },
  };
}

function plainStage({ output, env, title, startMs, killMs }: StageOptions): Stage {
  const paint = wantsColour(env, output.isTerminal) ? coloured : plain;
  const look = { width: 80, paint };
  const print = (lines: readonly string[]): void => output.write(lines.map((line) => `${line}\n`).join(''));
  let waiting: Step[] = [];
  let hasSteps = false;
  const flush = (olderThanMs: number): void => {
    const ready = inOrder(waiting.filter(({ atMs }) => atMs <= olderThanMs));
    waiting = waiting.filter(({ atMs }) => atMs > olderThanMs);
    print(ready.flatMap((step) => renderStep(step, formatSince, look)));
  };
  const timer = setInterval(() => flush(performance.now() - (killMs() ?? 0) - HOLD_BACK_MS), DRAW_EVERY_MS);
  print([title, '']);
  let isClosed = false;
  return {
    tell: (text, tone = 'plain') =>
      print(renderStep({ atMs: performance.now() - startMs, text, tone }, formatElapsed, look)),
    step(step) {
      if (!hasSteps) print(['']);
      hasSteps = true;
      waiting.push(step);
    },
    show({ hint, result }) {
      if (hint !== undefined) print([`           ${hint}`]);
      if (result === undefined || result.length === 0) return;
      flush(Number.POSITIVE_INFINITY);
      print(['', ...result]);
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      clearInterval(timer);
      flush(Number.POSITIVE_INFINITY);
    },
  };
}
