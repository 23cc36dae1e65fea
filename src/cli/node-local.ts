// `sentinelctl node create` and `clone`: this host's data directory is made before its sentineld has one. Done by this process itself, as
// root or as the service's user; the code for it is loaded only then.
import { isAbsolute, normalize } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { LocalOutcome, LocalRequest } from '../local/request.ts';
import { createCloneBar } from './clone-bar.ts';
import { type CommonOptions, type Context, type LocalWork, paintFor } from './context.ts';
import { FORMATS, renderDocument, type Format } from './document.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { DEFAULT_CONFIG_PATH, PEERS_VARIABLE, parseList } from './peers.ts';

const CREATE_HELP = `
On the host itself, as the user that sentineld runs as; --config is
this host's configuration (${DEFAULT_CONFIG_PATH}). The peers are asked first: a group that has a database already gets no second one. Where none
answers, as on the first host of a new cluster, --first says that there is none.
An existing data directory has to be left cleanly by PostgreSQL: pg_ctl stop. Its
settings and its lines of pg_hba.conf are taken along. sentineld makes the users
and the replication settings when it starts it. To take over servers that go on
running, see sentinelctl adopt. May be run again after it was broken off.

Examples:
  sentinelctl node create --dry-run
  sentinelctl node create --first`;

const CLONE_HELP = `
On the host itself, as the user that sentineld runs as; --config is
this host's configuration (${DEFAULT_CONFIG_PATH}). Refused where the data directory holds a database that pg-sentinel has not made. Tablespaces go
where they are on the source, unless they are mapped, by name or by location:
each clone gets a directory of its own within NEW, and within the WAL directory.
node.tablespaces and node.wal_directory of the configuration say the same for the
clones that sentineld makes. May be run again after it was broken off: what it
has left is removed.

Examples:
  sentinelctl node clone --dry-run
  sentinelctl node clone --from pg2 --max-rate 50MB
  sentinelctl node clone --tablespace-mapping fast=/fast/shop --wal-directory /wal`;

interface LocalOptions extends CommonOptions {
  readonly config?: string;
  readonly peer?: string;
  readonly dryRun?: boolean;
  readonly output: Format;
}

interface CloneOptions extends LocalOptions {
  readonly from?: string;
  readonly maxRate?: string;
  readonly tablespaceMapping?: ReadonlyMap<string, string>;
  readonly walDirectory?: string;
  readonly copyExternalConfig?: true | 'same-path' | 'data-directory';
}

export function addNodeLocalCommands(parent: Command, context: Context): void {
  const add = (name: string, description: string, help: string): Command =>
    parent
      .command(name)
      .description(description)
      .option('-p, --peer <name>', "which of the configuration's peers this host is")
      .option('--dry-run', 'only say what would be done, or why it could not be')
      .addOption(
        new Option('-o, --output <format>', 'how to print the outcome').choices(FORMATS).default('table'),
      )
      .addHelpText('after', help);
  add('create', "make the group's first data directory on this host, or take an existing one", CREATE_HELP)
    .option('--first', 'no peer answers, and the group has no database yet')
    .action(async (_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<LocalOptions & { readonly first?: boolean }>();
      const first = options.first === true;
      await carryOut(context, options, (local, request) => local.createNode({ ...request, first }));
    });
  add('clone', 'copy the primary, or a standby, to this host', CLONE_HELP)
    .option('--from <node>', 'the node to copy; the primary where left out')
    .option('--max-rate <size>', 'what is read from it in a second at the most, such as 50MB')
    .option('--tablespace-mapping <old=new>', 'where a tablespace goes; may be repeated', addMapping)
    .option('--wal-directory <directory>', 'where WAL goes, by a link in the data directory', parsePath)
    .addOption(
      new Option(
        '--copy-external-config [where]',
        'also copy configuration files outside of the data directory: to the same path, or into the clone',
      ).choices(['same-path', 'data-directory']),
    )
    .action(async (_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<CloneOptions>();
      const { copyExternalConfig: where } = options;
      await carryOut(context, options, (local, request) =>
        local.cloneNode({
          ...request,
          from: options.from,
          maxRate: options.maxRate,
          tablespaces: options.tablespaceMapping ?? new Map(),
          walDirectory: options.walDirectory,
          externalConfig: where === true ? 'same-path' : where,
        }),
      );
    });
}

async function carryOut(
  context: Context,
  options: LocalOptions,
  work: (local: LocalWork, request: LocalRequest) => Promise<LocalOutcome>,
): Promise<void> {
  const { stderr, env, signal } = context;
  const bar = createCloneBar(stderr);
  const line = (text: string): void => {
    bar.clear();
    stderr.write(`${text}\n`);
  };
  const request: LocalRequest = {
    config: options.config ?? DEFAULT_CONFIG_PATH,
    peer: options.peer,
    peers: peersOf(options, env),
    timeoutMs: options.timeout,
    dryRun: options.dryRun === true,
    env,
    signal,
    say: line,
    note: (text) => line(`note: ${text}`),
    onProgress: (progress) => bar.show(progress),
  };
  let outcome: LocalOutcome;
  try {
    outcome = await work(await context.local(), request);
  } catch (error) {
    signal.throwIfAborted();
    throw asCliError(error as Error);
  } finally {
    bar.clear();
  }
  const paint = paintFor(context, options, context.stdout);
  if (options.output !== 'table') {
    const document = { kind: 'done', ...outcome };
    return context.stdout.write(renderDocument(options.output, document, { stream: false }));
  }
  context.stdout.write(`${paint('green', 'done')}: ${outcome.detail}\n`);
  if (outcome.next !== undefined) context.stdout.write(`next: ${outcome.next}\n`);
}

/** Of a `LocalError`, whose class is loaded only with the work. */
function asCliError(error: Error & { readonly kind?: unknown }): CliError {
  if (error.name !== 'LocalError') return new CliError(EXIT.failed, error.message);
  switch (error.kind) {
    case 'usage':
      return new CliError(EXIT.usage, inLines(error.message));
    case 'unreachable':
      return new CliError(EXIT.unreachable, error.message);
    default:
      return new CliError(EXIT.failed, inLines(`refused: ${error.message}`));
  }
}

/** Each line of several begins as the first one does. */
const inLines = (text: string): string => text.split('\n').join('\nsentinelctl: ');

function peersOf({ peers }: LocalOptions, env: NodeJS.ProcessEnv): readonly string[] | undefined {
  if (peers !== undefined) return parseList(peers, '--peers');
  const variable = env[PEERS_VARIABLE];
  return variable === undefined || variable === '' ? undefined : parseList(variable, PEERS_VARIABLE);
}

function parsePath(text: string): string {
  if (!isAbsolute(text) || normalize(text) !== text || /[\n\0]/.test(text))
    throw new InvalidArgumentError('Expected an absolute path without "..".');
  return text.length > 1 ? text.replace(/\/$/, '') : text;
}

/** `OLD=NEW`; an equals sign within a path is `\=`, as pg_basebackup has it. */
function addMapping(
  text: string,
  before: ReadonlyMap<string, string> = new Map(),
): ReadonlyMap<string, string> {
  const parts = text.split(/(?<!\\)=/).map((part) => part.replaceAll('\\=', '='));
  const [from = '', to = ''] = parts;
  if (parts.length !== 2 || from === '')
    throw new InvalidArgumentError('Expected OLD=NEW: a tablespace, by name or location, and a directory.');
  const key = from.startsWith('/') ? parsePath(from) : from;
  if (before.has(key)) throw new InvalidArgumentError(`${key} is mapped already.`);
  return new Map([...before, [key, parsePath(to)]]);
}
