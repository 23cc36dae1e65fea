// The highest epoch this node's agent has obeyed, on disk, with the incarnation of the log it belongs to. A duty of a lower one is
// never obeyed, whatever the log applied so far says: a restarted agent sees the log grow from its beginning and must not relive
// the past, and an agent that the log went on without must not go on by itself.
import { readFile } from 'node:fs/promises';
import { epoch as toEpoch } from '../base/ids.ts';
import { type FenceToken, compareFences } from '../cluster/fence.ts';
import { writeFileDurably } from '../postgres/durable-files.ts';

export interface FenceFile extends FenceToken {
  /** Makes `token` durable before it returns; a lower one than before is a broken invariant of the caller and throws. */
  raise(token: FenceToken): Promise<void>;
}

interface Content {
  readonly cluster: string;
  readonly node: string;
  /** Absent in files of the first format: then 1. */
  readonly incarnation?: number;
  readonly epoch: number;
}

/**
 * Opens the fence file at `path`; a missing file means incarnation 0 and epoch 0. Throws when it is unreadable, damaged or of another cluster
 * or node: guessing an epoch could undo a fence.
 */
export async function openFenceFile(options: {
  readonly path: string;
  readonly cluster: string;
  readonly node: string;
}): Promise<FenceFile> {
  let current = await read(options);
  return {
    get incarnation() {
      return current.incarnation;
    },
    get epoch() {
      return current.epoch;
    },
    async raise({ incarnation, epoch }) {
      const token: FenceToken = { incarnation, epoch };
      const order = compareFences(token, current);
      if (order === 0) return;
      if (order < 0)
        throw new Error(
          `cannot lower the fence of ${options.node} from ${textOf(current)} to ${textOf(token)}`,
        );
      const content: Content = { cluster: options.cluster, node: options.node, incarnation, epoch };
      await writeFileDurably({
        path: options.path,
        content: `${JSON.stringify(content)}\n`,
        mode: 0o600,
        owner: undefined,
      });
      current = token;
    },
  };
}

const textOf = ({ incarnation, epoch }: FenceToken): string =>
  `epoch ${epoch}${incarnation > 1 ? ` of incarnation ${incarnation}` : ''}`;

async function read(options: {
  readonly path: string;
  readonly cluster: string;
  readonly node: string;
}): Promise<FenceToken> {
  const text = await readFile(options.path, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return { incarnation: 0, epoch: toEpoch(0) };
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
  return { incarnation: content.incarnation ?? 1, epoch: toEpoch(content.epoch) };
}

function parse(text: string): Content | undefined {
  try {
    const value = JSON.parse(text) as Partial<Content>;
    if (
      typeof value.cluster !== 'string' ||
      typeof value.node !== 'string' ||
      !Number.isSafeInteger(value.epoch) ||
      !(value.incarnation === undefined || isIncarnation(value.incarnation))
    )
      return undefined;
    return value as Content;
  } catch {
    return undefined;
  }
}

const isIncarnation = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 1;
