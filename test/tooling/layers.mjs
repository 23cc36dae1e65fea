// Which folder may import which: the one table behind "dependencies run one way" (ARCHITECTURE.md).
// Data and path arithmetic only, so that the lint plugin, the tests and a reader share it. A folder that is not listed
// here may not exist below src: give a new one its place in the order first.

/** Without clock, I/O, randomness or await: given the same events, the same result, on every peer and in the simulator. */
export const PURE_FOLDERS = ['src/raft', 'src/cluster', 'src/failover'];

const CORE = ['src/base', ...PURE_FOLDERS];
const SHELL = ['src/storage', 'src/transport', 'src/postgres', 'src/health', 'src/guard', 'src/actions'];
const SRC = [...CORE, ...SHELL, 'src/gen', 'src/daemon', 'src/local', 'src/cli'];

/**
 * The folder, then the folders it may import besides itself. `packages` says which npm packages: all, none, or these;
 * `builtins` whether `node:` modules are allowed.
 * @type {Readonly<Record<string, { folders: readonly string[], packages: readonly string[] | 'all', builtins: boolean }>>}
 */
export const LAYERS = {
  'src/base': { folders: [], packages: [], builtins: false },
  'src/raft': { folders: ['src/base'], packages: [], builtins: false },
  'src/cluster': { folders: ['src/base', 'src/raft'], packages: [], builtins: false },
  'src/failover': { folders: ['src/base', 'src/raft', 'src/cluster'], packages: [], builtins: false },
  'src/gen': { folders: [], packages: ['@bufbuild/protobuf'], builtins: false },
  'src/storage': { folders: CORE, packages: 'all', builtins: true },
  'src/transport': { folders: [...CORE, 'src/gen'], packages: 'all', builtins: true },
  'src/postgres': { folders: CORE, packages: 'all', builtins: true },
  'src/health': { folders: [...CORE, 'src/postgres'], packages: 'all', builtins: true },
  // A process of its own, kept small: nothing of Raft, gRPC or the log.
  'src/guard': { folders: ['src/base', 'src/postgres'], packages: [], builtins: true },
  'src/actions': { folders: [...CORE, 'src/postgres', 'src/guard'], packages: 'all', builtins: true },
  'src/daemon': { folders: [...CORE, ...SHELL, 'src/gen'], packages: 'all', builtins: true },
  // What sentinelctl does on the host itself, beside a sentineld or without one.
  'src/local': { folders: [...CORE, ...SHELL, 'src/daemon'], packages: 'all', builtins: true },
  'src/cli': { folders: [...CORE, 'src/transport', 'src/local', 'src/gen'], packages: 'all', builtins: true },
  harness: { folders: SRC, packages: 'all', builtins: true },
  demo: { folders: [...SRC, 'harness'], packages: 'all', builtins: true },
  bench: { folders: [...SRC, 'harness'], packages: 'all', builtins: true },
  model: { folders: [], packages: [], builtins: true },
  test: { folders: [...SRC, 'harness', 'demo', 'bench', 'model'], packages: 'all', builtins: true },
};

/** The log's commands are protobuf: only the codec of src/cluster may see the generated code and its runtime. */
const CODEC = /^src\/cluster\/(?:[a-z]+-)?codec[^/]*\.ts$/;

/** Effects in base: the pure core may use its types, never its values. */
const EFFECTFUL_BASE_FILES = ['src/base/clock.ts'];

/** The layer of `file` (relative to the project, with `/`), or undefined where the table has none. */
export function layerOf(file) {
  const folders = file.split('/').slice(0, -1);
  const name = folders[0] === 'src' ? folders.slice(0, 2).join('/') : folders[0];
  return name !== undefined && Object.hasOwn(LAYERS, name) ? name : undefined;
}

export function isTest(file) {
  return file.endsWith('.test.ts');
}

export function isPure(file) {
  return PURE_FOLDERS.some((folder) => file.startsWith(`${folder}/`)) && !isTest(file);
}

function packageName(specifier) {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

/** `./x.ts` as seen from `file`, relative to the project; may begin with `../` when it leaves it. */
function resolveRelative(file, specifier) {
  const parts = file.split('/').slice(0, -1);
  for (const part of specifier.split('/')) {
    if (part === '..' && parts.length > 0 && parts.at(-1) !== '..') parts.pop();
    else if (part !== '.' && part !== '') parts.push(part);
  }
  return parts.join('/');
}

/** Why `file` may not import `specifier`, or undefined where it may. `typeOnly`: the import is gone at run time. */
export function whyForbidden(file, specifier, typeOnly) {
  const from = layerOf(file);
  if (from === undefined) {
    if (!file.includes('/')) return undefined;
    return `${file} is in no layer: give its folder a place in test/tooling/layers.mjs`;
  }
  const rule = LAYERS[from];
  const codec = CODEC.test(file);
  if (specifier.startsWith('.')) {
    const target = resolveRelative(file, specifier);
    const to = layerOf(target);
    if (to === undefined)
      return `${from} may not import ${target}: it is in no layer of test/tooling/layers.mjs`;
    if (isPure(file) && EFFECTFUL_BASE_FILES.includes(target) && !typeOnly) {
      return `${from} is pure: of ${target} it may import types only (time is an input)`;
    }
    const allowed = to === from || rule.folders.includes(to) || (codec && to === 'src/gen');
    return allowed
      ? undefined
      : `${from} may not import ${to}: it may import ${rule.folders.join(', ') || 'nothing outside itself'}`;
  }
  if (specifier.startsWith('/') || specifier.startsWith('#') || /^(file|data|https?):/.test(specifier)) {
    return `"${specifier}" is neither a relative path, nor a package, nor a node: module`;
  }
  if (isTest(file)) return undefined;
  if (specifier.startsWith('node:'))
    return rule.builtins ? undefined : `${from} may not import ${specifier}: it does no I/O`;
  const name = packageName(specifier);
  if (rule.packages === 'all' || rule.packages.includes(name)) return undefined;
  if (codec && name === '@bufbuild/protobuf') return undefined;
  return `${from} may not import the package ${name}`;
}
