/*
 * Nodes are alike: a state in which two of them have changed places is the same state. `arrange` puts them in an order that
 * follows from what they hold, after everything that happens, so that such states are visited once. It is C, for that compiles and
 * runs faster by far than the same said in every event. `called` keeps the names that the nodes began with, for people.
 */

#if NODES > 3
#define NAMED(rule) ((rule) & 240 | HAS(rule, 0) << called[0] | HAS(rule, 1) << called[1] | HAS(rule, 2) << called[2] | HAS(rule, 3) << called[3])
#else
#define NAMED(rule) ((rule) & 240 | HAS(rule, 0) << called[0] | HAS(rule, 1) << called[1] | HAS(rule, 2) << called[2])
#endif

c_code {
  static int standing(int n)
  {
    return now.fence[n] | now.report[n] << 3 | now.isPrimary[n] << 6 | now.isStreaming[n] << 7 | (now.primary == n) << 8 |
      HAS(now.rule, n) << 9 | HAS(now.next, n) << 10 | (now.ordered[n] != NONE) << 11 | (now.source[n] != 0) << 12;
  }

  static int isBehind(int n, int other)
  {
    return now.wal[n] > now.wal[other] || (now.wal[n] == now.wal[other] && standing(n) > standing(other));
  }

  static void swapBytes(uchar *a, uchar *b)
  {
    uchar kept = *a;
    *a = *b;
    *b = kept;
  }

  static void swapInSet(uchar *set, int a, int b)
  {
    if (HAS(*set, a) != HAS(*set, b)) *set ^= BIT(a) | BIT(b);
  }

  static void swapNode(uchar *node, int a, int b)
  {
    if (*node == a) *node = b;
    else if (*node == b) *node = a;
  }

  static void swapNodes(int a, int b)
  {
    int i;
    int j;
    int content = now.wal[a];
    now.wal[a] = now.wal[b];
    now.wal[b] = content;
    swapBytes(&now.length[a], &now.length[b]);
    swapBytes(&now.fence[a], &now.fence[b]);
    swapBytes(&now.report[a], &now.report[b]);
    swapBytes(&now.source[a], &now.source[b]);
    swapBytes(&now.isStreaming[a], &now.isStreaming[b]);
    swapBytes(&now.isPrimary[a], &now.isPrimary[b]);
    swapBytes(&now.names[a], &now.names[b]);
    swapBytes(&now.ordered[a], &now.ordered[b]);
    swapBytes(&now.isUnwaited[a], &now.isUnwaited[b]);
    swapBytes(&now.since[a], &now.since[b]);
    swapBytes(&called[a], &called[b]);
    for (i = 0; i < NODES; i++) {
      swapBytes(&now.SENDER(a, i), &now.SENDER(b, i));
      swapBytes(&now.ANSWERED(a, i), &now.ANSWERED(b, i));
    }
    for (i = 0; i < NODES; i++) {
      swapBytes(&now.SENDER(i, a), &now.SENDER(i, b));
      swapBytes(&now.ANSWERED(i, a), &now.ANSWERED(i, b));
      swapNode(&now.source[i], a + 1, b + 1);
      swapInSet(&now.names[i], a, b);
      swapInSet(&now.ordered[i], a, b);
      for (j = 0; j < NODES; j++) swapInSet(&now.SENDER(i, j), a, b);
    }
    swapNode(&now.primary, a, b);
    swapInSet(&now.rule, a, b);
    swapInSet(&now.next, a, b);
    for (i = 1; i <= EPOCHS; i++) {
      swapNode(&now.leader[i], a + 1, b + 1);
      swapInSet(&now.floorRule[i], a, b);
      swapInSet(&now.floorNext[i], a, b);
    }
  }

  static void arrange(void)
  {
    int last;
    int i;
    for (last = NODES - 1; last > 0; last--)
      for (i = 0; i < last; i++)
        if (isBehind(i, i + 1)) swapNodes(i, i + 1);
  }

  /* How often each goal and each marked line was come by; said at the end of the search. */
  static unsigned long goals[GOALS + 1];
  static unsigned long lines[LINES];
  static int isAsked = 0;

  static void sayCounts(void)
  {
    int i;
    for (i = 1; i <= GOALS; i++) printf("goal %d: %lu\n", i, goals[i]);
    for (i = 1; i < LINES; i++)
      if (lines[i]) printf("line %d: %lu\n", i, lines[i]);
  }

  static void ask(void)
  {
    if (!isAsked) atexit(sayCounts);
    isAsked = 1;
  }

  static void note(int goal)
  {
    ask();
    goals[goal]++;
  }

  static void passed(int line)
  {
    ask();
    lines[line]++;
  }
}
