/**
 * The executable `server`. It loads the program only once it listens for
 * signals: loading takes most of the start, in which one would end the process.
 *
 * @module
 */

import { listenForSignals } from "./lib/cli/server/signals.ts";

if (import.meta.main) {
  const signals = listenForSignals();
  const { main } = await import("./lib/cli/server/main.ts");
  await main(signals);
}
