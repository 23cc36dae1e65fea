// Errors of sockets, node-postgres and PostgreSQL, as each was seen, and what they are evidence of.
import { describe, expect, test } from 'vitest';
import {
  classifyLoginError,
  classifyReadError,
  classifySessionEnd,
  classifyWriteError,
  endsSession,
} from './errors.ts';

describe('classifyLoginError', () => {
  test.each([
    [{ code: 'ECONNREFUSED', message: 'connect ECONNREFUSED 127.0.0.1:1' }, 'refused'],
    [{ code: 'ECONNRESET', message: 'read ECONNRESET' }, 'refused'],
    [{ message: 'Connection terminated unexpectedly' }, 'refused'],
    [{ code: 'EHOSTUNREACH', message: 'connect EHOSTUNREACH' }, 'silent'],
    [{ code: 'ETIMEDOUT', message: 'connect ETIMEDOUT' }, 'silent'],
    [{ code: 'EMFILE', message: 'connect EMFILE' }, 'own-trouble'],
    [{ code: 'EADDRNOTAVAIL', message: 'connect EADDRNOTAVAIL' }, 'own-trouble'],
    [{ code: 'ENOBUFS', message: 'connect ENOBUFS' }, 'own-trouble'],
    [{ code: 'ENETUNREACH', message: 'connect ENETUNREACH' }, 'own-trouble'],
    [{ code: 'ENOTFOUND', message: 'getaddrinfo ENOTFOUND pg1' }, 'own-trouble'],
    [{ code: 'EPERM', message: 'connect EPERM' }, 'own-trouble'],
    [{ code: 'DEPTH_ZERO_SELF_SIGNED_CERT', message: 'self-signed certificate' }, 'own-trouble'],
    [{ code: 'CERT_HAS_EXPIRED', message: 'certificate has expired' }, 'own-trouble'],
    [{ code: 'ERR_TLS_CERT_ALTNAME_INVALID', message: 'Hostname/IP does not match' }, 'own-trouble'],
    [{ message: 'The server does not support SSL connections' }, 'own-trouble'],
    [{ message: 'something new' }, 'silent'],
  ])('%o is %s', (error, kind) => {
    expect(classifyLoginError(error).kind).toBe(kind);
  });

  test.each([
    ['57P03', 'the database system is starting up', 'starting-up'],
    ['57P03', 'the database system is not yet accepting connections', 'starting-up'],
    ['57P03', 'das Datenbanksystem startet', 'starting-up'],
    ['57P03', 'the database system is shutting down', 'shutting-down'],
    ['57P03', 'the database system is in recovery mode', 'restarting-backends'],
    ['53300', 'sorry, too many clients already', 'too-many-connections'],
    ['53300', 'remaining connection slots are reserved', 'too-many-connections'],
    ['28P01', 'password authentication failed', 'login-refused'],
    ['28000', 'no pg_hba.conf entry', 'login-refused'],
    ['3D000', 'database "x" does not exist', 'login-refused'],
    ['55000', 'database "x" is not currently accepting connections', 'login-refused'],
    ['53400', 'configuration limit exceeded', 'login-refused'],
    ['53100', 'could not resize shared memory segment: No space left on device', 'login-failing'],
    ['53200', 'out of memory', 'login-failing'],
    ['58P01', 'could not open file "global/pg_filenode.map"', 'login-failing'],
    ['XX001', 'relation mapping file contains invalid data', 'login-failing'],
    ['XX000', 'could not write init file', 'login-failing', 'write_item'],
    ['XX000', 'an extension rejects it', 'login-refused', 'its_routine'],
    ['58P01', 'could not access file "nosuch"', 'login-refused', 'internal_load_library'],
    ['42501', 'could not open file "global/pg_filenode.map": Permission denied', 'login-refused'],
  ])('%s "%s" is %s', (code, message, kind, routine?: string) => {
    expect(classifyLoginError({ code, message, routine })).toMatchObject({ kind: 'said', word: { kind } });
  });
});

describe('classifySessionEnd', () => {
  test.each([
    [
      {
        code: '57P01',
        routine: 'ProcessInterrupts',
        message: 'terminating connection due to administrator command',
      },
      'administrator',
    ],
    [
      {
        code: '57P01',
        routine: 'secure_read',
        message: 'terminating connection due to unexpected postmaster exit',
      },
      'closed',
    ],
    [
      {
        code: '57P01',
        routine: 'quickdie',
        message: 'terminating connection due to immediate shutdown command',
      },
      'immediate-shutdown',
    ],
    [
      {
        code: '57P02',
        routine: 'quickdie',
        message: 'terminating connection because of crash of another server process',
      },
      'backend-crash',
    ],
    [{ code: 'ECONNRESET', message: 'read ECONNRESET' }, 'closed'],
    [undefined, 'closed'],
  ])('%o is %s', (error, how) => {
    expect(classifySessionEnd(error)).toBe(how);
  });
});

describe('classifyWriteError', () => {
  test.each([
    ['53100', '', 'failed'],
    ['53400', 'FileWrite', 'inconclusive'],
    ['53200', '', 'failed'],
    ['58030', '', 'failed'],
    ['XX001', '', 'failed'],
    ['42501', 'mdopenfork', 'failed'],
    ['42501', 'aclcheck_error', 'excused'],
    ['25006', 'PreventCommandIfReadOnly', 'excused'],
    ['54000', 'GetNewTransactionId', 'excused'],
    ['42P01', 'parserOpenTable', 'excused'],
    ['3F000', '', 'excused'],
    ['55P03', 'ProcessInterrupts', 'inconclusive'],
    ['57014', 'ProcessInterrupts', 'inconclusive'],
    ['40P01', '', 'inconclusive'],
    ['P0001', '', 'inconclusive'],
    ['42703', '', 'inconclusive'],
  ])('%s from %s is %s', (code, routine, kind) => {
    expect(classifyWriteError({ code, routine, message: 'no' }).kind).toBe(kind);
  });
});

test.each([
  ['58030', 'failed'],
  ['XX001', 'failed'],
  ['53400', 'inconclusive'],
  ['57014', 'inconclusive'],
])('a read that ends in %s is %s', (code, kind) => {
  expect(classifyReadError({ code, message: 'no' }).kind).toBe(kind);
});

test('endsSession: errors of the socket, FATAL and class 57P end it, others do not', () => {
  expect(endsSession({ code: 'ECONNRESET', message: '' })).toBe(true);
  expect(endsSession({ message: 'Connection terminated unexpectedly' })).toBe(true);
  expect(endsSession({ code: '57P01', message: '' })).toBe(true);
  expect(endsSession({ code: '25P03', severity: 'FATAL', message: '' })).toBe(true);
  expect(endsSession({ code: '53100', severity: 'ERROR', message: '' })).toBe(false);
});

test('a login that is broken off because the postmaster is gone is no clean shutdown', () => {
  const error = { code: '57P01', message: 'terminating connection due to unexpected postmaster exit' };
  expect(classifyLoginError({ ...error, routine: 'secure_read' })).toEqual({ kind: 'refused' });
  expect(classifyLoginError({ ...error, routine: 'ProcessInterrupts' })).toMatchObject({
    kind: 'said',
    word: { kind: 'shutting-down' },
  });
});
