// What the documents say that sentinelctl and sentineld take, kept true against their own --help: no option that does not exist, none that is
// passed over in silence.
import { readFile, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { run } from '../../src/cli/testing/fake-context.ts';

const PROJECT = resolve(import.meta.dirname, '../..');
const FLAG = /^--[a-z][a-z-]*$/;

/** By the words of each command (`sentinelctl node restart`): the long options of its help. */
type Options = ReadonlyMap<string, ReadonlySet<string>>;

/** `-o` by `--output`, as far as help texts have shown it. */
const shortOf = new Map<string, string>();

/** Of a help text: the long options that it lists, and the words of the commands below. */
function readHelp(help: string): { readonly flags: ReadonlySet<string>; readonly commands: string[] } {
  const flags = [...help.matchAll(/^ {2}(?:-\w, )?(--[a-z][a-z-]*)/gm)].map((match) => match[1]!);
  for (const [, short, long] of help.matchAll(/^ {2}(-\w), (--[a-z][a-z-]*)/gm)) shortOf.set(long!, short!);
  const section = /^Commands:\n((?: {2}.*\n)+)/m.exec(help)?.[1] ?? '';
  const commands = [...section.matchAll(/^ {2}([a-z][a-z-]*)/gm)].map((match) => match[1]!);
  return { flags: new Set(flags), commands: commands.filter((word) => word !== 'help') };
}

async function optionsOf(): Promise<Options> {
  const options = new Map<string, ReadonlySet<string>>();
  const visit = async (words: readonly string[]): Promise<void> => {
    const { flags, commands } = readHelp((await run([...words, '--help'])).stdout);
    options.set(['sentinelctl', ...words].join(' '), flags);
    for (const word of commands) await visit([...words, word]);
  };
  await visit([]);
  // Not by its help: it would be another half of the program to load.
  const source = await readFile(join(PROJECT, 'src/daemon/sentineld.ts'), 'utf8');
  const own = [...source.matchAll(/\.(?:option|version)\([^)]*?'(?:-\w, )?(--[a-z][a-z-]*)/g)];
  return options.set('sentineld', new Set([...own.map((match) => match[1]!), '--help']));
}

const options = await optionsOf();
const every = new Set([...options.values()].flatMap((flags) => [...flags]));
const firstWords = new Set([...options.keys()].map((words) => words.split(' ')[1]));

/** By page: options of other programs that stand there alone, without their program before them. */
const OF_OTHERS: Readonly<Record<string, readonly string[]>> = {
  // Of initdb, pg_upgrade and pg_basebackup.
  'docs/walks.md': [
    ...['--check', '--clone', '--data-checksums', '--encoding', '--lc-collate', '--lc-ctype', '--link'],
    ...['--locale', '--no-data-checksums', '--retain', '--username', '--waldir', '--wal-segsize'],
  ],
  // Of the benchmarks.
  'docs/benchmarks.md': [
    ...['--away', '--control', '--draw', '--event', '--lag-before', '--profile', '--standbys', '--steps'],
    ...['--svg', '--thaw-after'],
  ],
};

/** What stands in code: a span each, and each line of a block. */
function codeOf(markdown: string): readonly string[] {
  const blocks = [...markdown.matchAll(/^```[^\n]*\n([\s\S]*?)^```/gm)].flatMap((match) =>
    match[1]!.split('\n'),
  );
  // By paragraphs, so that a backtick too many does not turn the rest of the page inside out.
  const prose = markdown.replaceAll(/^```[\s\S]*?^```/gm, '').split(/\n\s*\n/);
  const spans = prose.flatMap((paragraph) => [...paragraph.matchAll(/`([^`]+)`/g)]);
  return [...blocks, ...spans.map((match) => match[1]!)];
}

/** Our commands in a piece of code, each with the options given to it. A span may leave `sentinelctl` out, and be an option alone. */
function commandsIn(code: string): { readonly words: string; readonly flags: readonly string[] }[] {
  // These have values, and stand before the command.
  const plain = code.replaceAll(/--(?:peers|config|timeout) \S+/g, '');
  return plain.split(/[;|#]|&&|\$\(/).flatMap((part) => {
    const tokens = part.split(/[\s[\]()"']+/).filter((token) => token !== '');
    const flags = (from: number): string[] =>
      tokens.slice(from).flatMap((token) => {
        const flag = token.replace(/[=,.:].*$/, '');
        return FLAG.test(flag) ? [flag] : [];
      });
    if (FLAG.test(tokens[0] ?? '')) return [{ words: '', flags: flags(0) }];
    const at = tokens.findIndex((token) => token === 'sentinelctl' || token === 'sentineld');
    const named = at < 0 ? ['sentinelctl', ...tokens] : tokens.slice(at);
    if (at < 0 && !firstWords.has(tokens[0])) return [];
    // The longest of ours that it begins with; options before the command may have values.
    const known = named.filter((token) => !token.startsWith('-'));
    for (let count = Math.min(3, known.length); count > 0; count -= 1) {
      const words = known.slice(0, count).join(' ');
      if (options.has(words) && (at >= 0 || count > 1)) return [{ words, flags: flags(Math.max(at, 0)) }];
    }
    return [];
  });
}

/** What is wrong with the options in a document, one line for each. */
function wrongOptions(markdown: string, ofOthers: readonly string[] = []): readonly string[] {
  return codeOf(markdown).flatMap((code) =>
    commandsIn(code).flatMap(({ words, flags }) => {
      const known = words === '' ? new Set([...every, ...ofOthers]) : options.get(words);
      return flags.filter((flag) => known?.has(flag) !== true).map((flag) => `${flag}: ${code}`);
    }),
  );
}

const pages = [
  'README.md',
  ...(await readdir(join(PROJECT, 'docs')))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
const text = (page: string): Promise<string> => readFile(join(PROJECT, page), 'utf8');

test('every command and its options are found', () => {
  expect([...options.keys()]).toEqual(
    expect.arrayContaining(['sentinelctl node restart', 'sentinelctl settings set', 'sentineld']),
  );
  expect(options.get('sentinelctl node restart')).toContain('--dry-run');
  expect(options.get('sentineld')).toContain('--check-config');
});

test.each(pages)('%s names only options that there are', async (page) => {
  expect(wrongOptions(await text(page), OF_OTHERS[page])).toEqual([]);
});

test('an option that there is not is noticed wherever it stands', () => {
  for (const [code, flag] of [
    ['`--nagios`', '--nagios'],
    ['`status --exit-code --nagios`', '--nagios'],
    ['`sentinelctl failover [GROUP] [--too NODE]`', '--too'],
    ['```console\npg1# until sentinelctl adopt --dry; do sleep 1; done\n```', '--dry'],
    ['```\npsql "$(sentinelctl uri --databases shop)"\n```', '--databases'],
    ['`sentineld --leaf --dry-run`', '--leaf'],
    // Of another command.
    ['`sentinelctl fence NODE --to pg2`', '--to'],
  ] as const)
    expect(wrongOptions(code).map((line) => line.split(':')[0])).toEqual([flag]);
  expect(wrongOptions('`initdb --username postgres`, `npm run demo -- --keep`')).toEqual([]);
});

test('every option that there is, and every command, is told of', async () => {
  const all = (await Promise.all(pages.map(text))).join('\n');
  const code = codeOf(all).join('\n');
  const isTold = (flag: string): boolean => new RegExp(`(?<![a-z-])${flag}(?![a-z-])`).test(code);
  const untold = [...every].filter((flag) => ![flag, shortOf.get(flag) ?? flag].some(isTold));
  expect(untold).toEqual([]);
  const unnamed = [...options.keys()]
    .map((words) => words.replace(/^sentinelctl /, ''))
    .filter((words) => !code.split('\n').some((line) => line.replaceAll(/\s+/g, ' ').includes(words)));
  expect(unnamed).toEqual([]);
});
