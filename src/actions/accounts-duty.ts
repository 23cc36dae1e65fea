// The accounts of members and observers: the primary makes them, and gives them the passwords that are wanted. Which of two a standby has to
// show its own copy of the roles says where it is up to date, and a login at its upstream.
import { type Account, isWrongPassword } from '../postgres/account.ts';
import { setUpPrimary, verifierOf, verifies } from '../postgres/sql.ts';
import { type AgentContext, query } from './context.ts';

/** The replication and probe accounts, and the heartbeat table. */
export async function setUpAccounts(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { replication, probe } = context.instance.options;
  await setUpPrimary({
    session: context.instance.session,
    replication: { name: replication.name, password: wantedPassword(replication) },
    probe: { name: probe.name, password: wantedPassword(probe) },
    query: query(context, signal),
  });
  for (const account of [replication, probe]) account.rotation?.accepted(wantedPassword(account));
}

const wantedPassword = ({ password, rotation }: Account): string => rotation?.wanted() ?? password;

/** Changes whenever a password is to be changed. */
export function revisionOfAccounts(context: AgentContext): string {
  const { replication, probe } = context.instance.options;
  return `${replication.rotation?.revision() ?? 0} ${probe.rotation?.revision() ?? 0}`;
}

/** Costs a few milliseconds of hashing for each password that may be right, and nothing where there is only one. */
export async function findPasswords(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { replication, probe } = context.instance.options;
  for (const account of [replication, probe]) await find(context, account, signal);
}

async function find(context: AgentContext, { name, rotation }: Account, signal: AbortSignal): Promise<void> {
  const candidates = rotation?.candidates() ?? [];
  if (candidates.length < 2) return;
  // A standby that is behind, or delayed, has the role as it was.
  const [replay] = await context.instance.session.query<{ isUpToDate: boolean | null }>(
    UP_TO_DATE,
    [],
    query(context, signal),
  );
  if (replay?.isUpToDate !== true) return;
  const verifier = await verifierOf(context.instance.session, name, query(context, signal));
  const right = candidates.find((candidate) => verifies(verifier, candidate));
  if (right !== undefined) rotation?.accepted(right);
}

const UP_TO_DATE =
  'select not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn() as "isUpToDate"';

/** Tries one password after the other; `login` takes the account's present one, and throws as PostgreSQL refuses it. Throws nothing. */
export async function findByLogin(account: Account, login: () => Promise<unknown>): Promise<void> {
  const count = account.rotation?.candidates().length ?? 1;
  if (count < 2) return;
  for (let tried = 0; tried < count; tried += 1) {
    const { password } = account;
    try {
      await login();
      account.rotation?.accepted(password);
      return;
    } catch (error) {
      // One that does not answer says nothing of passwords.
      if (!isWrongPassword(error)) return;
      account.rotation?.rejected(password);
    }
  }
}
