// PURE. What one observer knows about one node, and how each event changes it. Facts only: what follows from them is in
// rows.ts. A fact is never set from the lapse of time alone.
import type { PeerId } from '../base/ids.ts';
import { unreachable } from '../base/assert.ts';
import type { HealthEvent, ServerWord, Target, WriteOutcome } from './events.ts';
import { wellAfterMs, type HealthSettings } from './settings.ts';

/** Optional times are undefined while the thing is not so. All times are monotonic milliseconds. */
export interface Facts {
  readonly settings: HealthSettings;
  readonly self: PeerId;
  readonly target: Target;
  /** Answered as alive at least once since this observer began to watch it. */
  readonly seenUp: boolean;
  readonly sessionOpen: boolean;
  /** The last time anything came back: an answer, a message, a refusal, a close. At first: when the watch began. */
  readonly lastWordMs: number;
  /** Since when the oldest try to make a new connection waits, no newer one having been answered. */
  readonly connectionAskedMs: number | undefined;
  /** The last time a new connection was answered. */
  readonly connectionAnsweredMs: number | undefined;
  /** The probe that waits on the open session. */
  readonly probe: { readonly what: 'read' | 'write'; readonly askedMs: number } | undefined;
  /** Refusals since a new connection was last answered. */
  readonly refusals:
    { readonly firstMs: number; readonly lastMs: number; readonly count: number } | undefined;
  /** First sign of a clean shutdown. */
  readonly shutdownMs: number | undefined;
  /** It was told to stop at once, so that "shutting down" is no sign of a clean shutdown until a session opens again. */
  readonly stopsAtOnce: boolean;
  readonly writeFailing: { readonly sinceMs: number; readonly why: string } | undefined;
  /** Of a primary: sessions that could not be begun for a fault of the server's, since one could. */
  readonly loginFailing:
    { readonly firstMs: number; readonly lastMs: number; readonly why: string } | undefined;
  readonly notServing:
    | {
        readonly sinceMs: number;
        readonly kind: 'startup' | 'recovery';
        readonly why: string;
        /** When it said so last. */
        readonly heardMs: number;
        /** It has let somebody in since it said so last. */
        readonly isContradicted?: boolean;
      }
    | undefined;
  readonly localGone: boolean;
  readonly hostGoneMs: number | undefined;
  /** Why the observer as a whole abstains, and since when. */
  readonly tilt: { readonly sinceMs: number; readonly why: string } | undefined;
  /** Trouble of the observer's own that it met while asking this node. */
  readonly trouble: { readonly sinceMs: number; readonly lastMs: number; readonly why: string } | undefined;
  /** The last answer that satisfies the expectation; kept by evidence.ts. */
  readonly goodMs: number | undefined;
  /** It lets others in, and not us; until it does. */
  readonly loginRefused: { readonly sinceMs: number; readonly why: string } | undefined;
  readonly lastAnswerMs: number | undefined;
  readonly latencyMs: number | undefined;
  readonly inRecovery: boolean | undefined;
  /** What is odd but not down, for people. */
  readonly remark: string | undefined;
}

export function initialFacts(self: PeerId, settings: HealthSettings, target: Target, nowMs: number): Facts {
  return {
    settings,
    self,
    target,
    seenUp: false,
    sessionOpen: false,
    lastWordMs: nowMs,
    connectionAskedMs: undefined,
    connectionAnsweredMs: undefined,
    probe: undefined,
    refusals: undefined,
    shutdownMs: undefined,
    stopsAtOnce: false,
    writeFailing: undefined,
    loginFailing: undefined,
    notServing: undefined,
    localGone: false,
    hostGoneMs: undefined,
    tilt: undefined,
    trouble: undefined,
    goodMs: undefined,
    loginRefused: undefined,
    lastAnswerMs: undefined,
    latencyMs: undefined,
    inRecovery: undefined,
    remark: undefined,
  };
}

