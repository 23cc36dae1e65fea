// sentineld with one protection switched off, for the benchmark's controls only: they show that the checker sees what the
// protection prevents. Never packaged as a daemon, never to be pointed at data anybody wants to keep.
import { main } from '../../src/daemon/sentineld.ts';
import { runDaemon } from '../../src/daemon/daemon.ts';

const off = process.env['PG_SENTINEL_UNSAFE_CONTROL'];
if (off !== 'no-rule' && off !== 'no-cut' && off !== 'no-guard') {
  throw new Error(
    `PG_SENTINEL_UNSAFE_CONTROL is "${off ?? ''}": expected no-rule, no-cut or no-guard; for real use run sentineld`,
  );
}
await main(process.argv, (options) =>
  runDaemon({
    ...options,
    protections: { rule: off !== 'no-rule', cut: off !== 'no-cut', guard: off !== 'no-guard' },
  }),
);
