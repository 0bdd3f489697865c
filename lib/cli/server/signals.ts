/** What the program `server` does at signals, from its first moment on. */

import { show } from "../streams/standard_streams.ts";

/**
 * At a terminal, `deno task` passes Ctrl-C on to a program that has had it from
 * the terminal already. So what comes this soon there is the same keystroke.
 */
const SAME_KEYSTROKE = 250;

export type Signals = ReturnType<typeof listenForSignals>;

/**
 * SIGINT and SIGTERM: the first ends the server in good order, the next at once.
 * SIGHUP is held until there is a server that can reload.
 */
export function listenForSignals() {
  const atTerminal = [Deno.stdin, Deno.stdout, Deno.stderr]
    .some((stream) => stream.isTerminal());
  const patience = atTerminal ? SAME_KEYSTROKE : 0;
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
    const at = performance.now();
    if (first === undefined) {
      first = { signal, at };
      actions.drain(signal);
    } else if (at - first.at >= patience) {
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
    /** There may be clients from now on: a signal waits for `serve`. */
    hold(): void {
      actions.drain = () => {};
    },
    /** `drain` ends it in good order; `cleanUp` comes before it ends at once. */
    serve(server: typeof actions): void {
      Object.assign(actions, server);
      if (hungUp) server.reload();
      if (first !== undefined) server.drain(first.signal);
    },
  };
}
