// The program of the reaper (see reaper.ts): waits until its standard input closes, then ends every process below
// DIRECTORY and removes it. Terminal signals are not for it: it ends when its work is done.
//
//   node dist/harness/reap.js DIRECTORY DATA_DIRECTORY...
import { endEverythingBelow, removePlace } from './place.ts';

const [directory, ...dataDirectories] = process.argv.slice(2);
if (directory === undefined) throw new Error('usage: reap DIRECTORY DATA_DIRECTORY...');
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.stdin.resume();
await new Promise((resolve) => process.stdin.once('close', resolve).once('error', resolve));
await endEverythingBelow({ directory, dataDirectories, timeoutMs: 20_000 });
await removePlace(directory);
