/** What `server` gives up once it is bound, so that no handler has it. */

import { closeBackDoors } from "../../core/back_doors.ts";

/** What a worker may do beside what it is told to: nothing. */
export const noPermissions = {
  env: false,
  ffi: false,
  import: false,
  net: false,
  read: false,
  run: false,
  sys: false,
  write: false,
} as const satisfies Deno.PermissionOptions;

/**
 * Gives permissions up. What is bound needs none any more. But the main thread
 * of several, which serves nobody, has to load and bind those that take the
 * place of others.
 *
 * It is synchronous, for a request may be handled in the next turn of the event
 * loop.
 */
export function confine(threads: number): void {
  const serves = threads === 1;
  for (
    const name of Object.keys(noPermissions) as (keyof typeof noPermissions)[]
  ) {
    if (!serves && (name === "net" || name === "read")) continue;
    Deno.permissions.revokeSync({ name });
  }
  if (serves) closeBackDoors();
}
