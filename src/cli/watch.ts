// `sentinelctl status --watch`: the picture again after every change, until Ctrl-C. When the peer is lost it says so, keeps
// the last picture and goes on with another peer; only a first attempt that reaches nobody ends it.
import { delay } from '../base/clock.ts';
import type { EventView, StatusView } from '../transport/types.ts';
import { connect, messageOf, paintFor, type Admin, type Context } from './context.ts';
import { renderDocument } from './document.ts';
import { formatClock, wrap } from './format.ts';
import { openScreen } from './screen.ts';
import { narrowed, scoped } from './status-scope.ts';
import { latestEvents, statusDocument, statusLines, type StatusOptions } from './status-picture.ts';

const RETRY_MS = 500;

export async function watchStatus(context: Context, options: StatusOptions): Promise<void> {
  let admin = await connect(context, options);
  try {
    if (options.group !== undefined || options.formation !== undefined) scoped(await admin.status(), options);
  } catch (error) {
    admin.close();
    throw error;
  }
  const picture = openPicture(context, options);
  try {
    while (!context.signal.aborted) {
      try {
        await follow(admin, picture, context.signal);
        if (!context.signal.aborted) picture.lost('the peer ended the connection');
      } catch (error) {
        if (!context.signal.aborted) picture.lost(messageOf(error));
      }
      admin.close();
      await delay(RETRY_MS, context.signal);
      const next = await reconnect(context, options, picture);
      if (next === undefined) break;
      admin = next;
    }
  } finally {
    admin.close();
    picture.close();
  }
}

async function reconnect(
  context: Context,
  options: StatusOptions,
  picture: Picture,
): Promise<Admin | undefined> {
  while (!context.signal.aborted) {
    try {
      return await connect(context, options);
    } catch (error) {
      if (!context.signal.aborted) picture.lost(messageOf(error));
    }
    await delay(RETRY_MS, context.signal);
  }
  return undefined;
}

/** Shows what the peer sends, and asks for events when the log went on: one question at a time, none for an old status. */
async function follow(admin: Admin, picture: Picture, signal: AbortSignal): Promise<void> {
  let newestIndex = -1;
  let asking = Promise.resolve();
  const ask = async (index: number): Promise<void> => {
    if (index === newestIndex && !signal.aborted) picture.events(await latestEvents(admin));
  };
  await admin.watch((status) => {
    picture.status(status);
    if (status.appliedIndex === newestIndex) return;
    newestIndex = status.appliedIndex;
    asking = asking.then(() => ask(status.appliedIndex));
  }, signal);
  await asking;
}

interface Picture {
  status(status: StatusView): void;
  events(events: readonly EventView[]): void;
  /** The connection is lost; what is shown grows old. */
  lost(reason: string): void;
  close(): void;
}

function openPicture(context: Context, options: StatusOptions): Picture {
  const { output } = options;
  return output === 'table' ? tablePicture(context, options) : documentPicture(context, options, output);
}

function documentPicture(context: Context, options: StatusOptions, format: 'json' | 'yaml'): Picture {
  return {
    status: (status) =>
      context.stdout.write(
        renderDocument(format, statusDocument(narrowed(status, options)), { stream: true }),
      ),
    events: () => undefined,
    lost: (reason) => context.stderr.write(`sentinelctl: ${reason}\n`),
    close: () => undefined,
  };
}

function tablePicture(context: Context, options: StatusOptions): Picture {
  const screen = openScreen(context.stdout);
  const paint = paintFor(context, options, context.stdout);
  let latest: StatusView | undefined;
  let events: readonly EventView[] = [];
  let trouble: { readonly reason: string; readonly sinceMs: number } | undefined;
  const draw = (): void => {
    const { columns } = context.stdout.size();
    const notice =
      trouble === undefined
        ? []
        : wrap(
            '',
            `LOST CONTACT at ${formatClock(trouble.sinceMs)}, trying again: ${trouble.reason}`,
            columns,
          );
    const picture = latest === undefined ? [] : statusLines(context, options, latest, events);
    const frame = [...notice.map((line) => paint('red', line)), ...picture];
    if (frame.length > 0) screen.draw(frame);
  };
  const stopResize = context.stdout.onResize(draw);
  return {
    status: (status) => {
      [latest, trouble] = [status, undefined];
      draw();
    },
    events: (next) => {
      events = next.length > 0 ? next : events;
      draw();
    },
    lost: (reason) => {
      trouble = { reason, sinceMs: trouble?.sinceMs ?? Date.now() };
      draw();
    },
    close: () => {
      stopResize();
      screen.close();
    },
  };
}
