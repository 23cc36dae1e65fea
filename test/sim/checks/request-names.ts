// Which commands of the log are what people asked for, and by which names they are counted.
import type { Command } from '../../../src/cluster/commands.ts';

/** Undefined: nobody has asked for it, or it is counted elsewhere. */
export function requestName(command: Command): string | undefined {
  switch (command.kind) {
    case 'fence-node':
    case 'unfence-node':
    case 'pause':
    case 'end-pause':
    case 'remove-node':
    case 'readmit-node':
    case 'node-off':
    case 'adopt-group':
    case 'node-adopted':
      return command.kind;
    case 'begin-failover':
      if (command.cause.kind === 'forced') return 'forced-failover';
      return command.scheduledAtMs === undefined ? undefined : 'scheduled-switchover-begun';
    case 'schedule-switchover':
      return command.at === undefined ? 'scheduled-switchover-ended' : 'schedule-switchover';
    case 'schedule-restart':
      if (command.at === undefined) return 'scheduled-restart-ended';
      return command.at.serverStartedAtS === undefined ? 'schedule-restart' : 'scheduled-restart-begun';
    default:
      return undefined;
  }
}
