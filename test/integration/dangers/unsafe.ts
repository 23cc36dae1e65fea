// sentineld without one of its protections, to see that the tests notice. The daemon for users has no switch for it: the cut, the rule and
// the guard are left out by a program of the benchmark's, the rest by changing a copy of what was compiled.
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { compiled } from '../../../harness/programs.ts';

export type Unsafe =
  | 'no-cut'
  | 'no-rule'
  | 'no-guard'
  | 'no-floor'
  | 'no-wait-seen'
  | 'no-walsender-check'
  | 'no-replay'
  | 'no-abstaining'
  | 'no-slots';

export interface UnsafeBuild {
  /** Of the cluster that is to run it. */
  readonly options: {
    readonly sentineldProgram: string;
    readonly environment: Readonly<Record<string, string>>;
  };
  remove(): Promise<void>;
}

/** In a compiled file, an expression that occurs once, and what stands there instead. */
const CHANGED: Partial<
  Record<Unsafe, { readonly file: string; readonly find: string; readonly replace: string }>
> = {
  'no-floor': {
    file: 'src/cluster/candidate.js',
    find: 'respectsFloor(candidate, group.floor, cut)',
    replace: 'true',
  },
  'no-wait-seen': {
    file: 'src/actions/rule-change.js',
    find: 'await waitUntilCommitsWait(context, signal);',
    replace: '',
  },
  'no-walsender-check': {
    file: 'src/actions/rule-change.js',
    find: 'hasTaken(sender, duty.rule, next.rule, seenAtMs)',
    replace: 'true',
  },
  'no-replay': {
    file: 'src/postgres/position.js',
    find: 'else if (now.replay_lsn !== null &&',
    replace: 'else if (now.replay_lsn !== null) return parseLsn(now.replay_lsn); else if (false &&',
  },
  'no-abstaining': {
    file: 'src/health/tilt.js',
    find: 'next.quorumReachable ? next.trouble?.why : NO_QUORUM',
    replace: 'undefined',
  },
  'no-slots': {
    file: 'src/postgres/upstream.js',
    find: 'primary_slot_name: options.slotName,',
    replace: "primary_slot_name: '',",
  },
};

export async function buildUnsafe(unsafe: Unsafe): Promise<UnsafeBuild> {
  const change = CHANGED[unsafe];
  if (change === undefined) {
    return {
      options: {
        sentineldProgram: compiled('bench/failover/unsafe-sentineld.js'),
        environment: { PG_SENTINEL_UNSAFE_CONTROL: unsafe },
      },
      remove: () => Promise.resolve(),
    };
  }
  const dist = resolve(compiled('src/daemon/sentineld.js'), '../../..');
  // Within node_modules, where what it imports is found.
  const cache = resolve(dist, '../node_modules/.cache/unsafe');
  await mkdir(cache, { recursive: true });
  const root = await mkdtemp(join(cache, `${unsafe}-`));
  await cp(join(dist, 'src'), join(root, 'dist/src'), { recursive: true });
  await cp(resolve(dist, '../package.json'), join(root, 'package.json'));
  const file = join(root, 'dist', change.file);
  const parts = (await readFile(file, 'utf8')).split(change.find);
  if (parts.length !== 2)
    throw new Error(
      `${change.file} holds "${change.find}" ${parts.length - 1} times, not once: see unsafe.ts`,
    );
  await writeFile(file, parts.join(change.replace));
  return {
    options: { sentineldProgram: join(root, 'dist/src/daemon/sentineld.js'), environment: {} },
    remove: () => rm(root, { recursive: true, force: true }),
  };
}
