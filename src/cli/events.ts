// `sentinelctl events`: what the cluster decided and why, from its log; with --follow as it happens.
import { InvalidArgumentError, Option, type Command } from 'commander';
import { delay } from '../base/clock.ts';
import type { EventView } from '../transport/types.ts';
import {
  connect,
  messageOf,
  paintFor,
  withAdmin,
  type Admin,
  type CommonOptions,
  type Context,
} from './context.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { FORMATS, renderDocument, type Format } from './document.ts';
import { renderEvent } from './render-events.ts';

interface EventsOptions extends CommonOptions {
  readonly group?: string;
  readonly number: number;
  readonly output: Format;
  readonly follow?: boolean;
}

const POLL_MS = 300;
/** A peer keeps no more. */
const EVENT_COUNT_MAX = 1000;

const HELP = `
Examples:
  sentinelctl events -n 50                    the latest 50, oldest first
  sentinelctl events --group main --follow    goes on until Ctrl-C
  sentinelctl events -o json | jq '.[] | select(.kind == "begin-failover")'`;

export function addEventsCommand(program: Command, context: Context): void {
  program
    .command('events')
    .description('show what was decided, and why')
    .option('--group <group>', 'only events of this group')
    .option('-n, --number <count>', 'how many of the latest events', parseCount, 20)
    .option('-f, --follow', 'go on with events as they happen')
    .addOption(new Option('-o, --output <format>', 'how to print them').choices(FORMATS).default('table'))
    .addHelpText('after', HELP)
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<EventsOptions>();
      await (options.follow === true ? followEvents(context, options) : printEvents(context, options));
    });
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || count > EVENT_COUNT_MAX) {
    throw new InvalidArgumentError(`Expected a whole number from 1 to ${EVENT_COUNT_MAX}.`);
  }
  return count;
}

async function printEvents(context: Context, options: EventsOptions): Promise<void> {
  const events = await withAdmin(context, options, async (admin) => {
    const found = await admin.events({ group: options.group, limit: options.number });
    if (found.length === 0 && options.group !== undefined) await checkGroup(admin, options.group);
    return found;
  });
  if (options.output === 'table') print(context, options, events);
  else context.stdout.write(renderDocument(options.output, events, { stream: false }));
  if (events.length === 0 && options.output === 'table') context.stderr.write('no events\n');
}

/** A mistyped group must not look like one to which nothing has happened. */
async function checkGroup(admin: Admin, name: string): Promise<void> {
  const status = await admin.status();
  const names = status.groups.map((group) => group.group);
  if (names.includes(name)) return;
  const there = names.length === 0 ? 'no group yet' : `no group "${name}"; there are: ${names.join(', ')}`;
  throw new CliError(EXIT.failed, `${status.cluster} has ${there}`);
}

/** Goes on with another peer when one is lost; only a first attempt that reaches nobody ends it. */
async function followEvents(context: Context, options: EventsOptions): Promise<void> {
  let admin: Admin | undefined = await connect(context, options);
  let [lastIndex, limit] = [0, options.number];
  try {
    while (!context.signal.aborted) {
      try {
        admin ??= await connect(context, options);
        const events = await admin.events({ group: options.group, limit });
        const fresh = events.filter((event) => event.index > lastIndex);
        print(context, options, fresh);
        lastIndex = fresh.at(-1)?.index ?? lastIndex;
        limit = EVENT_COUNT_MAX;
      } catch (error) {
        if (context.signal.aborted) return;
        context.stderr.write(`sentinelctl: ${messageOf(error)}; trying again\n`);
        admin?.close();
        admin = undefined;
      }
      await delay(POLL_MS, context.signal);
    }
  } finally {
    admin?.close();
  }
}

function print(context: Context, options: EventsOptions, events: readonly EventView[]): void {
  const paint = paintFor(context, options, context.stdout);
  const width = context.stdout.isTerminal ? context.stdout.size().columns : undefined;
  for (const event of events) {
    context.stdout.write(
      options.output === 'table'
        ? `${renderEvent(event, { width, paint }).join('\n')}\n`
        : renderDocument(options.output, event, { stream: true }),
    );
  }
}
