// The command line of sentinelctl: options that all commands share, and how an outcome becomes an exit code. Commands are
// in files of their own.
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { DURATION_RULE, parseDurationMs } from '../base/duration.ts';
import { messageOf, type Context } from './context.ts';
import { withHint } from './command-hints.ts';
import { addAdoptCommand } from './adopt.ts';
import { addSiteCommand } from './site.ts';
import { addEventsCommand } from './events.ts';
import { CliError, EXIT, EXIT_CODES_HELP, UNKNOWN_CODE } from './exit-codes.ts';
import { addFailoverCommand } from './failover.ts';
import { addFenceCommands } from './fence.ts';
import { addNodeCommand } from './node.ts';
import { helpWidth } from './output-size.ts';
import { addPauseCommands } from './pause.ts';
import { addPeerCommand } from './peer.ts';
import { DEFAULT_CONFIG_PATH, PEERS_VARIABLE } from './peers.ts';
import { addSettingsCommand } from './settings.ts';
import { addStatusCommand } from './status.ts';
import { addUriCommand } from './uri.ts';

const HELP = `
Peers are looked for in this order: --peers, --config, the variable
${PEERS_VARIABLE}, ${DEFAULT_CONFIG_PATH}. Any peer will do.

Examples:
  sentinelctl --peers 10.0.0.1:7432,10.0.0.2:7432 status
  sentinelctl status --watch
  sentinelctl failover --to pg2
  psql "$(sentinelctl uri --database shop)"

${EXIT_CODES_HELP}`;

/** Runs one command line (without the program's name) and returns its exit code. Errors go to standard error. */
export async function runProgram(
  context: Context,
  version: string,
  args: readonly string[],
): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = buildProgram({ ...context, setExitCode: (code) => (exitCode = code) }, version);
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return commanderExitCode(error);
    if (context.signal.aborted) return EXIT.interrupted;
    context.stderr.write(`sentinelctl: ${messageOf(error)}\n`);
    return error instanceof CliError ? error.exitCode : EXIT.failed;
  }
}

/** Commander has written its message already. Asked for help or the version is success; anything else is wrong use. */
function commanderExitCode(error: CommanderError): number {
  if (error.code === UNKNOWN_CODE) return EXIT.unreachable;
  return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
}

function buildProgram(context: Context, version: string): Command {
  const program = new Command('sentinelctl')
    .description('Looks at and steers a pg-sentinel cluster.')
    .version(version, '-V, --version')
    .option('--peers <list>', 'peers to ask, as HOST:PORT,HOST:PORT,...')
    .option('--config <file>', 'configuration of a sentineld, to read the peers from')
    .addOption(
      new Option('--timeout <duration>', 'how long to look for a peer that answers')
        .argParser(parseTimeout)
        .default(5000, '5s'),
    )
    .option('--no-color', 'no colour, also on a terminal')
    .addHelpText('after', HELP)
    .showHelpAfterError('(try --help)')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      outputError: (text, write) => write(withHint(text).replace(/^error: /, 'sentinelctl: ')),
      getOutHelpWidth: () => helpWidth(context.stdout.size()),
      getErrHelpWidth: () => helpWidth(context.stderr.size()),
    })
    .exitOverride();
  addStatusCommand(program, context);
  addFailoverCommand(program, context);
  addFenceCommands(program, context);
  addPauseCommands(program, context);
  addNodeCommand(program, context);
  addSettingsCommand(program, context);
  addEventsCommand(program, context);
  addUriCommand(program, context);
  addPeerCommand(program, context);
  addAdoptCommand(program, context);
  addSiteCommand(program, context);
  return program;
}

function parseTimeout(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined) throw new InvalidArgumentError(`Expected ${DURATION_RULE}.`);
  if (ms <= 0) throw new InvalidArgumentError('Expected more than 0.');
  return ms;
}
