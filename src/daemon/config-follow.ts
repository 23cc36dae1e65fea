// The section `node.follow` of the configuration: the other site that the node's group begins by following (docs/standby-site.md).
import { z } from 'zod';
import { account, address, path } from './config-kinds.ts';

/** Servers of another site. */
const SOURCE_COUNT_MAX = 16;
const SLOT_RULE = 'the name of a replication slot: lower-case letters, digits and "_", at most 63';

export const followSection = z
  .strictObject(
    {
      servers: z
        .array(address('A PostgreSQL server of the other site'), { error: 'a list of addresses' })
        .min(1, { error: 'at least one address' })
        .max(SOURCE_COUNT_MAX, { error: `at most ${SOURCE_COUNT_MAX} addresses` })
        .meta({
          description: 'PostgreSQL servers of the other site; the one that takes writes is followed',
        }),
      user: account(
        'Role to stream from there with; default: that of users.replication',
        'sentinel_replication',
      ).optional(),
      slot: z
        .string({ error: SLOT_RULE })
        .regex(/^[a-z0-9_]{1,63}$/, { error: SLOT_RULE })
        .optional()
        .meta({
          description:
            'Replication slot there, made where it is missing; it keeps WAL there for as long as this site is away. Default: none',
        }),
      sslmode: z
        .enum(['disable', 'require', 'verify-ca', 'verify-full'], {
          error: 'one of disable, require, verify-ca, verify-full',
        })
        .optional()
        .meta({ description: 'As of libpq; default: encrypted where the server offers it' }),
      sslrootcert: path(
        'Certificate authority for verify-ca and verify-full; PostgreSQL has to be able to read it',
        '/etc/pg-sentinel/ca.crt',
      ).optional(),
    },
    { error: 'a mapping with servers' },
  )
  .nullish()
  .meta({
    description:
      'The group begins as a standby of another site, until sentinelctl site promote; the same on every host of the group. No longer read once it is an ordinary group',
  });
