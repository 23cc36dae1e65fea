// What a newcomer stumbles over first, kept true: links that resolve, commands that exist, exact versions, one licence.
import { execFileSync } from 'node:child_process';
import { constants, existsSync } from 'node:fs';
import { access, readFile, readdir, stat } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LAYERS, PURE_FOLDERS } from './layers.mjs';

const PROJECT = resolve(import.meta.dirname, '../..');
const NOT_OURS = new Set(['node_modules', 'dist', '.git', '.cache']);
const TEXT = /\.(?:ts|mjs|js|json|jsonc|md|yaml|yml|proto|sh|toml|service|conf)$|^\.?[a-zA-Z]+$/;

interface Package {
  readonly name: string;
  readonly license: string;
  readonly type: string;
  readonly engines: { readonly node: string };
  readonly bin: Readonly<Record<string, string>>;
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

const text = (file: string): Promise<string> => readFile(join(PROJECT, file), 'utf8');
const packageJson = JSON.parse(await text('package.json')) as Package;

async function filesBelow(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const ours = entries.filter((entry) => !NOT_OURS.has(entry.name));
  const here = ours
    .filter((entry) => entry.isFile())
    .map((entry) => relative(PROJECT, join(folder, entry.name)));
  const below = ours
    .filter((entry) => entry.isDirectory())
    .map((entry) => filesBelow(join(folder, entry.name)));
  return [...here, ...(await Promise.all(below)).flat()];
}

const files = (await filesBelow(PROJECT)).toSorted();
const documents = files.filter((file) => file.endsWith('.md'));

/** Markdown without its code blocks. */
const prose = (markdown: string): string =>
  markdown.replaceAll(/^```[\s\S]*?^```/gm, '').replaceAll(/`[^`\n]*`/g, '');

/** The anchor that a heading gets on the usual hosts. */
function anchor(heading: string): string {
  const kept = heading.replaceAll(/[`*]/g, '').trim().toLowerCase();
  return kept.replaceAll(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(/\s/g, '-');
}

async function brokenLinks(document: string): Promise<readonly string[]> {
  const links = [...prose(await text(document)).matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g)].map(
    (match) => match[1]!,
  );
  const broken: string[] = [];
  for (const link of links) {
    if (/^[a-z]+:/.test(link)) continue;
    const [path = '', fragment] = link.split('#', 2);
    const target = path === '' ? document : join(dirname(document), path);
    if (!existsSync(join(PROJECT, target))) {
      broken.push(`${document}: ${link}`);
    } else if (fragment !== undefined && target.endsWith('.md')) {
      const headings = [...(await text(target)).matchAll(/^#+ (.+)$/gm)].map((match) => anchor(match[1]!));
      if (!headings.includes(fragment)) broken.push(`${document}: ${link} (no such heading)`);
    }
  }
  return broken;
}

describe('the documents', () => {
  test.each(documents)('%s links only to what exists', async (document) => {
    expect(await brokenLinks(document)).toEqual([]);
  });

  test.each(documents)('%s names only npm scripts that exist', async (document) => {
    const named = [...(await text(document)).matchAll(/npm run (?:--?[\w-]+ )*([\w:-]+)/g)].map(
      (match) => match[1]!,
    );
    expect(named.filter((script) => !Object.hasOwn(packageJson.scripts, script))).toEqual([]);
  });

  test('name no path of the machine they were written on', async () => {
    const machinePath = /(?:^|[\s"'`(=])\/(?:root|home\/(?!postgres\b)\w+|Users)\/[\w.-]+/m;
    const isTelling = PROJECT.split('/').length > 2;
    const texts = await Promise.all(
      files
        .filter((file) => TEXT.test(file.split('/').at(-1)!))
        .map(async (file) => [file, await text(file)] as const),
    );
    const named = texts.filter(
      ([, content]) => machinePath.test(content) || (isTelling && content.includes(`${PROJECT}/`)),
    );
    expect(named.map(([file]) => file)).toEqual([]);
  });
});

describe('package.json', () => {
  test('pins exact versions', () => {
    const { dependencies, devDependencies, optionalDependencies } = packageJson;
    const inexact = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies }).filter(
      ([, version]) => !/^(?:npm:@?[\w./-]+@)?\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version),
    );
    expect(inexact).toEqual([]);
  });

  test('agrees with its lock file, which names no registry', async () => {
    const lock = await text('package-lock.json');
    const { packages } = JSON.parse(lock) as { readonly packages: Readonly<Record<string, Package>> };
    const { dependencies, devDependencies, optionalDependencies } = packageJson;
    expect(packages['']).toMatchObject({ optionalDependencies, devDependencies });
    expect(packages['']!.dependencies).toEqual(dependencies);
    const hosts = [...lock.matchAll(/"resolved": "https?:\/\/([^/"]+)/g)].map((match) => match[1]!);
    expect(hosts.filter((host) => host !== 'registry.npmjs.org')).toEqual([]);
  });

  // npm leaves out of the lock what its registry could not give, and `npm ci` then refuses the lock.
  test('has every optional package of another platform in its lock file', async () => {
    const { packages } = JSON.parse(await text('package-lock.json')) as {
      readonly packages: Readonly<Record<string, Partial<Package>>>;
    };
    const missing = Object.values(packages)
      .flatMap((each) => Object.keys(each.optionalDependencies ?? {}))
      .filter((name) => !Object.keys(packages).some((path) => path.endsWith(`node_modules/${name}`)));
    expect(missing).toEqual([]);
  });

  test('asks for a Node that the tests run on', async () => {
    expect(packageJson.engines.node).toBe('>=20.19.0');
    expect((await text('.nvmrc')).trim()).toBe('20');
  });

  test('is an ES module under the Apache License 2.0, with its text beside it', async () => {
    expect(packageJson).toMatchObject({ name: 'pg-sentinel', type: 'module', license: 'Apache-2.0' });
    const license = await text('LICENSE');
    expect(license).toContain('Version 2.0, January 2004');
    expect(license).toContain('END OF TERMS AND CONDITIONS');
  });

  test.each(Object.entries(packageJson.bin))(
    'builds %s from a source with a shebang',
    async (_name, built) => {
      const source = built.replace(/^dist\//, '').replace(/\.js$/, '.ts');
      expect(await text(source)).toMatch(/^#!\/usr\/bin\/env node\n/);
    },
  );
});

