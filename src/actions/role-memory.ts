// The role that was read last, so that the report which follows a pass need not ask PostgreSQL again. Must never hand out what
// another PostgreSQL, or one that has lost its session since, said.
import type { Role } from '../postgres/role.ts';
import type { QueryOptions, Session } from '../postgres/session.ts';

export interface RoleMemory {
  read(options: QueryOptions): Promise<Role>;
  /** What `read` found last; undefined where that is older, or was said over another session than the present one. */
  recent(ageMsMax: number): Role | undefined;
}

export function createRoleMemory(options: {
  readonly session: Pick<Session, 'connected' | 'backendPid'>;
  readonly read: (options: QueryOptions) => Promise<Role>;
  readonly nowMs: () => number;
}): RoleMemory {
  const { session, nowMs } = options;
  let last: { readonly role: Role; readonly atMs: number; readonly backendPid: number } | undefined;
  return {
    async read(queryOptions) {
      const { backendPid } = session;
      const atMs = nowMs();
      const role = await options.read(queryOptions);
      last = backendPid === undefined ? undefined : { role, atMs, backendPid };
      return role;
    },
    recent(ageMsMax) {
      if (last === undefined || !session.connected || session.backendPid !== last.backendPid)
        return undefined;
      return nowMs() - last.atMs <= ageMsMax ? last.role : undefined;
    },
  };
}
