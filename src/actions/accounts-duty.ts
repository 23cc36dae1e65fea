// Which password a standby has to show: its own copy of the roles says what the primary has, so nobody has to be refused first.
import type { Account } from '../postgres/account.ts';
import { verifierOf, verifies } from '../postgres/sql.ts';
import { type AgentContext, query } from './context.ts';

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
