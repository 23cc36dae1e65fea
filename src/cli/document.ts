// Views as JSON and YAML for scripts: every key is present, with null for what is unknown. Pure.
import { stringify } from 'yaml';

export const FORMATS = ['table', 'json', 'yaml'] as const;
export type Format = (typeof FORMATS)[number];

/** Text with a final line end. `stream`: one of several documents: JSON on one line, YAML after `---`. */
export function renderDocument(
  format: 'json' | 'yaml',
  value: unknown,
  options: { readonly stream: boolean },
): string {
  const data = withNulls(value);
  if (format === 'json') return `${JSON.stringify(data, undefined, options.stream ? undefined : 2)}\n`;
  return (options.stream ? '---\n' : '') + stringify(data, { lineWidth: 0 });
}

function withNulls(value: unknown): unknown {
  if (value === undefined) return null;
  if (Array.isArray(value)) return value.map(withNulls);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, withNulls(child)]));
}
