import { describe, expect, test } from 'vitest';
import { logIndex, peerId, term } from '../base/ids.ts';
import { applyMembership } from '../cluster/apply-membership.ts';
import { emptyState } from '../cluster/apply.ts';
import { encodeEnvelope, membershipCodec } from '../cluster/codec.ts';
import { membershipOf, newLog, opening, P1, P2, P3 } from '../cluster/testing/example.ts';
import type { Entry, Membership } from '../raft/types.ts';
import { identityFrom, peersFrom, readAhead, registeredStores } from './acquaintance.ts';

const P4 = peerId('p4');
const THREE = membershipOf([P1, P2, P3]);
const noStores = new Map();

const at = (index: number, membership: Membership) => ({ membership, index: logIndex(index) });
const config = (index: number, membership: Membership): Entry => ({
  index: logIndex(index),
  term: term(1),
  kind: 'config',
  data: membershipCodec.encode(membership),
});
const opens = (index: number, peer: typeof P1, store: string): Entry => ({
  index: logIndex(index),
  term: term(1),
  kind: 'command',
  data: encodeEnvelope({
    session: store,
    sequence: 0,
    answeredBelow: 1,
    proposedAtMs: 0,
    command: opening(newLog(), peer, { session: store, store, seenIndex: logIndex(index - 1) }),
  }),
});

describe('an uncommitted change', () => {
  test('keeps the peer that it removes, who may be the leader that truncates it', () => {
    const memberships = {
      committed: at(1, THREE),
      pending: [membershipOf([P1, P2])],
      membershipIndex: logIndex(7),
    };
    expect(identityFrom(memberships, noStores)).toMatchObject({
      members: new Set([P1, P2, P3]),
      membershipIndex: 1,
      logMembershipIndex: 7,
    });
    const addresses = new Map([P1, P2, P3].map((peer, at) => [peer, `10.0.0.${at + 1}:7432`]));
    const reached = peersFrom(
      {
        committed: at(1, { ...THREE, addresses }),
        pending: [membershipOf([P1, P2], { addresses: new Map([[P2, '10.0.0.9:7432']]) })],
      },
      { peer: P1, peers: [] },
    );
    expect(reached.map(({ peer, host }) => [peer, host])).toEqual([
      [P2, '10.0.0.9'],
      [P3, '10.0.0.3'],
    ]);
  });

  test('lets in the peer that it adds, who may be the leader that commits it', () => {
    const memberships = {
      committed: at(1, THREE),
      pending: [membershipOf([P1, P2, P3, P4])],
      membershipIndex: logIndex(7),
    };
    expect(identityFrom(memberships, noStores).members).toContain(P4);
  });

  test('is no new incarnation yet', () => {
    const recovered = membershipOf([P1], { incarnation: 2 });
    const membershipIndex = logIndex(9);
    const begun = { committed: at(1, THREE), pending: [recovered], membershipIndex };
    expect(identityFrom(begun, noStores).incarnation).toBe(1);
    const done = { committed: at(9, recovered), pending: [], membershipIndex };
    expect(identityFrom(done, noStores).incarnation).toBe(2);
  });
});

describe('the stores of the peers', () => {
  const state = emptyState(THREE);

  test('are known from the log at once after a restart, so that a replaced disk cannot vote', () => {
    const ahead = readAhead(state, [opens(1, P3, 'old')]);
    expect(registeredStores(state, ahead).get(P3)).toEqual(new Set(['old']));
  });

  test('a registration ahead counts no more once the state has passed its place, where another entry may have come to lie', () => {
    const ahead = readAhead(state, [opens(1, P3, 'old'), opens(2, P2, 'two')]);
    const later = { ...state, appliedIndex: logIndex(1) };
    expect(registeredStores(later, ahead)).toEqual(new Map([[P2, new Set(['two'])]]));
  });

  test('what the state knew at the start is not ahead of it: it goes when its peer is removed', () => {
    const log = newLog();
    log.commit(opening(log, P3, { store: 'old', session: 'old' }));
    const from = log.state.appliedIndex;
    const ahead = readAhead(log.state, [opens(from + 1, P2, 'two'), opens(from + 9, P1, 'one')]);
    const without = applyMembership(log.state, logIndex(from + 2), membershipOf([P1, P2]));
    expect(registeredStores(log.state, ahead).get(P3)).toEqual(new Set(['old']));
    expect(registeredStores(without, ahead).get(P3)).toBeUndefined();
  });

  test('a disk that was replaced in due form is let in, although the state knows only the old one', () => {
    const log = newLog();
    log.commit(opening(log, P3, { store: 'old', session: 'old' }));
    const from = log.state.appliedIndex;
    const ahead = readAhead(log.state, [
      config(from + 1, membershipOf([P1, P2])),
      config(from + 2, THREE),
      opens(from + 3, P3, 'new'),
    ]);
    expect(registeredStores(log.state, ahead).get(P3)).toEqual(new Set(['new']));
    const unregistered = readAhead(log.state, [
      config(from + 1, membershipOf([P1, P2])),
      config(from + 2, THREE),
    ]);
    expect(registeredStores(log.state, unregistered).get(P3)).toBeUndefined();
    const removed = readAhead(log.state, [config(from + 1, membershipOf([P1, P2]))]);
    expect(registeredStores(log.state, removed).get(P3)).toEqual(new Set(['old']));
  });

  test('what is registered after the removal binds, although the entry that added the peer came to lie elsewhere', () => {
    const log = newLog();
    log.commit(opening(log, P3, { store: 'old', session: 'old' }));
    const from = log.state.appliedIndex;
    const ahead = readAhead(log.state, [
      config(from + 1, membershipOf([P1, P2])),
      config(from + 9, THREE),
      opens(from + 10, P3, 'of the lost branch'),
    ]);
    log.change({ voters: [P1, P2] });
    log.change({ voters: [P1, P2, P3] });
    log.must(opening(log, P3, { store: 'new', session: 'new' }));
    expect(log.state.appliedIndex).toBeLessThan(from + 9);
    expect(registeredStores(log.state, ahead).get(P3)).toContain('new');
  });

  test('an opening that the log refuses counts for nothing', () => {
    const ahead = readAhead(state, [opens(1, P3, 'old'), opens(2, P3, 'wiped')]);
    expect(registeredStores(state, ahead).get(P3)).toEqual(new Set(['old']));
  });

  test('are those of the state alone once it has come that far', () => {
    const ahead = readAhead(state, [opens(1, P3, 'old')]);
    expect(registeredStores({ ...state, appliedIndex: logIndex(1) }, ahead).get(P3)).toBeUndefined();
  });
});
