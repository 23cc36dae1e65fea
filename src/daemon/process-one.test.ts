import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { processWarnings } from './process-one.ts';

test('process 1 is warned of, and no other', () => {
  expect(processWarnings(1)).toEqual([expect.stringMatching(/^sentineld is process 1 of its container: /)]);
  expect(processWarnings(process.pid)).toEqual([]);
});

// What the warning is for: should Node ever wait for them itself, it may go.
test.skipIf(process.getuid?.() !== 0)(
  'Node as process 1 does not wait for what is left to it (needs root)',
  () => {
    const script = `
    const { spawn } = require('node:child_process');
    const { readFileSync } = require('node:fs');
    let text = '';
    const shell = spawn('/bin/sh', ['-c', 'sleep 0 & echo $!; exec sleep 0.1'], { stdio: ['ignore', 'pipe', 'ignore'] });
    shell.stdout.on('data', (chunk) => (text += chunk));
    shell.on('close', () => setTimeout(() => console.log(process.pid, readFileSync('/proc/' + text.trim() + '/stat', 'utf8')), 100));`;
    const { stdout, stderr } = spawnSync(
      'unshare',
      ['--pid', '--fork', '--mount-proc', process.execPath, '-e', script],
      { encoding: 'utf8', timeout: 60_000 },
    );
    expect([stdout, stderr]).toEqual([expect.stringMatching(/^1 \d+ \(sleep\) Z 1 /), '']);
  },
);
