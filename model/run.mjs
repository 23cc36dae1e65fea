// Runs the model of the failover protocol (failover.pml) through spin, and tells a counterexample in sentences.
//   node model/run.mjs            the small configurations (npm run model)
//   node model/run.mjs --deep     the big ones (npm run model:deep)
//   node model/run.mjs NO_FLOOR   leaves a protection out: shows how a write is lost without it
//   node model/run.mjs GOAL=4     shows how goal 4 is reached (README.md has the list)
// Ends with 1 where an invariant does not hold, 2 where spin or a C compiler is missing.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FILES = ['failover.pml', 'symmetry.pml'];

/** Bounds of failover.pml. Each is searched to its end. */
export const SMALL = {
  'four epochs': { EPOCHS: 4, WRITES: 1, CHANGES: 0 },
  'a change of the rule': { EPOCHS: 3, WRITES: 1, CHANGES: 1 },
};
export const DEEP = {
  'four nodes, two acknowledgements': { NODES: 4, ACKS_WANTED: 2, EPOCHS: 3, WRITES: 1, CHANGES: 0 },
  'three epochs, two writes, a change of the rule': { EPOCHS: 3, WRITES: 2, CHANGES: 1 },
  'four epochs, two writes': { EPOCHS: 4, WRITES: 2, CHANGES: 0 },
  'four epochs and a change of the rule': { EPOCHS: 4, WRITES: 1, CHANGES: 1 },
};

/** Protections that can be left out, and bounds within which that shows: none wider than those of a small configuration. */
export const SWITCHES = {
  NO_FLOOR: { EPOCHS: 3, WRITES: 1, CHANGES: 0 },
  NO_PENDING: { EPOCHS: 2, WRITES: 1, CHANGES: 1 },
  NO_TIMELINE: { EPOCHS: 4, WRITES: 1, CHANGES: 0 },
  NO_CUT: { EPOCHS: 2, WRITES: 1, CHANGES: 0 },
  CUT_BY_VIEW: { EPOCHS: 3, WRITES: 1, CHANGES: 0 },
  NO_FENCE: { EPOCHS: 2, WRITES: 1, CHANGES: 0 },
  NO_VERIFY: { EPOCHS: 2, WRITES: 1, CHANGES: 1 },
  NO_WAIT: { EPOCHS: 3, WRITES: 1, CHANGES: 1 },
};

/** Goals (`reached` in failover.pml) that a configuration must come by. */
export const GOALS = {
  1: 'a write is acknowledged in the last epoch',
  2: 'the old primary acknowledges while the group is being fenced',
  3: 'a node is rewound or cloned',
  4: 'a candidate opens its timeline when the next failover has begun',
  5: 'a primary that got its group back acknowledges',
  6: 'a promotion while the floor of the one before stands',
  7: 'a promotion during a change of the rule',
  8: 'the former primary is chosen again',
  9: 'a primary that ran alone gets a rule',
  10: 'an old primary runs on and writes when another timeline is open',
  11: 'a false alarm: the group is given back',
  12: 'a candidate below the floor, allowed by the rule from before',
};

/** The name of the Debian package that is missing, or undefined. */
export function missingPackage() {
  if (spawnSync('spin', ['-V']).error !== undefined) return 'spin';
  return spawnSync('gcc', ['--version']).error === undefined ? undefined : 'gcc';
}

/** @param {string} command @param {readonly string[]} args @param {string} cwd */
async function run(command, args, cwd) {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const [code, signal] = await once(child, 'close');
  return { output, ending: signal ?? code };
}

