// Kinds of values that keys of the configuration share, in zod. The texts given as `error` complete the sentence "expected ...".
import { isAbsolute, normalize } from 'node:path';
import { z } from 'zod';
import { DURATION_PATTERN, DURATION_RULE, parseDurationMs } from '../base/duration.ts';
import { isName, NAME_RULE } from '../base/ids.ts';
import { ADDRESS_RULE, parseEndpoint } from './config-address.ts';

export const name = (description: string) =>
  z
    .string({ error: NAME_RULE })
    .refine(isName, { error: NAME_RULE })
    .meta({ description, pattern: '^[a-z][a-z0-9_-]{0,30}$' });

export const address = (description: string) =>
  z
    .string({ error: ADDRESS_RULE })
    .refine((text) => parseEndpoint(text) !== undefined, { error: ADDRESS_RULE })
    .meta({ description, examples: ['10.0.0.1:7432'] });

export const path = (description: string, example: string) => {
  const rule = `an absolute path without "..", such as ${example}`;
  return z
    .string({ error: rule })
    .refine((text) => isAbsolute(text) && normalize(text) === text && !text.includes('\n'), { error: rule })
    .overwrite((text) => (text.length > 1 ? text.replace(/\/$/, '') : text))
    .meta({ description, pattern: '^/', examples: [example] });
};

/** A duration with its default and limits, all as people write them. */
export const duration = (limits: { default: string; min: string; max: string; description: string }) => {
  const rule = `${DURATION_RULE}, from ${limits.min} to ${limits.max}`;
  const [minMs, maxMs] = [milliseconds(limits.min), milliseconds(limits.max)];
  return z
    .string({ error: rule })
    .refine((text) => milliseconds(text) >= minMs && milliseconds(text) <= maxMs, { error: rule })
    .default(limits.default)
    .meta({ description: limits.description, pattern: DURATION_PATTERN });
};

/** Milliseconds of a duration; NaN, which no comparison accepts, where it is none. */
function milliseconds(text: string): number {
  return parseDurationMs(text) ?? Number.NaN;
}

/** Of a program with its arguments, without a shell. */
const COMMAND_RULE = 'a list: the program as an absolute path, then its arguments, each in quotes';
export const command = (description: string, example: readonly string[]) =>
  z
    .array(z.string({ error: COMMAND_RULE }), { error: COMMAND_RULE })
    .refine(([program = '']) => isAbsolute(program), { error: COMMAND_RULE })
    .meta({ description, examples: [example] });

const ROLE_RULE =
  'a PostgreSQL role name: lower-case letters, digits and "_", at most 63, not beginning with a digit or "pg_" (other than pg_sentinel_...)';
export const roleName = (defaultName: string) =>
  z
    .string({ error: ROLE_RULE })
    .regex(/^(?!pg_(?!sentinel_))[a-z_][a-z0-9_]{0,62}$/, { error: ROLE_RULE })
    .default(defaultName);

const SECRET_RULE = 'text (in quotes where it looks like a number)';
export const account = (description: string, defaultName: string) =>
  z
    .strictObject({
      name: roleName(defaultName),
      password: z
        .string({ error: SECRET_RULE })
        .optional()
        .meta({ description: 'The password itself; prefer password_file' }),
      password_file: path(
        'File that holds the password on its first line, and while it is changed the one before it on the second',
        '/etc/pg-sentinel/role.password',
      ).optional(),
      password_env: z
        .string({ error: 'the name of an environment variable' })
        .regex(/^[A-Za-z_]\w*$/, { error: 'the name of an environment variable' })
        .optional()
        .meta({ description: 'Environment variable that holds the password' }),
    })
    .meta({
      description,
      oneOf: [{ required: ['password'] }, { required: ['password_file'] }, { required: ['password_env'] }],
    });