/** The facts after `event`. */
export function learn(facts: Facts, event: HealthEvent): Facts {
  const { nowMs } = event;
  switch (event.kind) {
    case 'tick':
      return troubleIsOver(facts, nowMs) ? restartClocks({ ...facts, trouble: undefined }, nowMs) : facts;
    case 'asked':
      if (event.what === 'connection')
        return { ...facts, connectionAskedMs: facts.connectionAskedMs ?? nowMs };
      return { ...facts, probe: { what: event.what, askedMs: nowMs } };
    case 'connected':
      return {
        ...connectionAnswered(facts, nowMs),
        seenUp: true,
        sessionOpen: true,
        stopsAtOnce: false,
        loginRefused: undefined,
        loginFailing: undefined,
        probe: undefined,
        hostGoneMs: undefined,
        shutdownMs: undefined,
        // A primary that crashes again before it has written anything has not come up.
        notServing:
          facts.notServing?.kind === 'startup' && facts.target.expect !== 'primary'
            ? undefined
            : contradicted(facts.notServing),
      };
    case 'connection-answered':
      return connectionAnswered(facts, nowMs);
    case 'connection-refused':
      return {
        ...facts,
        lastWordMs: nowMs,
        connectionAskedMs: undefined,
        refusals: {
          firstMs: facts.refusals?.firstMs ?? nowMs,
          lastMs: nowMs,
          count: (facts.refusals?.count ?? 0) + 1,
        },
      };
    case 'server-said':
      return serverSaid(connectionAnswered(facts, nowMs), event.word, nowMs);
    case 'session-ended':
      return sessionEnded(facts, event.how, nowMs);
    case 'answered':
      return answered(facts, event, nowMs);
    case 'own-trouble':
      return {
        ...facts,
        connectionAskedMs: undefined,
        trouble: { sinceMs: facts.trouble?.sinceMs ?? nowMs, lastMs: nowMs, why: event.why },
        remark: `${event.why}: the observer's own trouble`,
      };
    case 'target':
      return {
        ...facts,
        target: event.target,
        writeFailing: undefined,
        loginFailing: undefined,
        notServing: facts.notServing === undefined ? undefined : { ...facts.notServing, sinceMs: nowMs },
      };
    case 'local-processes':
      return { ...facts, localGone: event.gone };
    case 'host-says':
      return { ...facts, hostGoneMs: event.gone ? nowMs : undefined };
    case 'observer':
      if (event.abstains === undefined) return restartClocks({ ...facts, tilt: undefined }, nowMs);
      return { ...facts, tilt: { sinceMs: facts.tilt?.sinceMs ?? nowMs, why: event.abstains } };
    default:
      return unreachable(event);
  }
}

/** Why, and since when, this observer does not judge this node; undefined while it does. */
export function abstention(facts: Facts): { readonly sinceMs: number; readonly why: string } | undefined {
  return facts.tilt ?? facts.trouble;
}

function troubleIsOver(facts: Facts, nowMs: number): boolean {
  return facts.trouble !== undefined && nowMs - facts.trouble.lastMs >= wellAfterMs(facts.settings);
}

/** What was or was not seen while the observer was unwell does not count: every clock begins anew. */
function restartClocks(facts: Facts, nowMs: number): Facts {
  return {
    ...facts,
    lastWordMs: nowMs,
    connectionAskedMs: facts.connectionAskedMs === undefined ? undefined : nowMs,
    probe: facts.probe === undefined ? undefined : { ...facts.probe, askedMs: nowMs },
    refusals: undefined,
    writeFailing: facts.writeFailing === undefined ? undefined : { ...facts.writeFailing, sinceMs: nowMs },
    loginFailing: undefined,
    notServing: facts.notServing === undefined ? undefined : { ...facts.notServing, sinceMs: nowMs },
    remark: facts.remark?.endsWith(`observer's own trouble`) ? undefined : facts.remark,
  };
}

function connectionAnswered(facts: Facts, nowMs: number): Facts {
  return {
    ...facts,
    lastWordMs: nowMs,
    connectionAskedMs: undefined,
    connectionAnsweredMs: nowMs,
    refusals: undefined,
  };
}

function serverSaid(facts: Facts, word: ServerWord, nowMs: number): Facts {
  // Where somebody was let in before, the stop begins something new.
  const before =
    word.kind === 'shutting-down' && facts.notServing?.isContradicted === true ? undefined : facts.notServing;
  const notServing = (why: string): Facts => ({
    ...facts,
    notServing: {
      ...(before ?? { sinceMs: nowMs, kind: 'startup', why }),
      heardMs: nowMs,
      isContradicted: false,
    },
    remark: `${why}: waiting`,
  });
  switch (word.kind) {
    case 'starting-up':
      return { ...notServing('the database system is starting up'), shutdownMs: undefined };
    case 'restarting-backends':
      return { ...notServing('restarting its backends after one was killed'), shutdownMs: undefined };
    case 'shutting-down':
      return {
        ...notServing('the database system is shutting down'),
        shutdownMs: facts.stopsAtOnce ? undefined : (facts.shutdownMs ?? nowMs),
        // Whatever ailed it, an administrator is at it.
        loginFailing: undefined,
      };
    case 'too-many-connections':
      return alive(facts, 'too many connections: not down', nowMs);
    case 'login-refused':
      return refusesLogins(alive(facts, `${word.why}: not down`, nowMs), word.why, nowMs);
    case 'login-failing':
      if (facts.target.expect !== 'primary')
        return refusesLogins(alive(facts, `${word.why}: not down`, nowMs), word.why, nowMs);
      return refusesLogins(
        {
          ...facts,
          shutdownMs: undefined,
          loginFailing: { firstMs: firstFailureMs(facts, nowMs), lastMs: nowMs, why: word.why },
          notServing: contradicted(facts.notServing),
          remark: `logins fail: ${word.why}`,
        },
        word.why,
        nowMs,
      );
    default:
      return unreachable(word);
  }
}

/** Somebody was let in, which a crash loop does too: what was said before counts again when it is said once more. */
const contradicted = (notServing: Facts['notServing']): Facts['notServing'] =>
  notServing?.kind === 'startup' ? { ...notServing, isContradicted: true } : notServing;