describe('the tree', () => {
  test('has every folder of the layers in their table, and only those', async () => {
    const folders = (await readdir(join(PROJECT, 'src'))).map((name) => `src/${name}`);
    expect(folders.filter((folder) => !Object.hasOwn(LAYERS, folder))).toEqual([]);
  });

  test('may be imported as ARCHITECTURE.md says, which is as the linter enforces it', async () => {
    const short = (names: readonly string[]): string[] => names.map((name) => name.replace('src/', ''));
    const core = ['base', ...short(PURE_FOLDERS)];
    const meant: Readonly<Record<string, readonly string[]>> = {
      core,
      shell: ['storage', 'transport', 'postgres', 'health', 'guard', 'actions'],
      src: short(Object.keys(LAYERS).filter((name) => name.startsWith('src/'))),
      nothing: [],
    };
    const rows = (await text('ARCHITECTURE.md')).matchAll(
      /^\| `(src\/\w+|harness|model)\/`.*\| ([^|]+?) *\|$/gm,
    );
    const told = new Map([...rows].map((row) => [row[1]!, row[2]!.replace(/;.*/, '')]));
    const wrong = Object.entries(LAYERS).flatMap(([layer, { folders }]) => {
      // Generated, or told of together with others.
      if (['src/gen', 'demo', 'bench', 'test'].includes(layer)) return [];
      const names = (told.get(layer) ?? 'no row').split(', ').flatMap((name) => meant[name] ?? [name]);
      const isSame = names.toSorted().join() === short(folders).toSorted().join();
      return isSame ? [] : [`${layer}: told ${names.join(', ')}; enforced ${folders.join(', ')}`];
    });
    expect(wrong).toEqual([]);
  });

  test('switches no rule off in the pure core, and elsewhere only by name and with a reason', async () => {
    const sources = files.filter((file) => /^(?:src|harness|demo|bench|test)\/.*\.ts$/.test(file));
    const wrong: string[] = [];
    for (const file of sources.filter(
      (each) => !each.startsWith('test/fixtures/') && !each.startsWith('src/gen/'),
    )) {
      const isPure =
        PURE_FOLDERS.some((folder) => file.startsWith(`${folder}/`)) && !file.endsWith('.test.ts');
      for (const [directive] of (await text(file)).matchAll(
        /(?:\/\/|\/\*)\s*(?:oxlint|eslint)-disable[^\n]*/g,
      )) {
        if (isPure || !/disable(?:-next-line|-line)? [\w/, -]+ -- \S/.test(directive))
          wrong.push(`${file}: ${directive}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('silences no compiler error', async () => {
    const sources = files.filter((file) => file.endsWith('.ts') && !file.startsWith('test/fixtures/'));
    const texts = await Promise.all(sources.map(async (file) => [file, await text(file)] as const));
    const silenced = texts.filter(([, content]) =>
      /^\s*(?:\/\/|\/\*)\s*@ts-(?:ignore|nocheck|expect-error)/m.test(content),
    );
    expect(silenced.map(([file]) => file)).toEqual([]);
  });

  test('has a .ci/run that bash can read and anybody may execute', async () => {
    execFileSync('bash', ['-n', join(PROJECT, '.ci/run')]);
    await access(join(PROJECT, '.ci/run'), constants.X_OK);
    expect((await stat(join(PROJECT, '.ci/run'))).size).toBeGreaterThan(0);
  });
});
