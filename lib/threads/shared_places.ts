/**
 * Places that all threads of a server share.
 *
 * @module
 */

import type { ServeConfig } from "../server/options.ts";
import type { Places } from "../server/places.ts";
import type { Shared, SupervisorProcedures } from "./messages.ts";
import type { WorkerCalls } from "./worker_calls.ts";

export class SharedPlaces implements Places {
  readonly #limits: ServeConfig;
  readonly #index: number;
  readonly #shared: Shared;
  readonly #supervisor: WorkerCalls<SupervisorProcedures>;

  /** @param index This thread's place in the shared memory. */
  constructor(
    limits: ServeConfig,
    index: number,
    shared: Shared,
    supervisor: WorkerCalls<SupervisorProcedures>,
  ) {
    this.#limits = limits;
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
    const { maxConnections } = this.#limits;
    if (maxConnections === 0) return true;
    let sum = 0;
    for (let i = 0; i < taken.length; i++) sum += Atomics.load(taken, i);
    if (sum <= maxConnections) return true;
    this.free();
    return false;
  }

  free(): void {
    Atomics.sub(this.#shared.taken, this.#index, 1);
  }

  enter(ip: string): boolean | Promise<boolean> {
    return this.#limits.maxConnectionsPerIp === 0 ||
      this.#supervisor.call("enter", ip);
  }

  leave(ip: string): void {
    if (this.#limits.maxConnectionsPerIp > 0) {
      this.#supervisor.tell("leave", ip);
    }
  }
}
