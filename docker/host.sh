#!/usr/bin/env bash
# Process 1 of a container that stands for one host: keeps sentineld running, as systemd would on a machine. PostgreSQL outlives a
# sentineld that ends or is killed, and the next one takes it over. While the file /run/pg-sentinel/hold is there, sentineld is not
# started again: for maintenance. At the container's end sentineld goes first, then PostgreSQL, cleanly.
set -uo pipefail

CONFIG="${PG_SENTINEL_CONFIG:-/etc/pg-sentinel/sentineld.yaml}"
HOLD=/run/pg-sentinel/hold
RESTART_AFTER_S=1
sentineld_pid=''
ending=''

# Ends what runs in here, in order; `docker stop` waits 10 s unless told otherwise.
end() {
  ending=yes
  if [ -n "$sentineld_pid" ]; then
    kill -TERM "$sentineld_pid" 2>/dev/null
    while kill -0 "$sentineld_pid" 2>/dev/null; do sleep 0.05; done
  fi
  # The oldest of PostgreSQL's processes is the postmaster; SIGINT is its fast shutdown.
  local postmaster
  postmaster="$(pgrep -o -x postgres)" || exit 0
  kill -INT "$postmaster"
  while kill -0 "$postmaster" 2>/dev/null; do sleep 0.05; done
  exit 0
}
trap end TERM INT

rm -f "$HOLD"
while [ -z "$ending" ]; do
  if [ ! -e "$HOLD" ]; then
    sentineld --config "$CONFIG" &
    sentineld_pid=$!
    wait "$sentineld_pid"
    echo "sentineld ended with $?" >&2
    sentineld_pid=''
  fi
  sleep "$RESTART_AFTER_S" &
  wait $!
done
