// A watchdog device (Documentation/watchdog/watchdog-api.rst of the kernel): once opened it resets the host unless it is written to
// again and again; closed after a `V` it stands still, closed without one it goes on. Opened while the node is primary, so that a host
// on which nothing runs any more, this guard included, does not go on as one.
import { closeSync, constants, openSync, writeSync } from 'node:fs';

export interface Watchdog {
  /** `off`, `open`, or what is wrong with it. */
  readonly condition: string;
  /** Opens it where it is not open, and writes to it. */
  pet(): void;
  /** In order: the host is not reset. */
  close(): void;
  /** Leaves it running: another guard opens it at once, or the host is reset. */
  leave(): void;
}

/** Never throws: what fails is in `condition`, and is tried again with the next {@link Watchdog.pet}. */
export function openWatchdog(path: string | undefined, log: (message: string) => void): Watchdog {
  let file: number | undefined;
  let trouble: string | undefined;
  const failed = (what: string, error: unknown): void => {
    const text = `cannot ${what} ${path}: ${(error as Error).message}`;
    if (text !== trouble) log(text);
    trouble = text;
  };
  const close = (isInOrder: boolean): void => {
    if (file === undefined) return;
    const closing = file;
    file = undefined;
    try {
      if (isInOrder) writeSync(closing, 'V');
    } catch (error) {
      failed('write the magic close to', error);
    }
    try {
      closeSync(closing);
    } catch (error) {
      failed('close', error);
    }
  };
  return {
    get condition() {
      return trouble ?? (file === undefined ? 'off' : 'open');
    },
    pet() {
      if (path === undefined) return;
      try {
        // Without blocking, for the sake of a FIFO that nobody reads.
        file ??= openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
        trouble = undefined;
      } catch (error) {
        failed('open', error);
        return;
      }
      try {
        writeSync(file, '.');
      } catch (error) {
        failed('write to', error);
      }
    },
    close: () => close(true),
    leave: () => close(false),
  };
}
