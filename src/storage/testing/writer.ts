// A process that writes a history to a store as fast as it can, to be killed in the middle: `writer DIRECTORY SEED COUNT`.
// Prints the number of each acknowledged write, unbuffered, after it was acknowledged.
import { writeSync } from 'node:fs';
import { historyOf } from './history.ts';
import { open } from './stores.ts';

const [directory = '', seed = '0', count = '0'] = process.argv.slice(2);
const { writes } = historyOf(Number(seed), Number(count));
const store = await open(directory);
for (const [position, write] of writes.entries()) {
  const written = store.write(write).then(() => writeSync(1, `${position + 1}\n`));
  // Some writes share a commit, some stand alone.
  if (position % 3 === 0) await written;
}
await store.close();
