// How much room there is for what is printed.
import type { Output } from './context.ts';

interface Stream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

/** Of the terminal; elsewhere COLUMNS, or as wide as the text is: what another program reads is not cut. */
export function outputSize(stream: Stream, env: NodeJS.ProcessEnv): ReturnType<Output['size']> {
  if (stream.isTTY === true) return { columns: stream.columns || 80, rows: stream.rows || 24 };
  const wanted = /^[1-9]\d{0,5}$/.test(env['COLUMNS'] ?? '') ? Number(env['COLUMNS']) : Infinity;
  return { columns: wanted, rows: 24 };
}

/** For help, which is wrapped wherever it goes. */
export function helpWidth({ columns }: ReturnType<Output['size']>): number {
  return Number.isFinite(columns) ? columns : 80;
}
