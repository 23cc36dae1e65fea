// Aligned columns that never wrap: columns of least worth are left out, then long cells are cut, until the table fits.
// Pure: data in, lines out.
import { shorten } from './format.ts';
import type { Paint, Style } from './paint.ts';

export interface Cell {
  readonly text: string;
  readonly style?: Style | undefined;
}

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Columns with a number are left out where the table is too wide, the highest first. */
  readonly drop?: number;
  /** Cells may be cut down to this many characters, but only when leaving out columns was not enough. */
  readonly least?: number;
}

const GAP = '  ';

/** The title line and one line for each row, each behind `indent`; at most `width` characters. */
export function renderTable(options: {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
  readonly width: number;
  readonly indent: string;
  readonly paint: Paint;
}): string[] {
  const { rows, indent, paint } = options;
  const room = options.width - indent.length;
  const layout = options.columns.map((column, at) => ({
    column,
    at,
    width: Math.max(column.title.length, ...rows.map((row) => row[at]?.text.length ?? 0)),
  }));
  const total = (): number => layout.reduce((sum, { width }) => sum + width + GAP.length, -GAP.length);
  while (total() > room) {
    const [worst] = layout
      .filter(({ column }) => column.drop !== undefined)
      .sort((a, b) => (b.column.drop ?? 0) - (a.column.drop ?? 0));
    if (worst === undefined) break;
    layout.splice(layout.indexOf(worst), 1);
  }
  while (total() > room) {
    const [widest] = layout
      .filter(({ column, width }) => column.least !== undefined && width > column.least)
      .sort((a, b) => b.width - a.width);
    if (widest === undefined) break;
    widest.width -= 1;
  }
  const line = (cellOf: (part: (typeof layout)[number]) => Cell): string => {
    const cells = layout.map((part, position) => {
      const { text, style } = cellOf(part);
      const cut = shorten(text, part.width);
      const painted = style === undefined ? cut : paint(style, cut);
      const padding = ' '.repeat(part.width - cut.length);
      if (part.column.align === 'right') return padding + painted;
      return position === layout.length - 1 ? painted : painted + padding;
    });
    return (indent + cells.join(GAP)).trimEnd();
  };
  return [
    line(({ column }) => ({ text: column.title, style: 'dim' })),
    ...rows.map((row) => line(({ at }) => row[at] ?? { text: '' })),
  ];
}
