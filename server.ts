/**
 * The executable `server`. It loads the program only once it listens for
 * signals: loading takes most of the start, in which one would end the process.
 *
 * @module
 */

import { HeldSignals } from "./lib/cli/server/held_signals.ts";

if (import.meta.main) {
  const signals = new HeldSignals();
  const { main } = await import("./lib/cli/server/main.ts");
  await main(signals);
}
