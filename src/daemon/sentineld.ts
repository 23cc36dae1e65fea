#!/usr/bin/env node
// sentineld: reads its configuration, runs one peer until a signal, and leaves PostgreSQL running when it ends.
// Exit codes: 0 ended by a signal, 1 failed, 2 usage or configuration.
import { realpathSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { Command, CommanderError } from 'commander';
import { pino, type Logger } from 'pino';
import { checkConfig } from './config-check.ts';
import { checkEnvironment } from './config-environment.ts';
import { checkPorts } from './config-ports.ts';
import { ConfigError } from './config-problems.ts';
import { type Config, DEFAULT_CONFIG_PATH, type LoadOptions, loadConfig } from './config.ts';
import { runDaemon } from './daemon.ts';
import { leave } from './leave.ts';
import { processWarnings } from './process-one.ts';
import { version } from './version.ts';

const CLOSE_TIMEOUT_MS = 10_000;

interface Arguments {
  readonly config: string;
  readonly peer?: string;
  readonly checkConfig?: boolean;
  readonly leave?: boolean;
  readonly dryRun?: boolean;
  readonly othersAreGone?: boolean;
}

/** Parses the command line and runs the peer. `run` is what a build for benchmarks replaces. */
export async function main(argv: readonly string[], run: typeof runDaemon = runDaemon): Promise<void> {
  const program = new Command('sentineld')
    .description(
      'One pg-sentinel peer: takes part in the Raft log, watches every PostgreSQL node, and manages the one on this host.',
    )
    .option('-c, --config <file>', 'configuration file', DEFAULT_CONFIG_PATH)
    .option('-p, --peer <name>', "which of the configuration's peers this is (overrides its key `peer`)")
    .option('--check-config', 'check the configuration and this host, say what is wrong, and end')
    .option(
      '--leave',
      "give this host's PostgreSQL back to its administrator, and end; sentineld is stopped before",
    )
    .option('--dry-run', 'with --leave: only say what would be done, or why it cannot')
    .option(
      '--others-are-gone',
      'with --leave: you have made sure that no other sentineld of the cluster runs, or will',
    )
    .version(version(), '-V, --version')
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'sentineld: ')) })
    .showHelpAfterError('(try --help)')
    .exitOverride()
    .addHelpText(
      'after',
      '\nSIGTERM or SIGINT ends sentineld; PostgreSQL goes on running.\nExit codes: 0 ended by a signal, 1 failed, 2 usage or configuration.',
    );
  let options: Arguments;
  try {
    options = program.parse(argv).opts<Arguments>();
  } catch (error) {
    process.exitCode = error instanceof CommanderError && error.exitCode === 0 ? 0 : 2;
    return;
  }
  const load = { path: options.config, peer: options.peer, env: process.env };
  if (options.checkConfig === true) {
    process.exitCode = (await checkConfig({ ...load, print: (line) => console.log(line) })) === 0 ? 0 : 2;
    return;
  }
  if (options.leave !== true && (options.dryRun === true || options.othersAreGone === true)) {
    console.error('sentineld: --dry-run and --others-are-gone say something only together with --leave');
    process.exitCode = 2;
    return;
  }
  try {
    if (options.leave === true) return await leaveCluster(load, options);
    await serve(loadConfig(load), run);
  } catch (error) {
    const lines = (error as Error).message.split('\n');
    console.error(lines.map((line) => `sentineld: ${line}`).join('\n'));
    process.exit(error instanceof ConfigError ? 2 : 1);
  }
}

async function leaveCluster(load: LoadOptions, options: Arguments): Promise<void> {
  await leave({
    config: loadConfig(load),
    isDryRun: options.dryRun === true,
    areOthersGone: options.othersAreGone === true,
    print: (line) => console.log(line),
  });
}

async function serve(config: Config, run: typeof runDaemon): Promise<void> {
  // V8's nursery, by now a few megabytes, would go on doubling to 48 MB and never shrink; the live data are a few megabytes.
  setFlagsFromString('--semi-space-growth-factor=1');
  const warnings = [...config.warnings, ...(await checkEnvironment(config))];
  await checkPorts(config);
  const log = createLogger(config);
  for (const warning of [...warnings, ...processWarnings(process.pid)]) log.warn(warning);
  const fatal = (error: unknown): void => {
    const reason = error instanceof Error ? error.message : String(error);
    log.fatal(
      { error: error instanceof Error ? error.stack : undefined },
      `sentineld cannot go on, PostgreSQL is left running: ${reason}`,
    );
    process.exit(1);
  };
  process.on('uncaughtException', fatal);
  process.on('unhandledRejection', fatal);
  process.on('SIGHUP', () => log.info('SIGHUP: the configuration is read at the next start'));
  const daemon = await run({ config, log, onFatal: fatal });
  log.info({ cluster: config.cluster, version: version() }, 'sentineld is up');
  const end = (signal: NodeJS.Signals): void => {
    log.info({ signal }, 'ending; PostgreSQL goes on');
    setTimeout(() => process.exit(0), CLOSE_TIMEOUT_MS).unref();
    void daemon.close().then(
      () => process.exit(0),
      (error: unknown) => fatal(error),
    );
  };
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
}

function createLogger(config: Config): Logger {
  // Not `peer`: that is the other one, in the lines about links.
  const base = { name: 'sentineld', self: config.peer };
  const { level, format } = config.log;
  if (format === 'json') return pino({ level, base });
  return pino({ level, base }, { write: (line: string) => void process.stdout.write(prettyLine(line)) });
}

/** `03:04:05.678 info  message key=value`: for a terminal. */
function prettyLine(line: string): string {
  const { level, time, msg, name: _, self, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const at = new Date(Number(time)).toISOString().slice(11, 23);
  const label = pino.levels.labels[Number(level)] ?? String(level);
  const rest = Object.entries(fields).map(
    ([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return `${at} ${label.padEnd(5)} ${String(self)}: ${String(msg)}${rest.join('')}\n`;
}

if (process.argv[1] !== undefined && import.meta.filename === realpathSync(process.argv[1]))
  await main(process.argv);
