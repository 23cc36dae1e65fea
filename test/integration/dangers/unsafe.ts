// sentineld without one of its protections, to see that the tests notice. The daemon for users has no switch for it: what agents do is
// left out by a program of the benchmark's, what the log demands by changing a copy of what was compiled.
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { compiled } from '../../../harness/programs.ts';

export type Unsafe = 'no-cut' | 'no-rule' | 'no-guard' | 'no-floor';

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
