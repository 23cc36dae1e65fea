// Shows that each rule of the gate fails when it is broken: every file below test/fixtures/lint names in its first line
// what the linter or the compiler must say about it, and "nothing" where it must stay silent.
import { execFile } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { LAYERS } from './layers.mjs';

const PROJECT = resolve(import.meta.dirname, '../..');
const FIXTURES = 'test/fixtures/lint';

interface Diagnostic {
  readonly filename: string;
  readonly code?: string;
  readonly message: string;
}

/** File -> the distinct codes reported for it, sorted and joined. */
type Findings = ReadonlyMap<string, string>;

function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((done, failed) => {
    const options = { cwd: PROJECT, timeout: 100_000, maxBuffer: 64 << 20 };
    execFile(join(PROJECT, 'node_modules/.bin', command), args, options, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') failed(error);
      else if (stdout === '') failed(new Error(`${command} printed nothing; its standard error: ${stderr}`));
      else done(stdout);
    });
  });
}

async function oxlint(args: readonly string[]): Promise<readonly Diagnostic[]> {
  const output = await run('oxlint', ['--format=json', '--disable-nested-config', ...args]);
  const { diagnostics, number_of_files: fileCount } = JSON.parse(output) as {
    readonly diagnostics: readonly Diagnostic[];
    readonly number_of_files: number;
  };
  if (fileCount === 0) throw new Error(`oxlint ${args.join(' ')} looked at no file`);
  return diagnostics;
}

function codeOf(diagnostic: Diagnostic): string {
  if (diagnostic.code !== undefined && diagnostic.code !== '') return diagnostic.code;
  return diagnostic.message.startsWith('Unused oxlint-disable directive')
    ? 'unused-disable-directive'
    : diagnostic.message;
}

function group(found: readonly { readonly file: string; readonly code: string }[]): Findings {
  const codes = new Map<string, Set<string>>();
  for (const { file, code } of found) codes.set(file, (codes.get(file) ?? new Set()).add(code));
  return new Map([...codes].map(([file, each]) => [file, [...each].toSorted().join(' ')]));
}

async function lintFindings(): Promise<Findings> {
  const diagnostics = await oxlint(['-c', `${FIXTURES}/.oxlintrc.json`, `${FIXTURES}/tree`]);
  return group(diagnostics.map((each) => ({ file: each.filename, code: codeOf(each) })));
}

async function compilerFindings(): Promise<Findings> {
  const output = await run('tsc', ['-p', `${FIXTURES}/types`, '--pretty', 'false']);
  const lines = output.matchAll(/^(\S+?)\(\d+,\d+\): error (TS\d+):/gm);
  return group([...lines].map(([, file = '', code = '']) => ({ file, code })));
}

async function fixtures(folder: string): Promise<readonly string[]> {
  const entries = await readdir(join(PROJECT, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(PROJECT, join(entry.parentPath, entry.name)))
    .toSorted();
}

async function expectedFindings(file: string): Promise<string> {
  const [first = ''] = (await readFile(join(PROJECT, file), 'utf8')).split('\n', 1);
  const match = /^\/\/ expects: (.+)$/.exec(first);
  if (match?.[1] === undefined) throw new Error(`${file}: the first line must be "// expects: <codes>"`);
  return match[1];
}

const treeFiles = await fixtures(`${FIXTURES}/tree`);
const typesFiles = await fixtures(`${FIXTURES}/types`);

describe('the linter', () => {
  let findings: Findings;
  beforeAll(async () => {
    findings = await lintFindings();
  });

  test.each(treeFiles)('says of %s what its first line expects', async (file) => {
    expect(findings.get(file) ?? 'nothing').toBe(await expectedFindings(file));
  });

  test('says nothing about src', async () => {
    const diagnostics = await oxlint(['-c', '.oxlintrc.json', 'src']);
    expect(diagnostics.map((each) => `${each.filename}: ${codeOf(each)}: ${each.message}`)).toEqual([]);
  });

  test('has a failing fixture for every rule that the configuration names', async () => {
    interface Rules {
      readonly rules: Readonly<Record<string, unknown>>;
    }
    const config = JSON.parse(await readFile(join(PROJECT, '.oxlintrc.json'), 'utf8')) as Rules & {
      readonly overrides: readonly Rules[];
    };
    const named = [config, ...config.overrides]
      .flatMap((part) => Object.entries(part.rules))
      .filter(([, level]) => level !== 'off')
      .map(([rule]) => (rule.includes('/') ? rule.replace(/^(.+)\/(.+)$/, '$1($2)') : `eslint(${rule})`));
    const shown = new Set(
      (await Promise.all(treeFiles.map(expectedFindings))).flatMap((codes) => codes.split(' ')),
    );
    expect(named.filter((rule) => !shown.has(rule))).toEqual([]);
  });
});

describe('the compiler', () => {
  let findings: Findings;
  beforeAll(async () => {
    findings = await compilerFindings();
  });

  test.each(typesFiles)('says of %s what its first line expects', async (file) => {
    expect(findings.get(file) ?? 'nothing').toBe(await expectedFindings(file));
  });
});

describe('the order of the layers', () => {
  test('has no cycle: each folder imports only folders that come before it', () => {
    const settled: string[] = [];
    let waiting = Object.entries(LAYERS);
    while (waiting.length > 0) {
      const next = waiting.filter(([, rule]) => rule.folders.every((folder) => settled.includes(folder)));
      expect(next, `a cycle among ${waiting.map(([folder]) => folder).join(', ')}`).not.toEqual([]);
      settled.push(...next.map(([folder]) => folder));
      waiting = waiting.filter(([folder]) => !settled.includes(folder));
    }
    expect(settled[0]).toBe('src/base');
  });
});
