// Which part of something long is run this time: chosen by a seed, so that it is another part with every commit, and the same one again for whoever
// looks into a failure.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';

/** A whole number from 0 to below `count`, for a purpose of that name: always the same one. */
export type Choose = (purpose: string, count: number) => number;

/** The same seed makes the same choices. */
export function chooseBy(seed: string): Choose {
  return (purpose, count) => {
    const hash = createHash('sha256').update(`${seed}\n${purpose}`).digest();
    return hash.readUInt32BE(0) % count;
  };
}

/** What the variable of that name holds, else the commit that is checked out; without either `none`. */
export function seedFrom(variable: string, directory = import.meta.dirname): string {
  const given = process.env[variable];
  if (given !== undefined && given !== '') return given;
  try {
    return execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], {
      cwd: directory,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return 'none';
  }
}

/** One of each of `count` parts of the list, equally long but for one: something of its beginning, its middle and its end. Fewer where it is shorter. */
export function oneOfEach<T>(list: readonly T[], count: number, purpose: string, choose: Choose): T[] {
  return Array.from({ length: count }, (_, at) => {
    const [from, to] = [at, at + 1].map((edge) => Math.floor((edge * list.length) / count)) as [
      number,
      number,
    ];
    return list.slice(from, to);
  }).flatMap((part, at) => part[choose(`${purpose} ${at}`, Math.max(1, part.length))] ?? []);
}
