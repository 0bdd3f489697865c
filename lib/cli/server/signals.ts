/** What the program `server` does at signals. */

import type { ParleyServer } from "../../server/parley_server.ts";
import { certificateFields } from "../../observe/log.ts";
import { show } from "../streams/standard_streams.ts";
import type { ServerFiles } from "./files.ts";
import type { HeldSignals } from "./held_signals.ts";
import type { Log } from "./logging.ts";

/**
 * At a terminal, `deno task` passes Ctrl-C on to a program that has had it from
 * the terminal already. So what comes this soon there is the same keystroke.
 */
const SAME_KEYSTROKE = 250;

/** What SIGINT and SIGTERM do: the first ends in good order, the next at once. */
export class Stop {
  #since: number | undefined;
  #signal = "";
  #end = (_signal: string): void => {
    // Nobody has connected yet, and nothing is left behind.
    show("server: stopped before it was ready\n");
    Deno.exit(0);
  };
  #cleanUp = () => Promise.resolve();

  constructor(signals: HeldSignals) {
    const patience = atTerminal() ? SAME_KEYSTROKE : 0;
    for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
      signals.on(signal, () => {
        if (this.#since === undefined) {
          this.#since = performance.now();
          this.#signal = signal;
          this.#end(signal);
        } else if (performance.now() - this.#since >= patience) {
          this.#cleanUp().then(() => Deno.exit(code));
        }
      });
    }
  }

  /** There may be clients from now on: a signal waits for {@linkcode serve}. */
  hold(): void {
    this.#end = () => {};
  }

  /** `end` ends the server in good order; `cleanUp` comes where it ends at once. */
  serve(end: (signal: string) => void, cleanUp: () => Promise<void>): void {
    this.#end = end;
    this.#cleanUp = cleanUp;
    if (this.#since !== undefined) end(this.#signal);
  }
}

export function reloadOnHangup(
  signals: HeldSignals,
  server: Pick<ParleyServer, "reloadTls" | "tls">,
  { readTls, removeSockets }: ServerFiles,
  { logger }: Log,
): void {
  signals.on("SIGHUP", async () => {
    if (readTls === undefined) {
      // At a terminal it says that the terminal is gone: what has nothing to
      // read ends with it, like any other program.
      if (atTerminal()) return void removeSockets().then(() => Deno.exit(129));
      logger.warn("SIGHUP, but there is no --tls-cert to read again");
      return;
    }
    try {
      if (!await server.reloadTls(readTls())) return;
      logger.info("certificate reloaded", certificateFields(server.tls!));
    } catch (error) {
      const { message } = error as Error;
      logger.error("certificate not reloaded", { error: message });
    }
  });
}

function atTerminal(): boolean {
  return [Deno.stdin, Deno.stdout, Deno.stderr]
    .some((stream) => stream.isTerminal());
}
