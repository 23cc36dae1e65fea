/*
 * The failover protocol of pg-sentinel: what the log accepts (src/cluster), what the agents do (src/actions) and what
 * PostgreSQL does with it. It must find every way to lose an acknowledged write, or to acknowledge on two lines of
 * history, within the bounds below. `npm run model` checks it; README.md says what is modelled, and what is left out.
 *
 * Everything that can happen is one d_step whose guard says when. Nothing has to happen: a node that is dead, frozen or cut
 * off is one that takes no step.
 */

/* --- bounds ----------------------------------------------------------------------------------------------------------- */

#ifndef NODES
#define NODES 3
#endif
#ifndef EPOCHS /* The first one included: one less is the number of failovers. At most 7, for a record takes three bits. */
#define EPOCHS 4
#endif
#ifndef WRITES /* Client writes, on all nodes together; each is one WAL record. */
#define WRITES 2
#endif
#ifndef CHANGES /* Changes of the sync rule that are begun. */
#define CHANGES 2
#endif
#ifndef ACKS_WANTED /* Standbys that acknowledge a commit, where there are so many. A promotion begins with one. */
#define ACKS_WANTED 1
#endif
#ifndef GOAL /* The number of a `reached` below, to have its trail as a counterexample; 0 for none. */
#define GOAL 0
#endif

/* --- words ------------------------------------------------------------------------------------------------------------ */

/* A sync rule, and what synchronous_standby_names says: acknowledgements * 16 + set of members, a bit for each node. */
#define ALONE 0
#define NOBODY 16 /* The placeholder: one acknowledgement, from a standby that does not exist. */
#define NONE 255  /* No rule is pending. */
#define ACKS(rule) ((rule) >> 4)
#define MEMBERS(rule) ((rule) & 15)
#define BIT(node) (1 << (node))
#define HAS(rule, node) (((rule) >> (node)) & 1)
#define COUNT(set) (((set) & 1) + (((set) >> 1) & 1) + (((set) >> 2) & 1) + (((set) >> 3) & 1))
#define BOTH(rule, next) (MEMBERS(rule) | ((next) == NONE -> 0 : MEMBERS(next)))
#define RULE(members) (16 * (COUNT(members) < ACKS_WANTED -> COUNT(members) : ACKS_WANTED) + (members))
#define FEWER(a, b) ((a) < (b) -> (a) : (b))
#define ACKS_OF_BOTH(rule, next) ((next) == NONE -> ACKS(rule) : FEWER(ACKS(rule), ACKS(next)))

/* reportsSuffice of src/cluster/quorum.ts; `gone` counts members whose data directory no longer exists. */
#define SUFFICE(rule, next, gone, cut) (COUNT(BOTH(rule, next) & ~(cut)) + (gone) < ACKS_OF_BOTH(rule, next))

/* WAL: three bits for each record, the oldest lowest: the epoch whose promotion opened the timeline it was written on. */
#define RECORD(node, at) ((wal[node] >> (3 * (at))) & 7)
#define LAST(node) RECORD(node, length[node] - 1)
#define PREFIX(content, count) ((content) & ((1 << (3 * (count))) - 1))

/* The number that PostgreSQL shows for a timeline. Assigned ones are as good as the epoch. */
#ifdef NO_TIMELINE
#define TIMELINE(epoch) number[epoch]
#else
#define TIMELINE(epoch) (epoch)
#endif

/* --- the log: the group's replicated state ---------------------------------------------------------------------------- */

mtype = { running, fencing, promoting };

mtype phase = running;
byte epoch = 1;
byte primary = 0;     /* It is, was, or is to be the primary at this epoch. */
byte timeline = 1;    /* Its timeline, by the epoch that assigned it. */
bool isOpen = true;   /* Whether that timeline was reported as opened. */
byte rule = RULE((1 << NODES) - 2);
byte next = NONE;
byte changes = 0;
bool isConfirmed = false; /* The primary's commit-rule for `next` is on its way. */
byte report[NODES];   /* The cut reports of this epoch: position, or 0. A member that is cut stays where it is. */
byte leader[EPOCHS + 1]; /* Who leads the group at each epoch, as node + 1, as long as anybody could still obey that. */

