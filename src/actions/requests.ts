// What is asked of the agent beside its duty waits here for the next pass, one at a time, and is carried out once. Whoever asked hears how
// it ended; a pass does not. What a pass leaves because the duty has changed waits for the next one, which knows the new duty.

export interface Requests<Request> {
  /** Resolves with what was done; rejects with why it was not. Once it has begun it goes on, whatever becomes of `signal`. */
  ask(
    request: Request,
    options: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<string>;
  /** Carries out what waits, if anything does; true where it did. `isBrokenOff`: the pass is, and another follows. */
  carryOut(work: (request: Request) => Promise<string>, isBrokenOff: () => boolean): Promise<boolean>;
}

interface Waiting<Request> {
  readonly request: Request;
  /** Why nobody waits for it any more. */
  givenUp: string | undefined;
  readonly end: (outcome: { readonly detail: string } | { readonly error: Error }) => void;
}

/** `busyWith`: what keeps the passes from coming to it. */
export function createRequests<Request>(busyWith: () => string | undefined): Requests<Request> {
  let waiting: Waiting<Request> | undefined;
  let isAtWork = false;
  return {
    ask(request, { timeoutMs, signal }) {
      if (waiting !== undefined || isAtWork)
        return Promise.reject(
          new Error('its agent carries out another request; ask again once that is done'),
        );
      return new Promise<string>((resolve, reject) => {
        const mine: Waiting<Request> = {
          request,
          givenUp: undefined,
          end(outcome) {
            clearTimeout(timer);
            signal.removeEventListener('abort', forget);
            if ('detail' in outcome) resolve(outcome.detail);
            else reject(outcome.error);
          },
        };
        const giveUp = (why: string): void => {
          mine.givenUp = why;
          if (waiting !== mine) return;
          waiting = undefined;
          mine.end({ error: new Error(why) });
        };
        const forget = (): void => giveUp('whoever asked is gone; nothing was done');
        const timer = setTimeout(() => {
          const busy = busyWith();
          giveUp(
            `its agent is busy${busy === undefined ? '' : ` (${busy})`}; nothing was done, ask again later`,
          );
        }, timeoutMs);
        signal.addEventListener('abort', forget, { once: true });
        waiting = mine;
      });
    },
    async carryOut(work, isBrokenOff) {
      const mine = waiting;
      if (mine === undefined) return false;
      waiting = undefined;
      isAtWork = true;
      try {
        mine.end({ detail: await work(mine.request) });
      } catch (error) {
        if (isBrokenOff() && mine.givenUp === undefined) waiting = mine;
        else mine.end({ error: error as Error });
      } finally {
        isAtWork = false;
      }
      return true;
    },
  };
}
