/** What the program `server` does at signals, from its first moment on. */

import { show } from "../streams/standard_streams.ts";

/**
 * `deno task` passes a signal on to a program that has had it already, from the
 * terminal or as one of its process group (systemd, `timeout`). So the same one
 * again within so many milliseconds is no second thought.
 */
const SAME_SIGNAL = 250;

export type Signals = ReturnType<typeof listenForSignals>;

/**
 * SIGINT and SIGTERM: the first ends the server in good order, the next at once.
 * SIGHUP is held until there is a server that can reload.
 */
export function listenForSignals(now = () => performance.now()) {
  const atTerminal = [Deno.stdin, Deno.stdout, Deno.stderr]
    .some((stream) => stream.isTerminal());
  let first: { signal: string; at: number } | undefined;
  let hungUp = false;
  const actions = {
    drain(_signal: string): void {
      // Nobody has connected yet, and nothing is left behind.
      show("server: stopped before it was ready\n");
      Deno.exit(0);
    },
    cleanUp: () => Promise.resolve(),
    reload(): void {
      hungUp = true;
    },
  };
  const stop = (signal: string, code: number) => {
    const at = now();
    if (first === undefined) {
      first = { signal, at };
      actions.drain(signal);
    } else if (signal !== first.signal || at - first.at >= SAME_SIGNAL) {
      actions.cleanUp().then(() => Deno.exit(code));
    }
  };
  Deno.addSignalListener("SIGINT", () => stop("SIGINT", 130));
  // Windows sends a program no other.
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGTERM", () => stop("SIGTERM", 143));
    Deno.addSignalListener("SIGHUP", () => actions.reload());
  }
  return {
    atTerminal,
    /**
     * There may be clients from now on: a signal waits for `serve`, and a second
     * one ends the program after `cleanUp`.
     */
    hold(cleanUp: typeof actions.cleanUp): void {
      Object.assign(actions, { drain() {}, cleanUp });
    },
    /** `drain` ends it in good order. */
    serve(server: Omit<typeof actions, "cleanUp">): void {
      Object.assign(actions, server);
      if (hungUp) server.reload();
      if (first !== undefined) server.drain(first.signal);
    },
  };
}
