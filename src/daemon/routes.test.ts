import { describe, expect, test } from 'vitest';
import { nodeId, peerId } from '../base/ids.ts';
import { A, B, P2, P3, running } from '../cluster/testing/example.ts';
import { duties } from '../failover/duties.ts';
import type { PeerAddress } from '../transport/types.ts';
import { healthTargets } from './observer.ts';
import { routedDuty, routedPeer, routedTargets, type Routes } from './routes.ts';

const PROXY = { host: 'proxy', port: 9000 };
const none: Routes = { peers: new Map(), nodes: new Map() };
const routes: Routes = { peers: new Map([[P2, PROXY]]), nodes: new Map([[A, PROXY]]) };

describe('a route of the configuration', () => {
  const { state } = running();

  test('leads to that peer and to no other', () => {
    const [one, other] = [P2, P3].map((peer) => ({ peer, host: 'direct', port: 7432 })) as [
      PeerAddress,
      PeerAddress,
    ];
    expect(routedPeer(one, routes)).toEqual({ peer: P2, ...PROXY });
    expect(routedPeer(other, routes)).toEqual(other);
    expect(routedPeer(one, none)).toEqual(one);
  });

  test('leads the probes to that node and changes nothing else of what is watched', () => {
    const direct = healthTargets(state);
    const routed = routedTargets(direct, routes);
    expect(routed.find(({ node }) => node === A)).toEqual({
      ...direct.find(({ node }) => node === A),
      ...PROXY,
    });
    expect(routed.filter(({ node }) => node !== A)).toEqual(direct.filter(({ node }) => node !== A));
  });

  test('leads a standby to its upstream, and leaves every other duty as it is', () => {
    const follow = routedDuty(duties(state, B), routes);
    expect(follow).toMatchObject({ kind: 'follow', upstream: { node: A, ...PROXY } });
    const primary = duties(state, A);
    expect(routedDuty(primary, routes)).toBe(primary);
  });

  test('of something that is not there has no effect', () => {
    const strangers: Routes = {
      peers: new Map([[peerId('nobody'), PROXY]]),
      nodes: new Map([[nodeId('nowhere'), PROXY]]),
    };
    expect(routedTargets(healthTargets(state), strangers)).toEqual(healthTargets(state));
    expect(routedDuty(duties(state, B), strangers)).toEqual(duties(state, B));
  });
});
