// Loaded into a compiled program before anything else (`node --import`): names each step that outlives the process (a file, a program, a
// signal, a statement, a proposal), and kills the process where the test says so, at once and by SIGKILL. Nothing of it is in the program.
//
// PG_SENTINEL_HALTING is a directory. ORDERS says what is to be done, and may change at any time:
//   {"id": "7"}                                             note each step in STEPS
//   {"id": "7", "step": "start pg_rewind", "whole": false}  and end there; `whole`: every process of the host, its PostgreSQL, too
// HALTED holds the id, once that has come.
//
// A file that is written beside its place and renamed (durable-files.ts) is one step, the renaming: what lies there before is what a kill leaves.
// Flushes are none: SIGKILL takes nothing from the kernel that a process has written.
import { createRequire, register, syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';

const require = createRequire(import.meta.url);
const fs = require('node:fs');
const files = require('node:fs/promises');
const programs = require('node:child_process');
const pg = require('pg');

const { existsSync, readFileSync, readdirSync, readlinkSync, appendFileSync, writeFileSync } = fs;
const kill = process.kill.bind(process);
const directory = process.env['PG_SENTINEL_HALTING'] ?? '';
const config = process.argv[process.argv.indexOf('--config') + 1] ?? '';
/** Everything of this host is below it. */
const host = process.env['PG_SENTINEL_HALTING_HOST'] ?? dirname(config);
const at = (name) => join(directory, `${basename(host)}.${name}`);
const isUnderTest =
  directory !== '' && (config.endsWith('.yaml') || 'PG_SENTINEL_HALTING_HOST' in process.env);
// What this process starts is another program.
delete process.env['NODE_OPTIONS'];

let id;
let last;
const counts = new Map();

/** The step is about to be done, or was: `name` says which. `lastly` is done before this process ends. */
function reached(name, lastly = () => undefined) {
  if (name === undefined) return;
  let orders;
  try {
    orders = JSON.parse(readFileSync(at('orders'), 'utf8'));
  } catch {
    return;
  }
  if (orders.id !== id) {
    counts.clear();
    last = undefined;
  }
  id = orders.id;
  // The same again, with nothing between.
  if (name === last) return;
  last = name;
  const count = (counts.get(name) ?? 0) + 1;
  counts.set(name, count);
  const step = count === 1 ? name : `${name} #${count}`;
  appendFileSync(at('steps'), `${id} ${step}\n`);
  if (orders.step !== step || existsSync(at('halted'))) return;
  if (orders.whole) killOthers();
  else lastly();
  // The test ends what is left of it as soon as it reads this.
  writeFileSync(at('halted'), id);
  kill(process.pid, 'SIGKILL');
  for (;;);
}

/** Every other process that works below the host's directory. */
function killOthers() {
  for (;;) {
    const pids = readdirSync('/proc').filter(
      (pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && worksHere(pid),
    );
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        kill(Number(pid), 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
  }
}

function worksHere(pid) {
  try {
    // A dead process that nobody has waited for has no working directory.
    const cwd = readlinkSync(`/proc/${pid}/cwd`);
    return cwd === host || cwd.startsWith(`${host}/`);
  } catch {
    return false;
  }
}

/** A path without what differs from run to run; undefined where it is not the test's: the Raft log has tests of its own. */
function named(path) {
  const below = relative(host, String(path));
  if (below.startsWith('..') || below.startsWith('state/raft')) return undefined;
  return below
    .replaceAll(/-[0-9a-f]{8,16}\b/g, '-*')
    .replaceAll(/\b[0-9A-F]{24}\b/g, 'SEGMENT')
    .replaceAll(/\b[0-9A-F]{8}\.history\b/g, 'TIMELINE.history')
    .replaceAll(/\bpg\d+\b/g, 'NODE')
    .replaceAll(/\d+/g, 'N');
}

const step = (verb, path) => {
  const name = named(path);
  return name === undefined ? undefined : `${verb} ${name}`;
};

const isTemporary = (path) => String(path).endsWith('.new');
const isWriting = (flags) => (typeof flags === 'number' ? (flags & 3) !== 0 : /[wa+]/.test(flags ?? 'r'));

/** What a call is about to change; undefined where it changes nothing. */
const CHANGES = {
  rename: (from, to) => {
    if (isTemporary(from)) return step('write', to);
    const [old, next] = [named(from), named(to)];
    return old === undefined && next === undefined ? undefined : `rename ${old} to ${next}`;
  },
  rm: (path) => (existsSync(path) && !isTemporary(path) ? step('remove', path) : undefined),
  unlink: (path) => step('remove', path),
  rmdir: (path) => (existsSync(path) ? step('remove', path) : undefined),
  mkdir: (path) => (existsSync(path) ? undefined : step('make', path)),
  symlink: (_target, path) => step('link', path),
  link: (_from, path) => step('link', path),
  copyFile: (_from, to) => step('copy', to),
  cp: (_from, to) => step('copy', to),
  writeFile: (path) => (typeof path === 'string' && !isTemporary(path) ? step('write', path) : undefined),
  appendFile: (path) => step('write', path),
  truncate: (path) => step('truncate', path),
  open: (path, flags) => (isWriting(flags) && !isTemporary(path) ? step('write', path) : undefined),
};

/** They write to a data directory and end by themselves. */
const PROGRAMS = ['initdb', 'pg_basebackup', 'pg_rewind'];
/** They only read. */
const READERS = ['pg_controldata', 'pg_waldump', 'getent'];
/** A program of its own that replaces a file of PostgreSQL's (server-files.ts): its name is the file's. */
const programStep = (program, args) => {
  const name = basename(String(program));
  // It only changes to PostgreSQL's user, and becomes what comes after its options (process-settings.ts).
  if (name === 'setpriv') {
    const at = args.findIndex((arg) => !arg.startsWith('-'));
    return programStep(args[at], args.slice(at + 1));
  }
  if (READERS.includes(name) || (args ?? []).some((arg) => arg === '--version' || arg === '-C'))
    return undefined;
  // Without a path it gets its job by its standard input (watchJob).
  if (args?.[0] === '-e') return args[2] === undefined ? undefined : named(args[2]);
  if (name === 'postgres' && args?.includes('--single')) return 'postgres --single';
  if (name === 'sh') return args?.includes('pg-sentinel-guard') ? 'the guard' : 'postgres';
  return name;
};

/** What a process of PostgreSQL's user is told to change by its standard input (user-files.ts). */
const JOBS = {
  remove: ({ path, only }) =>
    existsSync(path) ? step('remove', only === undefined ? path : `${path}/*`) : undefined,
  removeEmpty: ({ path }) => CHANGES.rmdir(path),
  write: ({ path }) => step('write', path),
  makeDirectory: ({ path }) => CHANGES.mkdir(path),
  copy: ({ to }) => step('copy', to),
};
function watchJob(args, child) {
  if (args?.[0] !== '-e' || args.length !== 2) return child;
  const { write } = child.stdin;
  child.stdin.write = (text, ...rest) => {
    const { job, ...options } = JSON.parse(text);
    reached(JOBS[job]?.(options));
    return write.call(child.stdin, text, ...rest);
  };
  return child;
}

/** Of a statement that changes something: the word that says what. */
const CHANGING =
  /\b(pg_(?:promote|reload_conf|switch_wal|(?:create|drop|copy|advance)\w*|replication_slot_advance|terminate_backend|logical_emit_message|wal_replay_\w+|log_standby_snapshot)|checkpoint|create \w+|alter \w+|drop \w+|grant|revoke|insert|update|delete|do)\b/i;
function statementStep(text) {
  const statement = typeof text === 'string' ? text : text?.text;
  if (typeof statement !== 'string' || statement.includes('pg_sentinel.heartbeat')) return undefined;
  // What stands in quotation marks is data.
  const found = CHANGING.exec(statement.replaceAll(/'[^']*'/g, "''"));
  return found === null ? undefined : `sql ${found[1].toLowerCase()}`;
}

/** Whose process it is; undefined of one that has ended, or is just ending: a signal does nothing to it. */
function whose(pid) {
  try {
    const title = readFileSync(`/proc/${Math.abs(pid)}/cmdline`, 'utf8').replaceAll('\0', ' ');
    const role = /^postgres: (?:\S+: )?(\w+)/.exec(title)?.[1];
    return role ?? (/^\S*postgres /.test(title) ? 'postgres' : basename(title.split(' ')[0]) || undefined);
  } catch {
    return undefined;
  }
}

function watch() {
  for (const [name, change] of Object.entries(CHANGES)) {
    const call = files[name];
    if (call === undefined) throw new Error(`node:fs/promises has no ${name}`);
    files[name] = (...args) => {
      reached(change(...args));
      return call(...args);
    };
  }
  const { spawn } = programs;
  programs.spawn = (program, args, ...rest) => {
    const name = programStep(program, args);
    if (name === undefined) return watchJob(args, spawn(program, args, ...rest));
    reached(`start ${name}`);
    const child = spawn(program, args, ...rest);
    // It goes on without us: it is held where it is, so that it is still there when the next sentineld comes.
    const hold = () => PROGRAMS.includes(name) && child.pid !== undefined && kill(-child.pid, 'SIGSTOP');
    reached(`started ${name}`, hold);
    child.once('exit', () => reached(`ended ${name}`));
    return child;
  };
  process.kill = (pid, signal) => {
    const name = signal === 0 || signal === undefined ? undefined : whose(pid);
    if (name !== undefined) reached(`${signal} to ${name}`);
    return kill(pid, signal);
  };
  const { query } = pg.Client.prototype;
  pg.Client.prototype.query = function watched(text, ...rest) {
    reached(statementStep(text));
    return query.call(this, text, ...rest);
  };
  syncBuiltinESMExports();
  globalThis.pgSentinelProposed = async (kind, propose) => {
    reached(`propose ${kind}`);
    const outcome = await propose();
    reached(`${outcome.kind} ${kind}`);
    return outcome;
  };
  // What a process proposes leaves it through one function.
  register(`data:text/javascript,${encodeURIComponent(LOADER)}`);
}

const LOADER = `
const FOUND = 'export function createReplica(options) {';
const CHANGED = \`export function createReplica(options) {
  const replica = createWatchedReplica(options);
  const { propose } = replica;
  replica.propose = (command, timeoutMs) => globalThis.pgSentinelProposed(command.kind, () => propose(command, timeoutMs));
  return replica;
}
function createWatchedReplica(options) {\`;
export async function load(url, context, next) {
  const loaded = await next(url, context);
  if (!url.endsWith('/daemon/replica.js')) return loaded;
  const parts = String(loaded.source).split(FOUND);
  if (parts.length !== 2) throw new Error('no place to see proposals in ' + url);
  return { ...loaded, source: parts.join(CHANGED) };
}
`;

if (isUnderTest) watch();
