// What `status` and `node check` say of a node whose PostgreSQL does not let in the probes of some peers, and what is to be done. Pure.
import type { NodeView } from '../transport/types.ts';

/** A line for each answer of PostgreSQL. */
export function probeRefusalTexts({ probeRefusals = [] }: Pick<NodeView, 'probeRefusals'>): string[] {
  const answers = [...new Set(probeRefusals.map(({ why }) => why))];
  return answers.map((why) => {
    const peers = probeRefusals.filter((refusal) => refusal.why === why).map(({ peer }) => peer);
    const remedy = remedyOf(why);
    return `it does not let in the probes of peer${peers.length > 1 ? 's' : ''} ${peers.join(', ')}: ${why}${remedy === undefined ? '' : `; ${remedy}`}`;
  });
}

const RESTART = 'a restart of sentineld on the host of the primary, while PostgreSQL goes on,';

/** By SQLSTATE, which is the same in every language; so is the name of the file. */
function remedyOf(why: string): string | undefined {
  const [, code] = /\(([0-9A-Z]{5})\)$/.exec(why) ?? [];
  switch (code) {
    case '28P01':
      return `give users.probe the same password in the configuration of every host; ${RESTART} sets it anew`;
    case '28000':
      return why.includes('pg_hba.conf')
        ? "see which rule of its pg_hba.conf stands before pg-sentinel's own, or whether that cannot be loaded (select * from pg_hba_file_rules where error is not null)"
        : `${RESTART} makes the role as it is to be`;
    case '3D000':
      return 'create that database, which the probes use';
    default:
      return undefined;
  }
}
