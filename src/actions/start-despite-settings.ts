// A start of PostgreSQL that must not fail for what people have set in the log: what it has not been seen to run with is taken back and
// announced, and it is started with what it had before. Where that does not help either, it was not for the settings.
import { StartError } from '../postgres/lifecycle.ts';
import type { TakenSettings } from './taken-settings.ts';

export async function startDespiteSettings<T>(options: {
  readonly taken: TakenSettings;
  readonly start: () => Promise<T>;
  /** Writes the files anew, without what was refused. */
  readonly rewrite: () => Promise<void>;
  readonly onRefused: (message: string) => void;
}): Promise<T> {
  const { taken, start, rewrite } = options;
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    const isOfHba = error.message.includes('pg_hba.conf');
    const names = isOfHba ? [] : taken.unprovenParameters();
    const isHbaSuspect = isOfHba && !taken.isHbaProven();
    if (names.length === 0 && !isHbaSuspect) throw error;
    if (names.length > 0) await taken.refuseParameters(names);
    if (isHbaSuspect) await taken.refuseHba(`PostgreSQL did not start: ${error.message}`);
    await rewrite();
    const what = [
      names.length === 0 ? '' : `the parameters ${names.map((name) => `postgresql.${name}`).join(', ')}`,
      isHbaSuspect ? 'the rules for pg_hba.conf' : '',
    ].filter((text) => text !== '');
    let started: T;
    try {
      started = await start();
    } catch (again) {
      if (again instanceof StartError) {
        await taken.forgiveAll();
        await rewrite();
      }
      throw again;
    }
    options.onRefused(
      `PostgreSQL does not start with ${what.join(' and ')} of the settings; it runs with what was there before: ${error.message}`,
    );
    return started;
  }
}
