// Figures and lines as people read them. Pure; times are in the local time zone.

/** `0 B`, `328 B`, `12 kB`, `1.5 GB`, in steps of 1024 like pg_size_pretty. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let [value, unit] = [bytes, 0];
  while (Math.abs(value) >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 || value >= 10 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export const BYTES_RULE = 'a size with a unit: B, kB, MB, GB or TB, such as 16MB';

export const UNIT_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 2 ** 10,
  MB: 2 ** 20,
  GB: 2 ** 30,
  TB: 2 ** 40,
};

/** Undefined for what is not {@link BYTES_RULE}. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)$/.exec(text);
  return match === null
    ? undefined
    : Math.round(Number(match[1]) * (UNIT_BYTES[match[2] ?? ''] ?? Number.NaN));
}

/** `04:12:31` */
export function formatClock(atMs: number): string {
  const time = new Date(atMs);
  return [time.getHours(), time.getMinutes(), time.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}

/** `04:12:31.067` */
export function formatClockMs(atMs: number): string {
  return `${formatClock(atMs)}.${String(new Date(atMs).getMilliseconds()).padStart(3, '0')}`;
}

/** `2026-11-21` */
export function formatDay(atMs: number): string {
  const time = new Date(atMs);
  const [month, day] = [time.getMonth() + 1, time.getDate()].map((part) => String(part).padStart(2, '0'));
  return `${time.getFullYear()}-${month}-${day}`;
}

/** Cut to `width`, the last character then being `~`. */
export function shorten(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}~`;
}

/** Less room than this beside a long start is not worth having: the text then begins on a line of its own. */
const ROOM_MIN = 20;

/** Words of `text` on lines of at most `width`, the first after `first`, the others after as many spaces. */
export function wrap(first: string, text: string, width: number): string[] {
  if (first.length > 8 && width - first.length < ROOM_MIN)
    return [first.trimEnd(), ...wrap('    ', text, width)];
  const indent = ' '.repeat(first.length);
  const room = Math.max(1, width - first.length);
  const lines: string[] = [];
  let line = '';
  // A message may hold anything, also what would steer the terminal.
  for (let word of text
    .replaceAll(/\p{Cc}/gu, ' ')
    .split(/\s+/)
    .filter((part) => part !== '')) {
    if (line !== '' && line.length + 1 + word.length > room) {
      lines.push(line);
      line = '';
    }
    for (; word.length > room; word = word.slice(room)) lines.push(word.slice(0, room));
    line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '' || lines.length === 0) lines.push(line);
  return lines.map((part, at) => ((at === 0 ? first : indent) + part).trimEnd());
}
