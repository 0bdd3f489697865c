/**
 * Places that all threads of a server share.
 *
 * @module
 */

import type { Places } from "../server/places.ts";
import type { Shared, SupervisorProcedures } from "./messages.ts";
import type { WorkerCalls } from "./worker_calls.ts";

/** See the module's text. */
export class SharedPlaces implements Places {
  readonly #most: number;
  readonly #mostPerIp: number;
  readonly #index: number;
  readonly #shared: Shared;
  readonly #supervisor: WorkerCalls<SupervisorProcedures>;

  /**
   * @param limits The most connections at once, and the most from one address;
   * 0 for no limit.
   * @param index This thread's place in the shared memory.
   * @param shared The shared memory.
   * @param supervisor The main thread, which counts by address for all.
   */
  constructor(
    { maxConnections, maxConnectionsPerIp }: {
      maxConnections: number;
      maxConnectionsPerIp: number;
    },
    index: number,
    shared: Shared,
    supervisor: WorkerCalls<SupervisorProcedures>,
  ) {
    this.#most = maxConnections;
    this.#mostPerIp = maxConnectionsPerIp;
    this.#index = index;
    this.#shared = shared;
    this.#supervisor = supervisor;
  }

  nextId(): number {
    return Number(Atomics.add(this.#shared.lastId, 0, 1n)) + 1;
  }

  /**
   * Counts first and looks then, so that two threads never take the last place
   * both; it can be that neither gets it.
   */
  take(): boolean {
    const { taken } = this.#shared;
    Atomics.add(taken, this.#index, 1);
    if (this.#most === 0) return true;
    let sum = 0;
    for (let i = 0; i < taken.length; i++) sum += Atomics.load(taken, i);
    if (sum <= this.#most) return true;
    this.free();
    return false;
  }

  free(): void {
    Atomics.sub(this.#shared.taken, this.#index, 1);
  }

  enter(ip: string): boolean | Promise<boolean> {
    return this.#mostPerIp === 0 || this.#supervisor.call("enter", ip);
  }

  leave(ip: string): void {
    if (this.#mostPerIp > 0) this.#supervisor.tell("leave", ip);
  }
}
