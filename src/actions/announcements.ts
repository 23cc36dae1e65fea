// What has happened to a node that a person should know: shown in its status for a while after it is over, with its age, so that
// nobody takes it for what is the matter now. What lasts is withdrawn by whoever has said it once it is over.
import { formatDuration } from '../base/duration.ts';

/** So long an announcement is shown. */
const SHOWN_MS = 3_600_000;
const SHOWN_MAX = 5;
/** From this age on it is shown how long ago it was, in minutes. */
const AGED_MS = 60_000;

export interface Announcements {
  add(message: string): void;
  /** It is the case no longer. */
  withdraw(message: string): void;
  /** In its place, and with its age: how it went on. Nothing where it is not shown. */
  replace(message: string, by: string): void;
  /** The newest ones, the latest first; undefined where there are none. */
  text(): string | undefined;
}

export function createAnnouncements(nowMs: () => number): Announcements {
  let shown: readonly { readonly message: string; readonly atMs: number }[] = [];
  return {
    add(message) {
      const others = shown.filter((each) => each.message !== message);
      shown = [{ message, atMs: nowMs() }, ...others].slice(0, SHOWN_MAX);
    },
    withdraw(message) {
      shown = shown.filter((each) => each.message !== message);
    },
    replace(message, by) {
      shown = shown.map((each) => (each.message === message ? { ...each, message: by } : each));
    },
    text() {
      const present = shown.filter(({ atMs }) => nowMs() - atMs <= SHOWN_MS);
      const lines = present.map(({ message, atMs }) => {
        const ageMs = nowMs() - atMs;
        return ageMs < AGED_MS ? message : `${message} (${formatDuration(ageMs)} ago)`;
      });
      return lines.length === 0 ? undefined : lines.join('; ');
    },
  };
}