/* The floors of promotions whose switch point is not known to be held by the new members, by epoch. */
byte floorFrom[EPOCHS + 1];     /* The candidate's timeline before. */
byte floorPosition[EPOCHS + 1]; /* Its position; 0 where there is no floor. */
byte floorRule[EPOCHS + 1];
byte floorNext[EPOCHS + 1];
byte floorGone[EPOCHS + 1];     /* Members of either rule that were wiped since. */

/* --- the nodes -------------------------------------------------------------------------------------------------------- */

/* On disk. */
int wal[NODES];
byte length[NODES];
byte fence[NODES];    /* The fence file: no duty of a lower epoch is obeyed. */

/* Standby. */
byte source[NODES];   /* Where its walreceiver connects to, as node + 1; 0 where there is no walreceiver process. */
bool isStreaming[NODES]; /* False while the walreceiver is still connecting. */

/* Primary. */
bool isPrimary[NODES];
byte names[NODES];    /* synchronous_standby_names, as its file says. */
byte ordered[NODES];  /* Names that its agent read in the log and did not put there yet, or NONE. */
bool isUnwaited[NODES]; /* The checkpointer holds that no standby is to be waited for. */
byte since[NODES];    /* What it held when it was opened: nobody waits for an acknowledgement of that. */
byte verified = 0;    /* What the log's primary had written when every walsender had taken `next`; 0 before. */

/* A walsender on node p for node n stands at p * NODES + n: names as that process has read them, + 128; 0 where there is none. */
byte sender[NODES * NODES];
/* How far a standby that left had flushed: its last answer may be read much later. */
byte answered[NODES * NODES];
#define SENDER(p, n) sender[(p) * NODES + (n)]
#define ANSWERED(p, n) answered[(p) * NODES + (n)]
#define FLUSHED(p, n) (isStreaming[n] && source[n] == (p) + 1 -> length[n] : ANSWERED(p, n))
#define HAS_PRIORITY(p, n) (SENDER(p, n) && HAS(SENDER(p, n), n))

byte writes = 0;
#ifdef NO_TIMELINE
byte number[EPOCHS + 1];
#endif

/* --- what the invariants look at: everything acknowledged so far, and the newest history that was opened ----------------- */

int acknowledged = 0;
byte acknowledgedLength = 0;
byte newest = 1;
int opened = 0;
byte openedLength = 0;

/* Scratch of the d_steps; no part of the state. */
hidden byte i, j, k, best, cut, count;
hidden byte isAllowed;
hidden byte called[NODES];

/* What the search has to come by, or it would prove nothing. */
#define GOALS 12
#define LINES 1500
#define reached(goal) assert(goal != GOAL); c_code { note(goal); }

/* What each run has to come by too: spin does not say which statements of a d_step are never reached. END ends every event. */
#define HERE c_code { passed(__LINE__); }
#define END c_code { passed(__LINE__); arrange(); }

#include "symmetry.pml"

/* --- PostgreSQL ------------------------------------------------------------------------------------------------------- */

/*
 * Node p tells its clients that everything up to `upTo` is committed. Whatever may be acknowledged is, at once: to do so
 * later asks less of those that follow.
 */
inline acknowledge(p, upTo)
{
  if
  :: upTo > since[p] && (upTo > acknowledgedLength || PREFIX(wal[p], upTo) != PREFIX(acknowledged, upTo)) ->
    printf("@ node<%d> acknowledges everything up to wal<%d,%d>\n", called[p], PREFIX(wal[p], upTo), upTo);
    /* Invariant: everything acknowledged before lies on the same history. */
    assert(upTo > acknowledgedLength && PREFIX(wal[p], acknowledgedLength) == acknowledged);
    /* Invariant: no acknowledgement by an old epoch after a promotion that lacks it. */
    assert(LAST(p) >= newest || (upTo <= openedLength && PREFIX(wal[p], upTo) == PREFIX(opened, upTo)));
    acknowledged = PREFIX(wal[p], upTo);
    acknowledgedLength = upTo;
    HERE;
    if
    :: LAST(p) == EPOCHS -> reached(1)
    :: else
    fi;
    if
    :: LAST(p) < epoch && phase == fencing -> reached(2)
    :: LAST(p) < epoch && phase == running && primary == p -> reached(5)
    :: else
    fi
  :: else
  fi
}

