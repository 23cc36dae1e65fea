// What `status` and `status --watch` show alike: the picture for a person, the document for a script.
import type { EventView, StatusView } from '../transport/types.ts';
import { paintFor, type Admin, type CommonOptions, type Context } from './context.ts';
import type { Format } from './document.ts';
import { healthOf } from './health.ts';
import { TRAIL_EVENT_COUNT } from './phase-trail.ts';
import { renderStatus } from './render-status.ts';
import { narrowed, type Scope } from './status-scope.ts';

export interface StatusOptions extends CommonOptions, Scope {
  readonly output: Format;
  readonly watch?: boolean;
  readonly exitCode?: boolean;
}

/** The picture without the trail of phases is better than none. */
export async function latestEvents(admin: Admin): Promise<readonly EventView[]> {
  return admin.events({ group: undefined, limit: TRAIL_EVENT_COUNT }).catch(() => []);
}

export function statusLines(
  context: Context,
  options: StatusOptions,
  status: StatusView,
  events: readonly EventView[],
): string[] {
  const { columns } = context.stdout.size();
  const paint = paintFor(context, options, context.stdout);
  const shown = narrowed(status, options);
  const names = new Set(shown.groups.map(({ group }) => group));
  const of =
    shown === status ? events : events.filter(({ group }) => group === undefined || names.has(group));
  return renderStatus(shown, { width: columns, paint, events: of });
}

/** The view, and the health that the table shows. */
export function statusDocument(status: StatusView): unknown {
  const { word, reasons } = healthOf(status);
  return { health: word, reasons, ...status };
}
