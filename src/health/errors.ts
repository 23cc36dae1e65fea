// PURE. What an error of node-postgres, of the socket or of PostgreSQL means as evidence. PostgreSQL's messages may be in any
// language, so codes and the name of the C routine decide, the English text only where nothing else tells.
// Codes: PostgreSQL documentation, appendix A. Whatever is not known here must not count against the node.
import type { ServerWord, SessionEnd, WriteOutcome } from './events.ts';

/** The parts of an error that are looked at; both Node's and PostgreSQL's fit. */
export interface SeenError {
  readonly message: string;
  readonly code?: string | undefined;
  readonly severity?: string | undefined;
  readonly routine?: string | undefined;
}

export type LoginFailure =
  | { readonly kind: 'refused' }
  | { readonly kind: 'said'; readonly word: ServerWord }
  | { readonly kind: 'own-trouble'; readonly why: string }
  /** Nothing came back: the question stays open. */
  | { readonly kind: 'silent'; readonly why: string };

/** Errors of the operating system that are this host's own: descriptors, ports, buffers, its network, its resolver. */
const OWN_TROUBLE = new Set([
  'EMFILE',
  'ENFILE',
  'EADDRNOTAVAIL',
  'EADDRINUSE',
  'ENOBUFS',
  'ENOMEM',
  'EACCES',
  'EPERM',
  'ENETDOWN',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EAI_FAIL',
  'EPROTO',
]);

/** What a try to connect and log in came to. */
export function classifyLoginError(error: SeenError): LoginFailure {
  const code = error.code ?? '';
  // A backend that waited for the rest of our login and missed its postmaster; the code is that of a clean shutdown.
  if (code === '57P01' && error.routine === 'secure_read') return { kind: 'refused' };
  if (isSqlState(code)) return { kind: 'said', word: serverWord(error) };
  if (OWN_TROUBLE.has(code)) return { kind: 'own-trouble', why: code };
  if (isTlsError(error)) return { kind: 'own-trouble', why: `TLS: ${error.message}` };
  if (code === 'ECONNREFUSED' || code === 'ECONNRESET' || code === 'EPIPE') return { kind: 'refused' };
  // node-postgres, when the server (or a proxy before it) closes without a word: nobody there to serve.
  if (error.message.startsWith('Connection terminated')) return { kind: 'refused' };
  return { kind: 'silent', why: code === '' ? error.message : code };
}

/** Why PostgreSQL ended an open session, from its last message; `closed` where there was none. */
export function classifySessionEnd(error: SeenError | undefined): SessionEnd {
  switch (error?.code ?? '') {
    case '57P01':
      // The same code also comes from a backend that misses its postmaster (routine secure_read) and from an immediate shutdown
      // (quickdie): neither is a clean shutdown.
      if (error?.routine === 'quickdie') return 'immediate-shutdown';
      return error?.routine === 'ProcessInterrupts' ? 'administrator' : 'closed';
    case '57P02':
      return 'backend-crash';
    default:
      return 'closed';
  }
}

/** Whether the session is over with this error, so that no answer to anything is to be expected on it. */
export function endsSession(error: SeenError): boolean {
  const code = error.code ?? '';
  return (
    !isSqlState(code) ||
    code.startsWith('57P') ||
    code.startsWith('08') ||
    error.severity === 'FATAL' ||
    error.severity === 'PANIC'
  );
}

/** What a failed write, on a server that is not in recovery, says about it. */
export function classifyWriteError(error: SeenError): WriteOutcome {
  const code = error.code ?? '';
  const why = `${error.message} (${code})`;
  switch (code) {
    case '25006':
      return { kind: 'excused', why: 'read-only on purpose' };
    case '54000':
      return { kind: 'excused', why: `refuses writes to avoid wraparound: ${why}` };
    case '42501':
      // Also what a read-only file system gives (EROFS), then not from the check of privileges.
      return error.routine === 'aclcheck_error'
        ? { kind: 'excused', why: `no privilege on the heartbeat table: ${why}` }
        : { kind: 'failed', why };
    case '42P01':
    case '3F000':
      return { kind: 'excused', why: 'the heartbeat table is missing' };
    case '53400':
      return { kind: 'inconclusive', why: `a limit that somebody has set: ${why}` };
    case '55P03':
      return { kind: 'inconclusive', why: 'lock timeout on the heartbeat' };
  }
  return { kind: isFault(code) ? 'failed' : 'inconclusive', why };
}

/** What a failed read says: far less can come in its way than in a write's. */
export function classifyReadError(error: SeenError): WriteOutcome {
  const code = error.code ?? '';
  return { kind: isFault(code) ? 'failed' : 'inconclusive', why: `${error.message} (${code})` };
}

/** Classes of SQLSTATE that tell of a server which cannot do its work, whatever it is asked for. */
function isFault(code: string): boolean {
  // A limit that somebody has set.
  if (code === '53400') return false;
  switch (code.slice(0, 2)) {
    case '53': // insufficient resources: disk full, out of memory
    case '58': // system error: I/O, a file missing
    case 'XX': // internal error, corruption
      return true;
    default:
      return false;
  }
}

function serverWord(error: SeenError): ServerWord {
  const code = error.code ?? '';
  const why = `${error.message} (${code})`;
  switch (code) {
    case '57P01':
      return { kind: 'shutting-down' };
    case '57P02':
      return { kind: 'restarting-backends' };
    case '57P03':
      if (/shutting down/.test(error.message)) return { kind: 'shutting-down' };
      if (/in recovery mode/.test(error.message)) return { kind: 'restarting-backends' };
      return { kind: 'starting-up' };
    case '53300':
      return { kind: 'too-many-connections' };
    default:
      return { kind: failsLogins(error) ? 'login-failing' : 'login-refused', why };
  }
}

/** Libraries that a setting of our role or database names. */
const LIBRARY_ROUTINES: ReadonlySet<string> = new Set([
  'internal_load_library',
  'expand_dynamic_library_name',
  'incompatible_module_error',
]);
/** "could not write init file" has no code of its own. */
const INIT_FILE_ROUTINES: ReadonlySet<string> = new Set(['write_item', 'write_relcache_init_file']);

/** Whether nobody is let in, for a fault of the server's: not what our role, our database or an extension (XX000) has to do with. */
function failsLogins({ code = '', routine = '' }: SeenError): boolean {
  if (LIBRARY_ROUTINES.has(routine)) return false;
  return code === 'XX000' ? INIT_FILE_ROUTINES.has(routine) : isFault(code);
}

const isSqlState = (code: string): boolean =>
  /^[0-9A-Z]{5}$/.test(code) && !OWN_TROUBLE.has(code) && !/^E[A-Z]{4}$/.test(code);

function isTlsError(error: SeenError): boolean {
  return (
    /^(CERT_|ERR_TLS_|ERR_SSL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH)/.test(
      error.code ?? '',
    ) || /SSL connection/.test(error.message)
  );
}
