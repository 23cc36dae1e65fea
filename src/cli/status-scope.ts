// The part of a status that `status --group` and `--formation` ask for. Pure.
import type { GroupView, StatusView } from '../transport/types.ts';
import { CliError, EXIT } from './exit-codes.ts';

export interface Scope {
  readonly group?: string;
  readonly formation?: string;
}

interface Wanted {
  readonly group?: string | undefined;
  readonly formation?: string | undefined;
}

const DEFAULT_FORMATION = 'default';

export const formationOf = ({ formation }: Pick<GroupView, 'formation'>): string =>
  formation ?? DEFAULT_FORMATION;

/** The groups, watched servers and warnings that are asked for; {@link CliError} for a name that is not there. */
export function scoped(status: StatusView, scope: Scope): StatusView {
  checkNames(status, scope);
  return narrowed(status, scope);
}

/** As {@link scoped}, but nothing is left of a status that does not have what is asked for. */
export function narrowed(status: StatusView, { group, formation }: Wanted): StatusView {
  if (group === undefined && formation === undefined) return status;
  const groups = status.groups.filter(
    (each) =>
      (group === undefined || each.group === group) &&
      (formation === undefined || formationOf(each) === formation),
  );
  const names = new Set(groups.map((each) => each.group));
  const keeps = (place: number): boolean => {
    const of = status.warningGroups?.[place] ?? '';
    return of === '' || names.has(of);
  };
  const watched = status.watched?.filter(
    (server) => group === undefined && (formation === undefined || server.formation === formation),
  );
  return {
    ...status,
    groups,
    warnings: status.warnings.filter((_, place) => keeps(place)),
    ...(status.warningGroups && { warningGroups: status.warningGroups.filter((_, place) => keeps(place)) }),
    ...(watched && { watched }),
  };
}

function checkNames(status: StatusView, { group, formation }: Scope): void {
  const groups = status.groups.map((each) => each.group);
  const formations = new Set([
    ...status.groups.map(formationOf),
    ...(status.watched ?? []).map((server) => server.formation),
  ]);
  if (group !== undefined && !groups.includes(group)) throw missing(status, 'group', group, groups);
  if (formation !== undefined && !formations.has(formation))
    throw missing(status, 'formation', formation, [...formations].sort());
  const inIt = status.groups.find((each) => each.group === group);
  if (inIt !== undefined && formation !== undefined && formationOf(inIt) !== formation)
    throw new CliError(
      EXIT.usage,
      `group ${inIt.group} is in formation ${formationOf(inIt)}, not ${formation}`,
    );
}

function missing(status: StatusView, what: string, name: string, names: readonly string[]): CliError {
  const there = names.length === 0 ? 'there is none yet' : `there are: ${names.join(', ')}`;
  return new CliError(EXIT.failed, `there is no ${what} "${name}" in ${status.cluster}; ${there}`);
}
