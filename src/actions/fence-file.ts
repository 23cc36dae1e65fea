// The highest epoch this node's agent has obeyed, on disk. A duty of a lower epoch is never obeyed, whatever the log applied
// so far says: a restarted agent sees the log grow from its beginning and must not relive the past.
import { readFile } from 'node:fs/promises';
import { type Epoch, epoch as toEpoch } from '../base/ids.ts';
import { writeFileDurably } from '../postgres/durable-files.ts';

export interface FenceFile {
  readonly epoch: Epoch;
  /** Makes `epoch` durable before it returns; a lower one than before is a broken invariant of the caller and throws. */
  raise(epoch: Epoch): Promise<void>;
}

interface Content {
  readonly cluster: string;
  readonly node: string;
  readonly epoch: number;
}

/**
 * Opens the fence file at `path`; a missing file means epoch 0. Throws when it is unreadable, damaged or of another cluster
 * or node: guessing an epoch could undo a fence.
 */
export async function openFenceFile(options: {
  readonly path: string;
  readonly cluster: string;
  readonly node: string;
}): Promise<FenceFile> {
  let current = await read(options);
  return {
    get epoch() {
      return current;
    },
    async raise(epoch) {
      if (epoch === current) return;
      if (epoch < current)
        throw new Error(`cannot lower the fence of ${options.node} from epoch ${current} to ${epoch}`);
      const content: Content = { cluster: options.cluster, node: options.node, epoch };
      await writeFileDurably({
        path: options.path,
        content: `${JSON.stringify(content)}\n`,
        mode: 0o600,
        owner: undefined,
      });
      current = epoch;
    },
  };
}

async function read(options: {
  readonly path: string;
  readonly cluster: string;
  readonly node: string;
}): Promise<Epoch> {
  const text = await readFile(options.path, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return toEpoch(0);
  const content = parse(text);
  if (content === undefined) {
    throw new Error(
      `fence file ${options.path} is damaged; look up the group's epoch with sentinelctl status, then restore or remove the file`,
    );
  }
  if (content.cluster !== options.cluster || content.node !== options.node) {
    throw new Error(
      `fence file ${options.path} is of node ${content.node} in cluster ${content.cluster}, not ${options.node} in ${options.cluster}; use another state_directory`,
    );
  }
  return toEpoch(content.epoch);
}

function parse(text: string): Content | undefined {
  try {
    const value = JSON.parse(text) as Partial<Content>;
    if (
      typeof value.cluster !== 'string' ||
      typeof value.node !== 'string' ||
      !Number.isSafeInteger(value.epoch)
    )
      return undefined;
    return value as Content;
  } catch {
    return undefined;
  }
}
