// The images of the chaos cluster. Each is kept under a tag that carries the hash of what makes it, and made only where that tag is missing:
// sources that changed never run from an old image, and a second run builds nothing.
import { createHash, type Hash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BUILD_TIMEOUT_MS, PROJECT, call, compose, composeWith, docker, works } from './docker.ts';

/** What docker/Dockerfile copies into the product's image. */
const PRODUCT_SOURCES = [
  '.dockerignore',
  'docker/Dockerfile',
  'docker/host.sh',
  'package.json',
  'package-lock.json',
  'tsconfig.base.json',
  'tsconfig.build.json',
  'src',
] as const;
const CHAOS_SOURCES = ['docker/chaos/Dockerfile', 'docker/chaos/toxiproxy.patch'] as const;

interface Image {
  readonly repository: string;
  readonly hash: string;
  readonly build: () => Promise<unknown>;
}

/** The base image: what PG_SENTINEL_BASE names; else one of our own where debootstrap is at hand; else the default is pulled. */
export async function chooseBase(): Promise<void> {
  if (process.env['PG_SENTINEL_BASE'] !== undefined) return;
  const canMake = process.getuid?.() === 0 && (await works('debootstrap', ['--version']));
  if (!canMake) return;
  process.env['PG_SENTINEL_BASE'] = await call(join(PROJECT, 'docker/base-image.sh'), [], BUILD_TIMEOUT_MS);
}

/** Makes those images that are missing for the present sources. */
export async function buildImages(): Promise<void> {
  const base = process.env['PG_SENTINEL_BASE'] ?? '';
  const product = await hashOf(PRODUCT_SOURCES, base);
  const users = join(PROJECT, 'docker/compose.yaml');
  const images: readonly Image[] = [
    {
      repository: 'pg-sentinel',
      hash: product,
      build: () => composeWith(['--file', users], ['build', 'pg1'], BUILD_TIMEOUT_MS),
    },
    {
      repository: 'pg-sentinel-chaos-host',
      hash: await hashOf(CHAOS_SOURCES, product),
      build: () => compose(['build', 'pg1'], BUILD_TIMEOUT_MS),
    },
    {
      repository: 'pg-sentinel-chaos-toxiproxy',
      hash: await hashOf(CHAOS_SOURCES, base),
      build: () => compose(['build', 'toxiproxy'], BUILD_TIMEOUT_MS),
    },
  ];
  for (const image of images) await ensure(image);
}

/** The image is there under `:local`, which the compose files name, as its sources are now. */
async function ensure({ repository, hash, build }: Image): Promise<void> {
  const kept = `${repository}:made-of-${hash}`;
  const isKept = await docker(['image', 'inspect', '--format', '{{.Id}}', kept]).then(
    () => true,
    () => false,
  );
  if (isKept) {
    await docker(['tag', kept, `${repository}:local`]);
    console.log(`image ${kept} is there`);
    return;
  }
  const startedMs = performance.now();
  console.log(`image ${kept} is being made`);
  await build();
  await docker(['tag', `${repository}:local`, kept]);
  console.log(`image ${kept} was made in ${Math.round((performance.now() - startedMs) / 1000)} s`);
  await forgetOthers(repository, kept);
}

/** Those of earlier sources; one that a container still uses stays. */
async function forgetOthers(repository: string, kept: string): Promise<void> {
  const listed = await docker(['image', 'ls', '--format', '{{.Repository}}:{{.Tag}}', repository]);
  const old = listed.split('\n').filter((tag) => tag.includes(':made-of-') && tag !== kept);
  for (const tag of old) await docker(['image', 'rm', tag]).catch(() => undefined);
}

const HASH_CHARACTERS = 16;

async function hashOf(paths: readonly string[], ...more: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const path of paths) await addTo(hash, path);
  for (const text of more) hash.update(`\0${text}`);
  return hash.digest('hex').slice(0, HASH_CHARACTERS);
}

/** A file, or all files below a directory but the tests, which no image has. */
async function addTo(hash: Hash, path: string): Promise<void> {
  const full = join(PROJECT, path);
  const entries = await readdir(full, { recursive: true, withFileTypes: true }).catch(() => undefined);
  const files =
    entries === undefined
      ? [full]
      : entries
          .filter((entry) => entry.isFile() && !entry.name.endsWith('.test.ts'))
          .map((entry) => join(entry.parentPath, entry.name))
          .toSorted();
  for (const file of files) {
    const bytes = await readFile(file);
    hash.update(`\0${file.slice(PROJECT.length)}\0${bytes.length}\0`).update(bytes);
  }
}