/* SyncRepReleaseWaiters: each walsender counts by the names that it has read itself. */
inline release(p)
{
  best = 0;
  for (i : 0 .. NODES - 1) {
    for (j : 0 .. NODES - 1) {
      if
      :: HAS_PRIORITY(p, i) && HAS_PRIORITY(p, j) && FLUSHED(p, j) > best ->
        count = 0;
        for (k : 0 .. NODES - 1) {
          count = count + (HAS_PRIORITY(p, k) && FLUSHED(p, k) >= FLUSHED(p, j))
        }
        if
        :: count >= ACKS(SENDER(p, i) & 127) -> best = FLUSHED(p, j); HERE
        :: else
        fi
      :: else
      fi
    }
  }
  acknowledge(p, best)
}

/*
 * From none to a rule the agent first puts the placeholder in and waits until a commit was seen to wait: before that the checkpointer may
 * not have read it. The walsenders keep what they have read.
 */
inline setNames(node, wanted)
{
  names[node] = wanted;
  ordered[node] = NONE;
#ifdef NO_WAIT
  isUnwaited[node] = isUnwaited[node] || names[node] == ALONE
#else
  isUnwaited[node] = (names[node] == ALONE)
#endif
}

inline append(node, record)
{
  wal[node] = wal[node] | ((record) << (3 * length[node]));
  length[node] = length[node] + 1
}

/* PostgreSQL compares numbers of timelines, not contents. */
#define LIES_ON_HISTORY(standby, upstream) (length[standby] <= length[upstream] && \
  TIMELINE(RECORD(upstream, length[standby] - 1)) == TIMELINE(LAST(standby)))

/* No walreceiver process is left; what it has sent may still be read. */
inline disconnect(standby)
{
  if
  :: isStreaming[standby] -> ANSWERED(source[standby] - 1, standby) = length[standby]
  :: else
  fi;
  isStreaming[standby] = false;
  source[standby] = 0
}

/* A walreceiver that can stream does so at once: to connect later is to be a walsender that has taken newer names. */
inline connect(standby)
{
  if
  :: source[standby] && !isStreaming[standby] && isPrimary[source[standby] - 1] && LIES_ON_HISTORY(standby, source[standby] - 1) ->
    isStreaming[standby] = true;
    SENDER(source[standby] - 1, standby) = 128 + names[source[standby] - 1];
    ANSWERED(source[standby] - 1, standby) = 0
  :: else
  fi
}

inline connectAll(node)
{
  for (i : 0 .. NODES - 1) {
    if
    :: source[i] == node + 1 -> connect(i)
    :: else
    fi
  }
}

inline stopPrimary(node)
{
  for (i : 0 .. NODES - 1) {
    SENDER(node, i) = 0;
    ANSWERED(node, i) = 0;
    if
    :: source[i] == node + 1 -> isStreaming[i] = false
    :: else
    fi
  }
  isPrimary[node] = false;
  names[node] = NOBODY;
  ordered[node] = NONE;
  isUnwaited[node] = false;
  since[node] = 0;
  if
  :: primary == node -> verified = 0
  :: else
  fi
}

/* --- what the primary of the log notices at once ------------------------------------------------------------------------ */

inline countHolders(p, members, position)
{
  count = 0;
  for (i : 0 .. NODES - 1) {
    count = count + (HAS(members, i) && SENDER(p, i) && FLUSHED(p, i) >= position)
  }
}

inline clearFloors()
{
  for (i : 2 .. EPOCHS) {
    floorFrom[i] = 0;
    floorPosition[i] = 0;
    floorRule[i] = 0;
    floorNext[i] = 0;
    floorGone[i] = 0
  }
}

#define HAS_FLOOR (floorPosition[timeline])

/*
 * After anything that changes what primary p or its standbys hold. To pass the floor, or to have verified the next rule, as early as
 * can be leaves the most possible afterwards.
 */
