// Compiles the writer and runs it as a real process: Node 20 does not run TypeScript.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { WriterTask } from './writer.ts';

const ROOT = resolve(import.meta.dirname, '../../..');

export interface Writer {
  run(task: WriterTask, options?: RunOptions): Promise<WriterResult>;
  remove(): void;
}

interface RunOptions {
  /** Called with what was printed so far; returns whether to kill it now. */
  readonly killsWhen?: (output: string) => boolean;
  readonly killDelayMs?: number;
  /** A shell command that is run before, in the process that becomes the writer: `ulimit -f 100`. */
  readonly prelude?: string;
}

export interface WriterResult {
  readonly lines: readonly string[];
  /** Number of the last write that was acknowledged; 0 where none was. */
  readonly acknowledged: number;
  readonly hasEnded: boolean;
}

/** The compiled files lie beside a link to our packages. */
export function compileWriter(): Writer {
  const compiled = mkdtempSync(join(tmpdir(), 'pg-sentinel-writer-'));
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
  const program = join(compiled, 'src/storage/testing/writer.js');
  const argumentsFor = (task: WriterTask): string[] => [program, JSON.stringify(task)];
  return {
    run: async (task, options = {}) => {
      const shell = `${options.prelude ?? 'true'}; exec "$0" "$@"`;
      const child = spawn('/bin/sh', ['-c', shell, process.execPath, ...argumentsFor(task)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      let isKilled = false;
      child.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        if (isKilled || options.killsWhen?.(output) !== true) return;
        isKilled = true;
        setTimeout(() => child.kill('SIGKILL'), options.killDelayMs ?? 0);
      });
      await new Promise((done) => child.on('close', done));
      const lines = output
        .slice(0, output.lastIndexOf('\n') + 1)
        .split('\n')
        .slice(0, -1);
      const numbers = lines.filter((line) => line.startsWith('ack ')).map((line) => Number(line.slice(4)));
      return { lines, acknowledged: numbers.at(-1) ?? 0, hasEnded: lines.at(-1) === 'end' };
    },
    remove: () => rmSync(compiled, { recursive: true, force: true }),
  };
}
