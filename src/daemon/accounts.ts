// The passwords of the service's users while sentineld runs: their files are read again when they change, so that a password can be
// changed without a restart. Must never log one.
import { statSync } from 'node:fs';
import type { Logger } from 'pino';
import { type Account, rotatingAccount } from '../postgres/account.ts';
import type { AccountConfig, UsersConfig } from './config.ts';
import { readPasswords } from './config-checks.ts';

const LOOK_EVERY_MS = 1000;

export interface Accounts {
  readonly replication: Account | undefined;
  readonly probe: Account;
}

export function openAccounts(users: UsersConfig, log: Logger): Accounts {
  const say = (level: 'info' | 'warn', message: string, fields: Readonly<Record<string, unknown>>): void =>
    log[level](fields, message);
  return {
    replication: users.replication && openAccount(users.replication, { log: say }),
    probe: openAccount(users.probe, { log: say }),
  };
}

export function openAccount(
  { name, password, former, file }: AccountConfig,
  options: {
    readonly log: (
      level: 'info' | 'warn',
      message: string,
      fields: Readonly<Record<string, unknown>>,
    ) => void;
    readonly nowMs?: () => number;
  },
): Account {
  if (file === undefined) return { name, password };
  const nowMs = options.nowMs ?? (() => performance.now());
  let lookedAtMs = nowMs();
  let seen = markOf(file);
  let failure: string | undefined;
  return rotatingAccount(name, former === undefined ? [password] : [password, former], () => {
    if (nowMs() - lookedAtMs < LOOK_EVERY_MS) return undefined;
    lookedAtMs = nowMs();
    const mark = markOf(file);
    if (mark === seen) return undefined;
    const problems: string[] = [];
    const found = readPasswords('password_file', file, {
      error: (_key, text) => void problems.push(text),
      warning: () => undefined,
    });
    if (found === undefined) {
      const [problem = 'it cannot be read'] = problems;
      if (problem !== failure)
        options.log('warn', `the password of ${name} stays as it is: ${problem}`, { file });
      failure = problem;
      return undefined;
    }
    seen = mark;
    failure = undefined;
    options.log('info', `the password file of ${name} was read again`, { file, passwords: found.length });
    return found;
  });
}

function markOf(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  return found === undefined ? '' : `${found.mtimeMs} ${found.size} ${found.ino}`;
}
