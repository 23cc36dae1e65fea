// The section bootstrap of the configuration: its shape, the checks that look at more than one of its keys, and what becomes of it.
import { z } from 'zod';
import type { Bootstrap } from '../actions/instance-options.ts';
import { parseDurationMs } from '../base/duration.ts';
import type { TargetKind } from '../postgres/recovery-target.ts';
import { tablespaceVariable } from '../postgres/restored-places.ts';
import type { Findings } from './config-checks.ts';
import { command, duration } from './config-kinds.ts';
import { wrong } from './config-problems.ts';

const TARGET_RULE = 'text (in quotes)';
const target = (description: string, example: string) =>
  z
    .string({ error: TARGET_RULE })
    .min(1, { error: TARGET_RULE })
    .regex(/^[^\r\n\0]*$/, { error: 'one line' })
    .optional()
    .meta({ description, examples: [example] });

const TIMELINE_RULE = 'latest, current or the number of a timeline in quotes';
export const bootstrap = z
  .strictObject(
    {
      command: command(
        'Program that restores a backup into $PG_SENTINEL_DATA_DIRECTORY, and its arguments; run without a shell, as the user that PostgreSQL runs as',
        ['/usr/local/bin/restore-backup', '--latest'],
      ),
      timeout: duration({
        default: '24h',
        min: '1s',
        max: '240h',
        description: 'The bootstrap command is ended, and has failed, after this',
      }),
      restore_command: target(
        "PostgreSQL's restore_command: fetches a file of WAL from the archive; default: only the WAL in the backup is there",
        'cp /archive/%f %p',
      ),
      recovery_target_time: target(
        'Recover to this time, with its zone; default: to the end of the archive',
        '2026-01-31 03:00:00+00',
      ),
      recovery_target_lsn: target('Recover to this position', '16/B374D848'),
      recovery_target_name: target(
        'Recover to this restore point (pg_create_restore_point)',
        'before_upgrade',
      ),
      recovery_target_xid: target('Recover to this transaction', '7412'),
      recovery_target_inclusive: z.boolean({ error: 'true or false' }).default(true).meta({
        description: 'False: stop just before the target, where it is a time, a position or a transaction',
      }),
      recovery_target_timeline: z
        .string({ error: TIMELINE_RULE })
        .regex(/^(latest|current|[1-9]\d{0,9})$/, { error: TIMELINE_RULE })
        .default('latest')
        .meta({
          description: 'The timeline that recovery follows: latest, current (of the backup) or a number',
        }),
    },
    { error: 'a mapping with command and what it is recovered to' },
  )
  .nullish()
  .meta({
    description:
      'The first data directory of a new group is restored from a backup, instead of an empty one being made',
  });

type BootstrapFile = NonNullable<z.infer<typeof bootstrap>>;

const TARGETS: readonly TargetKind[] = ['time', 'lsn', 'name', 'xid'];

/** What zod cannot tell of one key alone. `node`: that of the same file. */
export function checkBootstrap(
  file: z.infer<typeof bootstrap>,
  node:
    | { readonly parameters?: object | null | undefined; readonly tablespaces?: object | null | undefined }
    | null
    | undefined,
  findings: Findings,
): void {
  if (file === undefined || file === null) return;
  if (node === undefined || node === null)
    findings.warning('bootstrap', 'it has no effect on a witness, which has no data directory');
  const given = TARGETS.filter((kind) => file[`recovery_target_${kind}`] !== undefined);
  if (given.length > 1)
    findings.error(
      'bootstrap',
      `${given.map((kind) => `recovery_target_${kind}`).join(' and ')} are given; expected one of them, or none for the end of the archive`,
    );
  checkTargets(file, findings);
  const { restore_command: restoreCommand } = file;
  if (given.length > 0 && restoreCommand === undefined)
    findings.warning(
      'bootstrap',
      `recovery_target_${given[0]} is given and no restore_command: only the WAL that the backup itself holds is recovered`,
    );
  if (restoreCommand !== undefined && !(restoreCommand.includes('%f') && restoreCommand.includes('%p')))
    findings.error(
      'bootstrap.restore_command',
      wrong(
        '',
        `"${restoreCommand}"`,
        'a shell command with %f, the file that is wanted, and %p, where to put it',
      ),
    );
  checkArchive(restoreCommand !== undefined, node?.parameters ?? {}, findings);
  checkVariables(Object.keys(node?.tablespaces ?? {}), findings);
}

function checkArchive(hasRestoreCommand: boolean, parameters: object, findings: Findings): void {
  const names = Object.keys(parameters).map((name) => name.toLowerCase());
  const archive = ['archive_command', 'archive_library'].find((name) => names.includes(name));
  if (archive === undefined) return;
  if (hasRestoreCommand)
    findings.warning(
      'bootstrap',
      'the restored group has the system identifier of the cluster that the backup is of: once it runs it archives by node.parameters, and that cluster must not write to the same place any more',
    );
  else
    findings.error(
      `node.parameters.${archive}`,
      `it is given together with bootstrap, and no bootstrap.restore_command: nobody could tell which timelines that archive has already; give restore_command, or leave ${archive} out and name an empty place in the settings of the group once it runs`,
    );
}

/** The command is told of the directory for each by a variable. */
function checkVariables(names: readonly string[], findings: Findings): void {
  const seen = new Map<string, string>();
  for (const name of names) {
    const variable = tablespaceVariable(name);
    const other = seen.get(variable);
    if (other !== undefined)
      findings.error(
        'node.tablespaces',
        `the bootstrap command is told of "${other}" and of "${name}" by the same variable, ${variable}; expected names that differ in letters or digits`,
      );
    seen.set(variable, name);
  }
}

const TIME_RULE = 'a time with its zone, such as 2026-01-31 03:00:00+00';
const TIME =
  /^(\d{4})-(\d\d)-(\d\d)[ T]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)? ?(Z|UTC|[+-]\d\d(:?\d\d)?)$/i;

/** PostgreSQL would find the same, but only after the backup was restored. */
function checkTargets(file: BootstrapFile, findings: Findings): void {
  const check = (kind: TargetKind, isRight: (value: string) => boolean, rule: string): void => {
    const value = file[`recovery_target_${kind}`];
    if (value !== undefined && !isRight(value))
      findings.error(`bootstrap.recovery_target_${kind}`, wrong('', `"${value}"`, rule));
  };
  check('time', isTime, TIME_RULE);
  check(
    'lsn',
    (value) => /^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/.test(value),
    'a position such as 16/B374D848',
  );
  check('xid', (value) => /^\d{1,20}$/.test(value), 'the number of a transaction');
  check('name', (value) => Buffer.byteLength(value) <= 63, 'at most 63 bytes, as restore points have');
}

/** Without a zone it would be read by the clock of the server; a day that its month does not have is refused, too. */
function isTime(text: string): boolean {
  const [whole, year, month, day] = TIME.exec(text.trim()) ?? [];
  if (whole === undefined) return false;
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  return date.getUTCMonth() === Number(month) - 1 && date.getUTCDate() === Number(day);
}

/** As the agent goes by it; the file was checked before. */
export function bootstrapOf(file: BootstrapFile): Bootstrap {
  const [at] = TARGETS.flatMap((kind) => {
    const value = file[`recovery_target_${kind}`];
    return value === undefined ? [] : [{ kind, value: kind === 'time' ? value.trim() : value }];
  });
  return {
    command: file.command,
    timeoutMs: parseDurationMs(file.timeout) ?? Number.NaN,
    restoreCommand: file.restore_command,
    target: { at, inclusive: file.recovery_target_inclusive, timeline: file.recovery_target_timeline },
  };
}
