import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findPsql } from './client-program.ts';

let root: string;
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), 'pg-sentinel-psql-'))));
afterEach(() => rmSync(root, { recursive: true, force: true }));

function make(...names: readonly string[]): string {
  const directory = join(root, ...names);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'psql'), '');
  return join(directory, 'psql');
}

test('the one beside the others, else the newest of Debian, else the one in PATH', () => {
  const find = (): string | undefined =>
    findPsql(join(root, 'own'), join(root, 'debian'), `:${join(root, 'path')}`);
  expect(find()).toBeUndefined();
  const inPath = make('path');
  expect(find()).toBe(inPath);
  make('debian', '9', 'bin');
  const debian = make('debian', '15', 'bin');
  expect(find()).toBe(debian);
  const own = make('own');
  expect(find()).toBe(own);
});
