/**
 * Signals from the first moment on: what comes before the program can act on it
 * is held until then.
 */

type ServerSignal = "SIGHUP" | "SIGINT" | "SIGTERM";

/** Windows sends a program no other than this. */
const SIGNALS: readonly ServerSignal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGHUP", "SIGINT", "SIGTERM"];

/** Making one is what holds them. */
export class HeldSignals {
  readonly #held = new Map<ServerSignal, number>();
  readonly #listeners = new Map<ServerSignal, () => void>();

  constructor() {
    for (const signal of SIGNALS) {
      Deno.addSignalListener(signal, () => {
        const listener = this.#listeners.get(signal);
        if (listener !== undefined) return listener();
        this.#held.set(signal, (this.#held.get(signal) ?? 0) + 1);
      });
    }
  }

  /** Acts on a signal from now on, and on those that were held. */
  on(signal: ServerSignal, listener: () => void): void {
    this.#listeners.set(signal, listener);
    for (let held = this.#held.get(signal) ?? 0; held > 0; held--) listener();
    this.#held.delete(signal);
  }
}