/** Of failures with none of the kind for long between them the earlier one is over. */
function firstFailureMs({ loginFailing, settings }: Facts, nowMs: number): number {
  const isOver = loginFailing === undefined || nowMs - loginFailing.lastMs >= settings.writeDownAfterMs;
  return isOver ? nowMs : loginFailing.firstMs;
}

const refusesLogins = (facts: Facts, why: string, nowMs: number): Facts => ({
  ...facts,
  loginRefused: { sinceMs: facts.loginRefused?.sinceMs ?? nowMs, why },
});

/** It lets others in, though not us. For a moment a primary in a crash loop does so too: its start is over when it has not been said for a while. */
function alive(facts: Facts, remark: string, nowMs: number): Facts {
  const { notServing, settings } = facts;
  const isOver = notServing === undefined || nowMs - notServing.heardMs >= settings.downAfterMs;
  return {
    ...facts,
    seenUp: true,
    shutdownMs: undefined,
    hostGoneMs: undefined,
    loginFailing: undefined,
    notServing: notServing?.kind === 'startup' && isOver ? undefined : contradicted(notServing),
    remark,
  };
}

function sessionEnded(
  facts: Facts,
  how: Extract<HealthEvent, { kind: 'session-ended' }>['how'],
  nowMs: number,
): Facts {
  const ended: Facts = { ...facts, sessionOpen: false, probe: undefined };
  switch (how) {
    case 'given-up':
      // A write that hung while new connections were answered goes on hanging for all we know.
      return isHangingAlone(facts) && facts.probe?.what === 'write'
        ? {
            ...ended,
            writeFailing: facts.writeFailing ?? { sinceMs: facts.probe.askedMs, why: 'a write hangs' },
          }
        : ended;
    case 'closed':
      return { ...ended, lastWordMs: nowMs, remark: 'connection lost' };
    case 'immediate-shutdown':
      return { ...ended, lastWordMs: nowMs, stopsAtOnce: true, remark: 'stopped at once' };
    case 'administrator':
      return {
        ...ended,
        lastWordMs: nowMs,
        // It had come up.
        notServing: facts.notServing?.kind === 'startup' ? undefined : facts.notServing,
        shutdownMs: facts.shutdownMs ?? nowMs,
        remark: 'session ended by an administrator',
      };
    case 'backend-crash':
      return { ...ended, lastWordMs: nowMs, remark: 'restarting its backends after one was killed' };
    default:
      return unreachable(how);
  }
}

/** Whether the session hangs although a newer new connection was answered: the node is there, this statement is not. */
export function isHangingAlone(facts: Facts): boolean {
  const { probe, connectionAnsweredMs } = facts;
  return probe !== undefined && connectionAnsweredMs !== undefined && connectionAnsweredMs > probe.askedMs;
}

function answered(facts: Facts, event: Extract<HealthEvent, { kind: 'answered' }>, nowMs: number): Facts {
  const primary = facts.target.expect === 'primary';
  const goneIsOld =
    facts.hostGoneMs !== undefined && facts.probe !== undefined && facts.probe.askedMs > facts.hostGoneMs;
  return {
    ...facts,
    seenUp: true,
    lastWordMs: nowMs,
    lastAnswerMs: nowMs,
    latencyMs: event.latencyMs,
    inRecovery: event.inRecovery,
    probe: undefined,
    shutdownMs: undefined,
    hostGoneMs: goneIsOld ? undefined : facts.hostGoneMs,
    notServing:
      primary && event.inRecovery
        ? facts.notServing?.kind === 'recovery'
          ? facts.notServing
          : {
              sinceMs: nowMs,
              kind: 'recovery',
              why: 'in recovery where a primary is expected',
              heardMs: nowMs,
            }
        : // The write follows.
          primary && event.write.kind === 'not-tried' && facts.notServing?.kind === 'startup'
          ? facts.notServing
          : undefined,
    writeFailing: primary ? writeFailing(facts.writeFailing, event.write, nowMs) : undefined,
    remark: remarkOf(facts.target.expect, event.inRecovery, event.write),
  };
}

function writeFailing(
  before: Facts['writeFailing'],
  write: WriteOutcome,
  nowMs: number,
): Facts['writeFailing'] {
  switch (write.kind) {
    case 'ok':
    case 'excused':
      return undefined;
    case 'not-tried':
    case 'inconclusive':
      return before;
    case 'failed':
      return { sinceMs: before?.sinceMs ?? nowMs, why: write.why };
    default:
      return unreachable(write);
  }
}

function remarkOf(expect: Target['expect'], inRecovery: boolean, write: WriteOutcome): string | undefined {
  if (expect === 'either') return 'why' in write ? write.why : undefined;
  if (expect === 'standby') return inRecovery ? undefined : 'not in recovery where a standby is expected';
  if (inRecovery) return 'in recovery where a primary is expected';
  switch (write.kind) {
    case 'ok':
    case 'not-tried':
      return undefined;
    case 'excused':
    case 'inconclusive':
      return `${write.why}: not down`;
    case 'failed':
      return `writes fail: ${write.why}`;
    default:
      return unreachable(write);
  }
}
