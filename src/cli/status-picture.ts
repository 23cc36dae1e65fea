// What `status` and `status --watch` show alike: the picture for a person, the document for a script.
import type { EventView, StatusView } from '../transport/types.ts';
import { paintFor, type Admin, type CommonOptions, type Context } from './context.ts';
import type { Format } from './document.ts';
import { healthOf } from './health.ts';
import { TRAIL_EVENT_COUNT } from './phase-trail.ts';
import { renderStatus } from './render-status.ts';

export interface StatusOptions extends CommonOptions {
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
  return renderStatus(status, { width: columns, paint: paintFor(context, options, context.stdout), events });
}

/** The view, and the health that the table shows. */
export function statusDocument(status: StatusView): unknown {
  const { word, reasons } = healthOf(status);
  return { health: word, reasons, ...status };
}