inline settle(p)
{
  connectAll(p);
  if
  :: isPrimary[p] -> release(p)
  :: else
  fi;
  if
  :: isPrimary[p] && phase == running && primary == p && HAS_FLOOR && rule != ALONE ->
    countHolders(p, rule, floorPosition[timeline]);
    if
    :: count >= ACKS(rule) ->
      clearFloors();
      HERE;
      printf("@ log: enough members hold the switch point of node<%d>\n", called[p])
    :: else
    fi
  :: else
  fi;
  if
  :: isPrimary[p] && phase == running && primary == p && next != NONE && !isConfirmed ->
    if
    :: !verified && ordered[p] == NONE && names[p] == next ->
      isAllowed = 1;
#ifndef NO_VERIFY
      for (i : 0 .. NODES - 1) {
        isAllowed = isAllowed && (!SENDER(p, i) || HAS(SENDER(p, i), i) == HAS(next, i) &&
          (ACKS(rule) == ACKS(next) || rule == ALONE || next == ALONE || SENDER(p, i) == 128 + next))
      }
#endif
      verified = (isAllowed -> length[p] : 0);
      if
      :: isAllowed -> printf("@ node<%d> sees that every walsender has taken names<%d>\n", called[p], NAMED(next))
      :: else
      fi
    :: else
    fi;
    if
    :: verified ->
      countHolders(p, next, verified);
      if
      :: count >= ACKS(next) ->
        isConfirmed = true;
        verified = 0;
        HERE;
        printf("@ node<%d> sees that the next members hold what was acknowledged, and says so to the log\n", called[p])
      :: else
      fi
    :: else
    fi
  :: else
  fi
}

/* --- agents ----------------------------------------------------------------------------------------------------------- */

inline obey(node, at)
{
  fence[node] = (at > fence[node] -> at : fence[node]);
#ifndef NO_FENCE
  /* Nobody can obey a past epoch that every fence has passed: it is the same whoever led it. */
  for (i : 1 .. EPOCHS) {
    isAllowed = false;
    for (j : 0 .. NODES - 1) {
      isAllowed = isAllowed || fence[j] <= i
    }
    if
    :: isAllowed -> skip
    :: else -> leader[i] = 0
    fi
  }
#endif
}

inline endWalStreams(standby)
{
#ifdef NO_CUT
  skip
#else
#ifdef CUT_BY_VIEW
  /* pg_stat_wal_receiver shows no walreceiver that is still connecting. */
  if
  :: isStreaming[standby] -> disconnect(standby)
  :: else
  fi
#else
  disconnect(standby)
#endif
#endif
}

#define WALSENDER_TAKES_NAMES(node) \
  :: d_step { \
    isPrimary[me] && SENDER(me, node) && SENDER(me, node) != 128 + names[me] -> \
    SENDER(me, node) = 128 + names[me]; \
    printf("@ node<%d>: its walsender for node<%d> takes names<%d>\n", called[me], called[node], NAMED(names[me])); \
    settle(me); \
    END \
  }

#ifdef NO_FENCE
#define IS_FENCE_PASSED(at) true
#else
#define IS_FENCE_PASSED(at) (fence[me] <= at)
#endif

#define FOLLOW(at) \
  :: d_step { \
    leader[at] && leader[at] != me + 1 && IS_FENCE_PASSED(at) && !isPrimary[me] && source[me] != leader[at] && \
    LIES_ON_HISTORY(me, leader[at] - 1) -> \
    ordered[me] = NONE; \
    disconnect(me); \
    source[me] = leader[at]; \
    printf("@ node<%d> follows node<%d> by the log of epoch<%d>\n", called[me], called[leader[at] - 1], at); \
    obey(me, at); \
    settle(leader[at] - 1); \
    END \
  }

#define COUNTS(node) (HAS(rule, node) || (next != NONE && HAS(next, node)))