/** @param {string} command @param {readonly string[]} args @param {string} cwd */
async function mustRun(command, args, cwd) {
  const { output, ending } = await run(command, args, cwd);
  if (ending !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${ending}: ${output}`);
  return output;
}

/**
 * Searches one configuration to its end, or to the first violation. `definitions` are the bounds, a switch or a goal as names and
 * values of the preprocessor; `depthMax` is the number of steps that the search's stack holds. Throws where spin or gcc fail.
 * @param {Readonly<Record<string, number | string>>} definitions
 */
export async function search(definitions, { depthMax = 10_000 } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-model-'));
  try {
    for (const file of FILES)
      await copyFile(fileURLToPath(new URL(file, import.meta.url)), join(folder, file));
    const flags = Object.entries(definitions).map(([name, value]) => `-D${name}=${value}`);
    await mustRun('spin', [...flags, '-a', 'failover.pml'], folder);
    // Every state is kept whole. -E: a state in which nothing more can happen loses nothing.
    await mustRun('gcc', ['-O1', '-w', '-DSAFETY', ...flags, '-o', 'pan', 'pan.c'], folder);
    const { output } = await run('./pan', ['-E', `-m${depthMax}`, '-w24'], folder);
    const result = readOutput(output, markedLines(await readFile(join(folder, 'pan.m'), 'utf8')));
    if (result.violation === undefined) return { ...result, trail: [] };
    const replay = await run('./pan', ['-r', '-E', `-m${depthMax}`], folder);
    return { ...result, trail: sentences(replay.output) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The lines of failover.pml that the search is to pass, from the code that spin made of it. @param {string} code */
function markedLines(code) {
  return [...new Set([...code.matchAll(/passed\((\d+)\)/g)].map((match) => Number(match[1])))];
}

/** What pan printed. @param {string} output @param {readonly number[]} marked */
function readOutput(output, marked) {
  const number = (/** @type {RegExp} */ pattern) => Number(pattern.exec(output)?.[1] ?? NaN);
  const violated = /assertion violated (.*) \(at depth/.exec(output)?.[1];
  const goals = [...output.matchAll(/^goal (\d+): (\d+)$/gm)].map((match) => [
    Number(match[1]),
    Number(match[2]),
  ]);
  const passed = new Set([...output.matchAll(/^line (\d+): \d+$/gm)].map((match) => Number(match[1])));
  const result = {
    stateCount: number(/^\s*(\d+) states, stored/m),
    depth: number(/depth reached (\d+)/),
    errorCount: number(/errors: (\d+)/),
    /** False where pan gave up: out of memory, or too deep for its stack. */
    isComplete: !/Search not completed|max search depth too small|out of memory|aborting/.test(output),
    /** Marked lines that were never passed: steps that cannot happen, or branches of them. */
    unreached: marked.filter((line) => !passed.has(line)),
    /** How often each goal was come by. */
    goals: /** @type {Record<string, number>} */ (Object.fromEntries(goals)),
    violation: violated === undefined ? undefined : meaning(violated),
    output,
  };
  if (Number.isNaN(result.stateCount) || Number.isNaN(result.errorCount))
    throw new Error(`the search ended early:\n${output}`);
  if (result.errorCount > 0 && result.violation === undefined)
    throw new Error(`the search found an error of the model itself:\n${output}`);
  return result;
}

/** @param {string} assertion */
function meaning(assertion) {
  if (/^\(?\d+!=\d+\)?$/.test(assertion)) return 'the goal is reached';
  if (assertion.includes('newest'))
    return 'an old epoch acknowledged a write that the promoted node does not hold';
  if (assertion.includes('acknowledgedLength<length['))
    return 'an acknowledged write was lost by a promotion';
  return 'two nodes acknowledged different histories';
}

/** What the replayed trail says, one sentence for each thing that happened. @param {string} replay */
function sentences(replay) {
  return [...replay.matchAll(/@ (.*)$/gm)].map((match) =>
    (match[1] ?? '')
      .replace(/node<(\d)>/g, (_, node) => nodeName(Number(node)))
      .replace(/epoch<(\d+)>/g, 'epoch $1')
      .replace(/names<(\d+)>/g, (_, names) => standbyNames(Number(names)))
      .replace(/rule<(\d+)>/g, (_, rule) => (rule === '0' ? 'alone' : standbyNames(Number(rule))))
      .replace(/wal<(\d+),(\d+)>/g, (_, content, length) => walText(Number(content), Number(length))),
  );
}

const nodeName = (/** @type {number} */ node) => 'ABCD'.charAt(node);

/** @param {number} names */
function standbyNames(names) {
  if (names === 0) return "''";
  const members = [0, 1, 2, 3].filter((node) => (names >> node) & 1).map(nodeName);
  return `'ANY ${names >> 4} (${members.length === 0 ? 'nobody' : members.join(', ')})'`;
}

/** The timeline of each record, the oldest first. @param {number} content @param {number} length */
function walText(content, length) {
  const timelines = Array.from({ length }, (_, at) => (content >> (3 * at)) & 7);
  return `position ${length} (records of timelines ${timelines.join(' ')})`;
}

/** @param {string} name @param {Readonly<Record<string, number | string>>} definitions */
async function tell(name, definitions) {
  const startMs = performance.now();
  const result = await search(definitions);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  const bounds = Object.entries(definitions)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
  console.log(
    `${name} (${bounds}): ${result.stateCount} states, depth ${result.depth}, ${result.isComplete ? 'complete' : 'not complete'}, ${seconds} s`,
  );
  for (const line of result.unreached) console.log(`  not reached within these bounds: failover.pml:${line}`);
  if (result.violation === undefined) {
    const missed = Object.entries(result.goals).filter(([, count]) => count === 0);
    for (const [goal] of missed)
      console.log(`  goal ${goal} was not come by: ${GOALS[/** @type {1} */ (Number(goal))]}`);
    return result;
  }
  console.log(`  ${result.violation}:`);
  result.trail.forEach((line, at) => console.log(`  ${String(at + 1).padStart(3)}. ${line}`));
  return result;
}

/** @param {readonly string[]} args */
async function main(args) {
  const missing = missingPackage();
  if (missing !== undefined) {
    console.error(`${missing} is not installed; on Debian: apt-get install ${missing}`);
    process.exitCode = 2;
    return;
  }
  const [extra] = args.filter((arg) => !arg.startsWith('--'));
  const [key, value = '1'] = (extra ?? '').split('=');
  const left = Object.entries(SWITCHES).find(([name]) => name === key);
  const configurations =
    left === undefined ? (args.includes('--deep') ? DEEP : SMALL) : { 'a protection left out': left[1] };
  for (const [name, bounds] of Object.entries(configurations)) {
    const result = await tell(name, {
      ...bounds,
      ...(key === undefined || key === '' ? {} : { [key]: value }),
    });
    if (!result.isComplete || result.violation !== undefined) process.exitCode = 1;
    if (result.violation !== undefined) return;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
