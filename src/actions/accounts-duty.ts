// The accounts of members and observers: the primary makes them, and gives them the passwords that are wanted. Which of two a standby has to
// show its own copy of the roles says, so nobody has to be refused first.
import type { Account } from '../postgres/account.ts';
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
  const verifier = await verifierOf(context.instance.session, name, query(context, signal));
  const right = candidates.find((candidate) => verifies(verifier, candidate));
  if (right !== undefined) rotation?.accepted(right);
}
