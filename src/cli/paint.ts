// Colour for people: a few styles and whether to use them at all. Rendering asks for a style by its meaning's colour and
// never writes an escape sequence itself.

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow';
export type Paint = (style: Style, text: string) => string;

const SGR: Record<Style, readonly [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
};

export const plain: Paint = (_style, text) => text;

export const coloured: Paint = (style, text) => {
  const [on, off] = SGR[style];
  return text === '' ? '' : `\u001b[${on}m${text}\u001b[${off}m`;
};

/** FORCE_COLOR (other than 0) wins, then NO_COLOR (https://no-color.org), then whether the output is a terminal. */
export function wantsColour(env: NodeJS.ProcessEnv, isTerminal: boolean): boolean {
  const force = env['FORCE_COLOR'];
  if (force !== undefined) return force !== '0' && force !== 'false';
  if ((env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb') return false;
  return isTerminal;
}
