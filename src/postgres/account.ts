// A role's password, and the one that takes its place: while it is being changed, both are known, and whoever logs in tries one after the
// other. Must never put a password into a message.

export interface Account {
  readonly name: string;
  /** To log in with now. Ask for it anew each time: it may change. */
  readonly password: string;
  /** Left out: there is one password, for ever. */
  readonly rotation?: PasswordRotation;
}

export interface PasswordRotation {
  /** What the role is to have, by the primary's hand. */
  wanted(): string;
  /** All that may be right, `wanted` first. */
  candidates(): readonly string[];
  /** Changes whenever those do. */
  revision(): number;
  /** A server did not take it: another one is tried next. */
  rejected(password: string): void;
  /** The server has this one. */
  accepted(password: string): void;
}

/** What PostgreSQL says to a wrong password. */
export const isWrongPassword = (error: unknown): boolean => (error as { code?: string }).code === '28P01';

/** `read`: all that may be right, the wanted one first; undefined: as before. Asked for whenever the password is. */
export function rotatingAccount(
  name: string,
  first: readonly [string, ...string[]],
  read: () => readonly string[] | undefined,
): Account {
  let candidates: readonly string[] = first;
  let [at, revision] = [0, 0];
  const refresh = (): void => {
    const next = read();
    if (next === undefined || next.length === 0) return;
    if (next.length === candidates.length && next.every((each, index) => each === candidates[index])) return;
    const current = candidates[at] ?? '';
    candidates = next;
    at = Math.max(0, next.indexOf(current));
    revision += 1;
  };
  const fresh = <T>(value: () => T): T => {
    refresh();
    return value();
  };
  return {
    name,
    get password() {
      return fresh(() => candidates[at] ?? '');
    },
    rotation: {
      wanted: () => fresh(() => candidates[0] ?? ''),
      candidates: () => fresh(() => candidates),
      revision: () => fresh(() => revision),
      rejected(password) {
        // Several connections fail with the same one: the next is not skipped for that.
        if (candidates[at] === password) at = (at + 1) % candidates.length;
      },
      accepted(password) {
        const found = candidates.indexOf(password);
        if (found >= 0) at = found;
      },
    },
  };
}