proctype Node(byte me)
{
  do
  /* PostgreSQL as a primary. */
  :: d_step {
    isPrimary[me] && writes < WRITES ->
    writes++;
    append(me, LAST(me));
    printf("@ node<%d> writes: wal<%d,%d>\n", called[me], wal[me], length[me]);
    if
    :: isUnwaited[me] -> acknowledge(me, length[me])
    :: else
    fi;
    if
    :: LAST(me) < newest -> reached(10)
    :: else
    fi;
    END
  }
  WALSENDER_TAKES_NAMES(0)
  WALSENDER_TAKES_NAMES(1)
  WALSENDER_TAKES_NAMES(2)
#if NODES > 3
  WALSENDER_TAKES_NAMES(3)
#endif
#ifdef NO_WAIT
  :: d_step {
    isPrimary[me] && isUnwaited[me] && names[me] != ALONE ->
    isUnwaited[me] = false;
    printf("@ node<%d>: its checkpointer takes names<%d>\n", called[me], NAMED(names[me]));
    END
  }
#endif
  /* It crashes, or its agent stops it because it obeys a higher epoch. */
  :: d_step {
    isPrimary[me] ->
    stopPrimary(me);
    printf("@ node<%d> is a primary no longer: it crashed, or was stopped\n", called[me]);
    END
  }

  /* PostgreSQL as a standby. */
  :: d_step {
    isStreaming[me] && length[me] < length[source[me] - 1] ->
    append(me, RECORD(source[me] - 1, length[me]));
    printf("@ node<%d> flushes wal<%d,%d> from node<%d>\n", called[me], wal[me], length[me], called[source[me] - 1]);
    settle(source[me] - 1);
    END
  }

  /* The agent of a standby. */
  :: d_step {
    phase == fencing && !isPrimary[me] && !report[me] ->
    ordered[me] = NONE;
    endWalStreams(me);
    report[me] = length[me];
    printf("@ node<%d> obeys epoch<%d>: it ends its WAL streams and reports wal<%d,%d>\n", called[me], epoch, wal[me], length[me]);
    obey(me, epoch);
    END
  }
#ifdef NO_FENCE
  FOLLOW(1)
#endif
  FOLLOW(2)
#if EPOCHS > 2
  FOLLOW(3)
#endif
#if EPOCHS > 3
  FOLLOW(4)
#endif
#if EPOCHS > 4
  FOLLOW(5)
#endif
  /* pg_rewind or a clone: the data directory is another one from here on, with a member id of its own. */
  :: d_step {
    phase != promoting && primary != me && !isPrimary[me] && !COUNTS(me) && isPrimary[primary] && LAST(primary) == timeline &&
    (phase == running && fence[me] <= epoch || fence[me] < epoch) && !LIES_ON_HISTORY(me, primary) &&
    (!HAS_FLOOR || rule == ALONE) ->
    ordered[me] = NONE;
    disconnect(me);
    wal[me] = wal[primary];
    length[me] = length[primary];
    source[me] = primary + 1;
    for (i : 0 .. NODES - 1) {
      SENDER(i, me) = 0;
      ANSWERED(i, me) = 0;
      names[i] = names[i] & ~BIT(me);
      if
      :: ordered[i] != NONE -> ordered[i] = ordered[i] & ~BIT(me)
      :: else
      fi;
      for (j : 0 .. NODES - 1) {
        SENDER(i, j) = SENDER(i, j) & ~BIT(me)
      }
    }
    for (i : 2 .. EPOCHS) {
      if
      :: floorPosition[i] && HAS(BOTH(floorRule[i], floorNext[i]), me) ->
        floorGone[i] = floorGone[i] + 1;
        HERE;
        floorRule[i] = floorRule[i] & ~BIT(me);
        if
        :: floorNext[i] != NONE -> floorNext[i] = floorNext[i] & ~BIT(me)
        :: else
        fi
      :: else
      fi
    }
    printf("@ node<%d> is made anew from node<%d>: wal<%d,%d>\n", called[me], called[primary], wal[me], length[me]);
    if
    :: phase == running -> obey(me, epoch)
    :: else
    fi;
    reached(3);
    settle(primary);
    END
  }
  /* The candidate, perhaps late. */
  :: d_step {
    ordered[me] != NONE && !isPrimary[me] ->
    disconnect(me);
    append(me, fence[me]);
    isPrimary[me] = true;
    setNames(me, ordered[me]);
    since[me] = length[me];
    printf("@ node<%d> opens the timeline of epoch<%d> with names<%d>: wal<%d,%d>\n", called[me], fence[me], NAMED(names[me]), wal[me], length[me]);
    if
    :: fence[me] > newest ->
      /* Invariant: every acknowledged write is on the history of whoever is promoted. */
      assert(acknowledgedLength < length[me] && PREFIX(wal[me], acknowledgedLength) == acknowledged);
      newest = fence[me];
      opened = wal[me];
      openedLength = length[me]
    :: else
    fi;
    if
    :: fence[me] < epoch -> reached(4)
    :: phase == promoting && fence[me] == epoch ->
      phase = running;
      isOpen = true;
      HERE
    :: else
    fi;
    settle(me);
    END
  }

  /* The agent of a primary. */
  :: d_step {
    phase == running && primary == me && !isPrimary[me] && TIMELINE(LAST(me)) == TIMELINE(timeline) ->
    isPrimary[me] = true;
    disconnect(me);
    best = (next == NONE -> rule : next);
    setNames(me, best);
    since[me] = length[me];
    printf("@ node<%d> is started in place, for the log says that it is the primary, with names<%d>\n", called[me], NAMED(names[me]));
    obey(me, epoch);
    settle(me);
    END
  }
  :: d_step {
    isPrimary[me] && ordered[me] != NONE ->
    setNames(me, ordered[me]);
    printf("@ node<%d> puts names<%d> into force\n", called[me], NAMED(names[me]));
    if
    :: isUnwaited[me] -> acknowledge(me, length[me])
    :: else
    fi;
    settle(me);
    END
  }
  od
}

