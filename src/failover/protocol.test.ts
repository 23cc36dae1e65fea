import { test, expect } from 'vitest';
import { live } from './testing/life.ts';
test('x', () => {
  const totals: Record<string, number> = {};
  const count = Number(process.env['SEEDS'] ?? 200);
  const from = Number(process.env['FROM'] ?? 1);
  const bad: string[] = [];
  const t0 = performance.now();
  for (let seed = from; seed < from + count; seed++) {
    try {
      const t = live({ seed, steps: Number(process.env['STEPS'] ?? 1500), heals: process.env['HEALS'] !== '0' });
      for (const [k, v] of Object.entries(t)) totals[k] = (totals[k] ?? 0) + v;
    } catch (e) { bad.push(String((e as Error).stack).slice(0, 3000)); }
  }
  console.log(totals, performance.now() - t0, bad.length, bad.slice(0, 4).join('\n\n'));
});
