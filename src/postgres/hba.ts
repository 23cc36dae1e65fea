// Our pg_hba.conf: whoever can open the private socket is superuser; everybody else proves a SCRAM password by TCP.
// Replication connections must never get in without a password: the cut relies on taking the password away.
import { join } from 'node:path';
import { hbaLineDanger, hbaLinesOf, hbaUsersOf, shownHbaLine } from '../cluster/hba-rules.ts';
import { writeFileDurably, type Owner } from './durable-files.ts';

export interface HbaOptions {
  readonly superuser: string;
  readonly replicationUser: string;
  readonly probeUser: string;
  /** CIDR ranges that users may come from, such as `10.0.0.0/8`; empty means nobody by TCP. */
  readonly userNetworks: readonly string[];
  /** CIDR ranges of the other members. */
  readonly memberNetworks: readonly string[];
  readonly requireTls: boolean;
  /** Lines of the user's own, put before the last rules; none may let `replicationUser` in. */
  readonly extraLines: readonly string[];
}

/** The text of pg_hba.conf. Throws where an extra line must not stand there (`hbaLineDanger`): none of those that the log can have. */
export function renderHba(options: HbaOptions): string {
  const host = options.requireTls ? 'hostssl' : 'host';
  const superuser = quote(options.superuser);
  for (const line of options.extraLines) {
    const danger = hbaLineDanger(line);
    if (danger !== undefined) throw new Error(`pg_hba line "${shownHbaLine(line)}" ${danger}`);
  }
  const lines = [
    '# Written by pg-sentinel; changes made here are lost. Use sentinelctl settings set hba=, or node.hba of its configuration.',
    '# The socket is in a private directory of mode 0700.',
    `local all ${superuser} trust`,
    `local replication ${superuser} trust`,
    ...ourHbaLines(options),
    ...options.extraLines,
    ...options.userNetworks.map((network) => `${host} all all ${network} scram-sha-256`),
  ];
  return `${lines.join('\n')}\n`;
}

/** Of pg-sentinel's own accounts, by TCP. */
export function ourHbaLines(options: Omit<HbaOptions, 'extraLines' | 'userNetworks'>): string[] {
  const host = options.requireTls ? 'hostssl' : 'host';
  const [replication, probe] = [options.replicationUser, options.probeUser].map(quote);
  return [
    ...options.memberNetworks.flatMap((network) => [
      `${host} replication ${replication} ${network} scram-sha-256`,
      `${host} all ${replication} ${network} scram-sha-256`,
      `${host} all ${probe} ${network} scram-sha-256`,
    ]),
    `host all,replication ${replication},${probe} all reject`,
  ];
}

/** Whether the file lets in none but pg-sentinel's own accounts, whichever version has written it. False where it holds no rule at all. */
export function isOnlyOurs(
  text: string,
  options: Pick<HbaOptions, 'superuser' | 'replicationUser' | 'probeUser'>,
): boolean {
  const ours: readonly string[] = [options.superuser, options.replicationUser, options.probeUser];
  const lines = hbaLinesOf(text);
  return lines.length > 0 && lines.every((line) => hbaUsersOf(line)?.every((user) => ours.includes(user)));
}

/** The number of the line in which the first of the extra lines stands. */
export function firstExtraLine(options: HbaOptions): number {
  const text = renderHba({ ...options, extraLines: [], userNetworks: [] });
  return text.split('\n').length;
}

/** Writes pg_hba.conf durably. Does not reload. */
export async function writeHba(options: {
  readonly dataDirectory: string;
  readonly hba: HbaOptions;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const content = renderHba(options.hba);
  await writeFileDurably({
    path: join(options.dataDirectory, 'pg_hba.conf'),
    content,
    mode: 0o600,
    owner: options.owner,
  });
}

/** Quoted, a name cannot be taken for a keyword such as `all`. */
function quote(name: string): string {
  if (/["\n\r]/.test(name)) throw new Error(`role name ${JSON.stringify(name)} cannot stand in pg_hba.conf`);
  return `"${name}"`;
}