/* --- the log ---------------------------------------------------------------------------------------------------------- */

#ifdef NO_PENDING
#define PENDING NONE
#else
#define PENDING next
#endif

#define AHEAD(a, b) (TIMELINE(LAST(a)) > TIMELINE(LAST(b)) || TIMELINE(LAST(a)) == TIMELINE(LAST(b)) && report[a] > report[b])

#ifdef NO_EARLIER_FLOOR
#define EARLIER_FLOOR j = 1
#else
#define EARLIER_FLOOR j--
#endif

/* candidateRefusal of src/cluster/candidate.ts. */
inline judge(candidate)
{
  cut = 0;
  for (i : 0 .. NODES - 1) {
    if
    :: report[i] && i != primary -> cut = cut | BIT(i)
    :: else
    fi
  }
  if
  :: candidate != primary && SUFFICE(rule, PENDING, 0, cut) ->
    isAllowed = true;
    for (i : 0 .. NODES - 1) {
      isAllowed = isAllowed && !(report[i] && i != primary && AHEAD(i, candidate))
    }
#ifdef NO_FLOOR
    j = 1;
#else
    j = EPOCHS;
#endif
    do
    :: j > 1 && floorPosition[j] ->
      if
      :: TIMELINE(LAST(candidate)) >= TIMELINE(j) ||
         TIMELINE(LAST(candidate)) == TIMELINE(floorFrom[j]) && report[candidate] >= floorPosition[j] -> HERE; break
      :: else ->
        if
        :: SUFFICE(floorRule[j], floorNext[j], floorGone[j], cut) -> EARLIER_FLOOR; HERE
        :: else -> isAllowed = false; HERE; break
        fi
      fi
    :: j > 1 && !floorPosition[j] -> j--
    :: else -> break
    od
  :: else ->
    isAllowed = report[primary] && (candidate == primary ||
      TIMELINE(LAST(candidate)) == TIMELINE(LAST(primary)) && report[candidate] >= report[primary]);
    HERE
  fi
}

/* The rule that a promotion begins with: followersAtOnce of src/cluster/candidate.ts, and as many acknowledgements as decide.ts asks for. */
inline firstRule(candidate)
{
  count = 0;
  for (i : 0 .. NODES - 1) {
    if
    :: report[i] && i != candidate && i != primary && TIMELINE(LAST(i)) == TIMELINE(LAST(candidate)) && report[i] <= report[candidate] ->
      count = count | BIT(i)
    :: else
    fi
  }
  count = (count -> 16 + count : ALONE)
}

#define PROMOTE(candidate) \
  :: d_step { \
    phase == fencing && report[candidate] -> \
    judge(candidate); \
    if \
    :: isAllowed -> promote(candidate) \
    :: else \
    fi; \
    END \
  }

