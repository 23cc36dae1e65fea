// What a server waits to be restarted for.

/**
 * A condition on `pg_settings`, which has to be named `s`. PostgreSQL never takes `pending_restart` back where a parameter was in no file when it
 * started, came into one, and was taken out again: it runs with what it would start with, and is not waiting for anything.
 */
export const PENDING_RESTART = `s.pending_restart and (s.source = 'configuration file'
  or exists (select from pg_file_settings f where lower(f.name) = lower(s.name)))`;
