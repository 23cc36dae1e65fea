// What watching costs this peer: a primary and two standbys' worth of probes at the default pace. Printed, not asserted.
import { describe, expect, test } from 'vitest';
import { delay } from '../../../src/base/clock.ts';
import { nodeId } from '../../../src/base/ids.ts';
import { hasPostgres, Instance } from './instance.ts';
import { observe } from './observer.ts';

const SAMPLE_MS = 15_000;

describe.skipIf(!hasPostgres)('cost', () => {
  test('watching three nodes at the default interval', async () => {
    const instance = await Instance.create();
    const observed = observe(instance.port);
    try {
      await observed.becomes('up');
      const [target] = observed.health.snapshot().nodes;
      expect(target?.expect).toBe('primary');
      observed.targets(
        ['pg1', 'pg2', 'pg3'].map((name, index) => ({
          node: nodeId(name),
          expect: index === 0 ? 'primary' : 'standby',
        })),
      );
      await delay(3000);
      const share = await cpuShare(SAMPLE_MS);
      const latency = observed.health.snapshot().nodes.map((node) => `${node.latencyMs?.toFixed(1)} ms`);
      await observed.close();
      const idle = await cpuShare(5000);
      console.log(
        `watching 3 nodes: ${(100 * share).toFixed(2)} % of a core (idle test process: ${(100 * idle).toFixed(2)} %); latency ${latency.join(', ')}`,
      );
    } finally {
      await observed.close();
      await instance.destroy();
    }
  });
});

async function cpuShare(ms: number): Promise<number> {
  const before = process.cpuUsage();
  await delay(ms);
  const used = process.cpuUsage(before);
  return (used.user + used.system) / 1000 / ms;
}
