// A status with all the figures that agents report beside it, and nothing wrong with them. Never used outside tests.
import type { StatusView } from '../../transport/types.ts';

const ROOM = { freeBytes: 55e9, totalBytes: 100e9 };

export function upkept(status: StatusView): StatusView {
  return {
    ...status,
    groups: status.groups.map((group) => ({
      ...group,
      nodes: group.nodes.map((node) => ({
        ...node,
        fenced: false,
        counted: node.role === 'standby',
        guarded: node.role === 'primary' ? true : undefined,
        upkeep: {
          dataDisk: ROOM,
          walDisk: ROOM,
          slots: { keptBytes: 16 << 20, most: 'pg3_1f2e3d4c' },
          archiver: { isOn: node.role === 'primary', isFailing: false },
          readyCount: 0,
          pendingRestart: [],
        },
      })),
    })),
  };
}
