// Replays every transcript in transcripts/ and compares what the peers do with what is written there.
// `npx vitest run src/raft/transcripts.test.ts -u` writes what they do now: read the difference before committing it.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { replay } from './testing/transcript.ts';

const DIRECTORY = join(import.meta.dirname, 'transcripts');

describe('transcript', () => {
  test.each(readdirSync(DIRECTORY))('%s', async (name) => {
    const path = join(DIRECTORY, name);
    await expect(replay(readFileSync(path, 'utf8'))).toMatchFileSnapshot(path);
  });
});
