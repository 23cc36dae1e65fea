// Process 1 of a container is the parent of whatever has lost its own, and has to wait for it. Node waits for the children that it has started, and for
// no others.

/** What a person has to know of `pid`, sentineld's own number. */
export function processWarnings(pid: number): readonly string[] {
  return pid === 1
    ? [
        'sentineld is process 1 of its container: PostgreSQL ends with it, and dead processes that are left to it stay as zombies until no process can be started any more; run it below a process 1 that waits for them and outlives it, as pg-sentinel-host of the image does',
      ]
    : [];
}
