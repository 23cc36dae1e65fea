// Marks a data directory that was rewound and has not been seen to stream since. pg_rewind copies files that its source goes on writing, so
// they may be newer than the WAL that came with them: the directory becomes consistent only with WAL from that timeline, and
// would wait for ever if it were started cut off.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { timeline, type Timeline } from '../base/ids.ts';
import { removeFileDurably, writeFileDurably, type Owner } from './durable-files.ts';

export const REWOUND_MARKER = 'pg_sentinel_rewound';

/** `source` is the timeline of what it was rewound to. */
export async function markRewound(options: {
  readonly dataDirectory: string;
  readonly source: Timeline;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const { dataDirectory, source, owner } = options;
  await writeFileDurably({
    path: join(dataDirectory, REWOUND_MARKER),
    content: `${source}\n`,
    mode: 0o600,
    owner,
  });
}

/** The timeline of what it was rewound to; undefined where it has streamed since, or never was rewound. */
export async function readRewound(dataDirectory: string): Promise<Timeline | undefined> {
  const text = await readFile(join(dataDirectory, REWOUND_MARKER), 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  return text === undefined ? undefined : timeline(Number(text));
}

export function forgetRewound(dataDirectory: string): Promise<void> {
  return removeFileDurably(join(dataDirectory, REWOUND_MARKER));
}