inline promote(candidate)
{
  if
  :: HAS_FLOOR -> reached(6)
  :: else
  fi;
  if
  :: HAS_FLOOR && LAST(candidate) < timeline && !(LAST(candidate) == floorFrom[timeline] && report[candidate] >= floorPosition[timeline]) ->
    reached(12)
  :: else
  fi;
  if
  :: next != NONE -> reached(7)
  :: else
  fi;
  if
  :: candidate == primary -> reached(8)
  :: else
  fi;
  firstRule(candidate);
  floorFrom[epoch] = LAST(candidate);
  floorPosition[epoch] = report[candidate];
  floorRule[epoch] = rule;
  floorNext[epoch] = PENDING;
  printf("@ log: node<%d> is to be promoted at epoch<%d>, with rule<%d>\n", called[candidate], epoch, NAMED(count));
  rule = count;
  next = NONE;
  phase = promoting;
  primary = candidate;
  timeline = epoch;
#ifdef NO_TIMELINE
  number[epoch] = TIMELINE(LAST(candidate)) + 1; /* As PostgreSQL chooses it. */
#endif
  isOpen = false;
  leader[epoch] = candidate + 1;
  ordered[candidate] = rule;
  for (i : 0 .. NODES - 1) {
    report[i] = 0
  }
}

/* applyBeginRuleChange of src/cluster/apply-rule.ts. */
#define MAY_BE_NEXT(wanted) (next == NONE && rule != wanted || next != NONE && next != wanted && \
  (rule == ALONE || wanted == ALONE || ACKS(wanted) && ACKS(wanted) <= ACKS(next) && (MEMBERS(next) & ~(wanted)) == 0))

#define CHANGE_RULE(members) CHANGE_RULE_TO(RULE(members))
#define CHANGE_RULE_TO(wanted) \
  :: d_step { \
    phase == running && changes < CHANGES && !HAS(wanted, primary) && MAY_BE_NEXT(wanted) -> \
    changes++; \
    next = (rule == ALONE && wanted == ALONE -> NONE : wanted); \
    isConfirmed = false; \
    verified = 0; \
    if \
    :: isPrimary[primary] -> ordered[primary] = wanted \
    :: else \
    fi; \
    printf("@ log: the sync rule is to become rule<%d>\n", NAMED(wanted)); \
    END \
  }

proctype Log()
{
  do
  :: d_step {
    phase != fencing && epoch < EPOCHS ->
    epoch++;
    phase = fencing;
    isConfirmed = false;
    verified = 0;
    printf("@ log: failover from node<%d> begins, epoch<%d>\n", called[primary], epoch);
    END
  }
  PROMOTE(0)
  PROMOTE(1)
  PROMOTE(2)
#if NODES > 3
  PROMOTE(3)
#endif
  :: d_step {
    phase == fencing && !report[primary] && isOpen ->
    phase = running;
    leader[epoch] = primary + 1;
    for (i : 0 .. NODES - 1) {
      report[i] = 0
    }
    printf("@ log: a false alarm: node<%d> stays the primary\n", called[primary]);
    settle(primary);
    reached(11);
    END
  }
#if CHANGES
  CHANGE_RULE(0)
  CHANGE_RULE(1)
  CHANGE_RULE(2)
  CHANGE_RULE(3)
  CHANGE_RULE(4)
  CHANGE_RULE(5)
  CHANGE_RULE(6)
#if NODES > 3
  CHANGE_RULE(7)
  CHANGE_RULE(8)
  CHANGE_RULE(9)
  CHANGE_RULE(10)
  CHANGE_RULE(11)
  CHANGE_RULE(12)
  CHANGE_RULE(13)
  CHANGE_RULE(14)
#endif
  :: d_step {
    phase == running && isConfirmed ->
    if
    :: rule == ALONE -> reached(9)
    :: else
    fi;
    rule = next;
    next = NONE;
    isConfirmed = false;
    printf("@ log: the sync rule is rule<%d>\n", NAMED(rule));
    if
    :: rule != ALONE -> clearFloors(); HERE
    :: else
    fi;
    END
  }
#endif
  od
}

init
{
  atomic {
    for (i : 0 .. NODES - 1) {
      called[i] = i;
      wal[i] = 1;
      length[i] = 1;
      fence[i] = 1;
      names[i] = NOBODY;
      ordered[i] = NONE;
      if
      :: i > 0 -> source[i] = 1; isStreaming[i] = true; SENDER(0, i) = 128 + rule
      :: else
      fi
    }
    isPrimary[0] = true;
    names[0] = rule;
    since[0] = 1;
    leader[1] = 1;
#ifdef NO_TIMELINE
    number[1] = 1;
#endif
    opened = 1;
    openedLength = 1;
    run Log();
    for (i : 0 .. NODES - 1) {
      run Node(i)
    }
  }
}
