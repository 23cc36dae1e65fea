import { DatabaseError } from 'pg';
import { expect, test } from 'vitest';
import { DeadlineError } from '../src/base/clock.ts';
import { outcomeOfError } from './session.ts';

function serverError(severity: string): DatabaseError {
  const error = new DatabaseError('said by the server', 1, 'error');
  error.severity = severity;
  return error;
}

test('only an ERROR says for certain that nothing was committed', () => {
  expect(outcomeOfError(serverError('ERROR')).kind).toBe('failed');
  expect(outcomeOfError(serverError('FATAL')).kind).toBe('unknown');
  expect(outcomeOfError(new Error('Connection terminated unexpectedly')).kind).toBe('unknown');
  expect(outcomeOfError(new DeadlineError('no result within 1000 ms')).kind).toBe('unknown');
});
