/** Places that all threads of a server share. */

import type { ServeConfig } from "../server/config.ts";
import type { Places } from "../server/places.ts";
import type { Shared, SupervisorProcedures } from "./messages.ts";
import type { WorkerCalls } from "./worker_calls.ts";

/**
 * Makes one thread's way to the places of all.
 *
 * @param index The thread's place in the shared memory.
 */
export function sharedPlaces(
  { maxConnections, maxConnectionsPerIp }: ServeConfig,
  index: number,
  { lastId, taken }: Shared,
  supervisor: WorkerCalls<SupervisorProcedures>,
): Places {
  const free = () => void Atomics.sub(taken, index, 1);
  return {
    nextId: () => Number(Atomics.add(lastId, 0, 1n)) + 1,
    // Counts first and looks then, so that two threads never take the last
    // place both; it can be that neither gets it.
    take() {
      Atomics.add(taken, index, 1);
      if (maxConnections === 0) return true;
      let sum = 0;
      for (let i = 0; i < taken.length; i++) sum += Atomics.load(taken, i);
      if (sum > maxConnections) free();
      return sum <= maxConnections;
    },
    free,
    enter: (ip) => maxConnectionsPerIp === 0 || supervisor.call("enter", ip),
    leave(ip) {
      if (maxConnectionsPerIp > 0) supervisor.tell("leave", ip);
    },
  };
}
