// kill -9 in the middle of writes: whatever was acknowledged is there afterwards, and the log is one that was really written.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { historyOf } from './testing/history.ts';
import { open, texts, withDirectory } from './testing/stores.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const COUNT = 4000;
let compiled = '';

/** Node 20 does not run TypeScript, so what the child runs is compiled beside a link to our packages. */
beforeAll(() => {
  compiled = mkdtempSync(join(tmpdir(), 'pg-sentinel-writer-'));
  symlinkSync(join(ROOT, 'node_modules'), join(compiled, 'node_modules'));
  writeFileSync(join(compiled, 'package.json'), '{ "type": "module" }');
  const tsconfig = {
    extends: join(ROOT, 'tsconfig.base.json'),
    compilerOptions: { rootDir: ROOT, outDir: compiled, typeRoots: [join(ROOT, 'node_modules/@types')] },
    files: [join(ROOT, 'src/storage/testing/writer.ts')],
  };
  writeFileSync(join(compiled, 'tsconfig.json'), JSON.stringify(tsconfig));
  execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', compiled], {
    stdio: 'inherit',
  });
});

afterAll(() => rmSync(compiled, { recursive: true, force: true }));

/** Kills a writer after `acknowledgedMin` acknowledgements and a moment more; returns the number of the last one seen. */
async function killAfter(directory: string, seed: number, acknowledgedMin: number): Promise<number> {
  const child = spawn(
    process.execPath,
    [join(compiled, 'src/storage/testing/writer.js'), directory, `${seed}`, `${COUNT}`],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let output = '';
  let isKilled = false;
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    if (isKilled || output.split('\n').length <= acknowledgedMin) return;
    isKilled = true;
    setTimeout(() => child.kill('SIGKILL'), seed % 7);
  });
  await new Promise((done) => child.on('close', done));
  return Number(output.slice(0, output.lastIndexOf('\n')).split('\n').at(-1));
}

describe('a store whose process is killed', () => {
  test.each([11, 12, 13, 14, 15, 16, 17, 18])('keeps all that was acknowledged (seed %i)', async (seed) => {
    await withDirectory(async (directory) => {
      const acknowledged = await killAfter(directory, seed, 30 * (seed - 9));
      expect(acknowledged).toBeGreaterThan(0);
      const store = await open(directory);
      const present = store.hardState.term;
      expect(present).toBeGreaterThanOrEqual(acknowledged);
      const { writes, entries } = historyOf(seed, present);
      expect(store.hardState).toEqual(writes.at(-1)?.hardState);
      expect(texts(store.entries)).toEqual(texts(entries));
      await store.close();
    });
  });
});
