/** What `server` gives up once it is bound, so that no handler has it. */

import { closeBackDoors } from "../../core/back_doors.ts";

/**
 * Gives permissions up, at once: the next turn may handle a request. But the
 * main thread of several, which serves nobody, has still to load and bind those
 * that take the place of others.
 */
export function confine(threads: number): void {
  const serves = threads === 1;
  const always = ["env", "ffi", "import", "run", "sys", "write"] as const;
  for (const name of [...always, ...serves ? ["net", "read"] as const : []]) {
    Deno.permissions.revokeSync({ name });
  }
  if (serves) closeBackDoors();
}
