// Makes the test build: copies the pure core and the simulator, turns marks into calls and mutations into switches, and
// compiles with the pinned compiler. The result lies in a folder named after its contents, so that a run is never changed under
// its feet. Production code is never touched.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const PROJECT = resolve(fileURLToPath(import.meta.url), '../../..');
const CACHE = join(PROJECT, 'node_modules/.cache/sim');
const FOLDERS = ['src/base', 'src/raft', 'src/cluster', 'src/failover', 'src/gen', 'test/sim'];
/** Marks count here; elsewhere they are comments like any other. */
const MARKED_FOLDERS = ['src/raft/', 'src/cluster/', 'src/failover/'];
const MARK = /^(\s*)\/\/ mark: ([a-z0-9-]+)[ \t]*$/gm;
/** The simulator's own codec stands in for the real one, which some lives then use: everything else is the code as it is. */
const REDIRECTED = [
  {
    file: 'src/cluster/proposer.ts',
    find: `import { encodeEnvelope } from './codec.ts';`,
    replace: `import { encode as encodeEnvelope } from '../../test/sim/cluster/bridge.ts';`,
  },
];
const KEPT_BUILDS = 4;
const TEMPORARY_BUILD_MS = 10 * 60_000;

/** Builds where nothing fitting is there yet; resolves to the folder. Throws with the compiler's or transformer's words. */
export async function build() {
  const sources = await readSources();
  const hash = createHash('sha256').update(`7 ${process.env['PGS_SIM_MUTATIONS'] ?? ''}`);
  for (const [file, text] of sources) hash.update(file).update('\0').update(text).update('\0');
  const folder = join(CACHE, hash.digest('hex').slice(0, 20));
  if (existsSync(join(folder, 'done'))) {
    await utimes(join(folder, 'done'), new Date(), new Date());
    return folder;
  }
  await mkdir(CACHE, { recursive: true });
  const temporary = await mkdtemp(join(CACHE, 'building-'));
  try {
    const mutations = await loadMutations(sources, temporary);
    const marks = [];
    for (const { file, find, replace } of REDIRECTED) {
      const text = sources.get(file) ?? '';
      if (!text.includes(find))
        throw new Error(`${file} does not contain "${find}" any more: see REDIRECTED`);
      sources.set(file, text.replace(find, replace));
    }
    for (const [file, text] of sources) {
      await write(
        join(temporary, 'ts', file),
        addImports(file, markCalls(file, mutate(file, text, mutations), marks)),
      );
    }
    await write(join(temporary, 'js/package.json'), '{ "type": "module" }\n');
    compile(temporary, 'ts', 'js', ['src', 'test/sim/**/*.ts']);
    const catalogue = { marks, mutations: mutations.map(({ edits: _, ...rest }) => rest) };
    await write(join(temporary, 'js/catalogue.json'), JSON.stringify(catalogue, undefined, 1));
    await write(join(temporary, 'done'), '');
    await rename(temporary, folder).catch((error) => {
      if (!existsSync(join(folder, 'done'))) throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  await forgetOldBuilds(folder);
  return folder;
}

/** Path -> text of every source, in order of the paths. */
async function readSources() {
  const files = [];
  for (const folder of FOLDERS) {
    for (const entry of await readdir(join(PROJECT, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.ts') || entry.name.endsWith('.test.ts')) continue;
      files.push(relative(PROJECT, join(entry.parentPath, entry.name)));
    }
  }
  files.sort();
  return new Map(
    await Promise.all(files.map(async (file) => [file, await readFile(join(PROJECT, file), 'utf8')])),
  );
}

/** Each mutation with its number, from 1 on, and its places. */
async function loadMutations(sources, temporary) {
  const files = [...sources.keys()].filter(
    (file) => file.startsWith('test/sim/mutations/') && !file.endsWith('/types.ts'),
  );
  if (files.length === 0 || process.env['PGS_SIM_MUTATIONS'] === 'none') return [];
  for (const file of files) await write(join(temporary, 'mutations-ts', file), sources.get(file));
  await write(join(temporary, 'mutations-js/package.json'), '{ "type": "module" }\n');
  compile(temporary, 'mutations-ts', 'mutations-js', ['test']);
  const found = [];
  for (const file of files) {
    const module = await import(
      pathToFileURL(join(temporary, 'mutations-js', file.replace(/\.ts$/, '.js'))).href
    );
    for (const list of Object.values(module)) if (Array.isArray(list)) found.push(...list);
  }
  found.sort((a, b) => (a.id < b.id ? -1 : 1));
  return found.map(({ file, find, replace, as, also = [], ...rest }, place) => {
    if (found[place - 1]?.id === rest.id) throw new Error(`two mutations are called ${rest.id}`);
    const edits = [{ file, find, replace, as }, ...also];
    const unknown = edits.find((edit) => !sources.has(edit.file));
    if (unknown !== undefined) throw new Error(`mutation ${rest.id}: there is no file ${unknown.file}`);
    return { number: place + 1, ...rest, file, edits };
  });
}

/** Writes the switches of every mutation of `file` into its text. Places may lie in each other, but not overlap otherwise. */
function mutate(file, text, mutations) {
  const places = [];
  for (const { id, number, edits } of mutations) {
    for (const edit of edits) {
      if (edit.file !== file) continue;
      const start = text.indexOf(edit.find);
      if (start < 0) throw new Error(`mutation ${id}: "${edit.find}" is not in ${file}`);
      if (text.indexOf(edit.find, start + 1) >= 0)
        throw new Error(`mutation ${id}: "${edit.find}" is in ${file} more than once`);
      places.push({
        id,
        number,
        start,
        end: start + edit.find.length,
        replace: edit.replace,
        as: edit.as ?? 'expression',
      });
    }
  }
  // Outer places first; of equal ones the expressions lie innermost.
  places.sort(
    (a, b) =>
      a.start - b.start || b.end - a.end || Number(a.as === 'expression') - Number(b.as === 'expression'),
  );
  const render = (from, to, inside) => {
    let result = '';
    let at = from;
    while (inside.length > 0) {
      const outer = inside.shift();
      const inner = [];
      while (inside.length > 0 && inside[0].start < outer.end) {
        if (inside[0].end > outer.end)
          throw new Error(`mutations ${outer.id} and ${inside[0].id} overlap in ${file}`);
        inner.push(inside.shift());
      }
      const original = render(outer.start, outer.end, inner);
      const isOn = `__mutant === ${outer.number}`;
      result += text.slice(at, outer.start);
      result +=
        outer.as === 'expression'
          ? `(${isOn} ? (${outer.replace}) : (${original}))`
          : `if (${isOn}) { ${outer.replace} } else { ${original} }`;
      at = outer.end;
    }
    return result + text.slice(at, to);
  };
  return render(0, text.length, places);
}

function markCalls(file, text, marks) {
  if (!MARKED_FOLDERS.some((folder) => file.startsWith(folder)) || file.includes('/testing/')) return text;
  return text.replace(MARK, (_, indent, name) => {
    const known = marks.findIndex((mark) => mark.name === name && mark.file === file);
    if (known < 0) marks.push({ name, file });
    return `${indent}__mark(${known < 0 ? marks.length - 1 : known});`;
  });
}

/** At the end, so that line numbers stay. */
function addImports(file, text) {
  const to = (target) => {
    const path = relative(dirname(file), target);
    return path.startsWith('.') ? path : `./${path}`;
  };
  let result = text;
  if (text.includes('__mutant ==='))
    result += `\nimport { mutant as __mutant } from '${to('test/sim/engine/mutant.ts')}';\n`;
  if (text.includes('__mark('))
    result += `\nimport { mark as __mark } from '${to('test/sim/engine/marks.ts')}';\n`;
  return result;
}

function compile(temporary, from, to, include) {
  const options = {
    extends: join(PROJECT, 'tsconfig.base.json'),
    compilerOptions: {
      rootDir: from,
      outDir: to,
      noCheck: true,
      sourceMap: true,
      declaration: false,
      types: [],
    },
    include: include.map((path) => `${from}/${path}`),
  };
  const path = join(temporary, `tsconfig.${to}.json`);
  writeFileSync(path, JSON.stringify(options));
  const compiler = spawnSync(join(PROJECT, 'node_modules/.bin/tsc'), ['-p', path], { encoding: 'utf8' });
  if (compiler.status !== 0)
    throw new Error(`the test build does not compile:\n${compiler.stdout}${compiler.stderr}`);
}

async function write(path, text) {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

/** A few of the latest builds stay; one that is being made, too, unless it was left behind long ago. */
async function forgetOldBuilds(present) {
  const builds = [];
  for (const name of await readdir(CACHE)) {
    const folder = join(CACHE, name);
    const isTemporary = name.startsWith('building-');
    const at = await stat(isTemporary ? folder : join(folder, 'done')).catch(() => undefined);
    if (isTemporary && at !== undefined && Date.now() - at.mtimeMs < TEMPORARY_BUILD_MS) continue;
    if (folder !== present) builds.push({ folder, usedAtMs: isTemporary ? 0 : (at?.mtimeMs ?? 0) });
  }
  builds.sort((a, b) => b.usedAtMs - a.usedAtMs);
  for (const { folder } of builds.slice(KEPT_BUILDS)) await rm(folder, { recursive: true, force: true });
}
