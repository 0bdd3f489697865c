/** Signals from the first moment on, held until the program can act on them. */

type ServerSignal = "SIGHUP" | "SIGINT" | "SIGTERM";

/** Windows sends a program no other than this. */
const SIGNALS: readonly ServerSignal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGHUP", "SIGINT", "SIGTERM"];

export class HeldSignals {
  readonly #held: ServerSignal[] = [];
  readonly #listeners = new Map<ServerSignal, () => void>();

  constructor() {
    for (const signal of SIGNALS) {
      Deno.addSignalListener(signal, () => {
        const listener = this.#listeners.get(signal);
        if (listener === undefined) this.#held.push(signal);
        else listener();
      });
    }
  }

  on(signal: ServerSignal, listener: () => void): void {
    this.#listeners.set(signal, listener);
    for (const held of this.#held) if (held === signal) listener();
  }
}
