/** `client wait`: tries until a server answers. */

import type { Client } from "../../client/api.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import { EncodeError, OptionError } from "../../core/errors.ts";
import { messageOf } from "../../core/text.ts";
import { formatDuration } from "../../core/units.ts";

/** How long one try may take, and how long after one the next begins, in ms. */
const TRY = 5000;
const PAUSE = 100;

/**
 * Resolves as soon as a server has answered, whatever it says.
 *
 * @throws It has not in time; or no try can succeed.
 */
export async function waitFor(
  { connect, request, timeout, place, clock = systemClock }: {
    connect: (
      signal: AbortSignal,
    ) => Promise<Pick<Client, "request" | "close">>;
    /** Without it a connection is enough. */
    request: Uint8Array | undefined;
    /** In milliseconds; 0 means for ever. */
    timeout: number;
    place: string;
    clock?: Clock;
  },
): Promise<void> {
  const end = clock.now() + (timeout || Infinity);
  let reason = "nothing came";
  while (true) {
    const late = new AbortController();
    const limit = Math.min(end - clock.now(), TRY);
    const cancel = clock.after(limit, () => late.abort());
    try {
      const client = await connect(late.signal);
      try {
        if (request) await client.request(request, { signal: late.signal });
        return;
      } finally {
        client.close();
      }
    } catch (error) {
      if (error instanceof OptionError || error instanceof EncodeError) {
        throw error;
      }
      // A limit of ours says less than what was wrong with the try before.
      if (!late.signal.aborted) reason = messageOf(error);
    } finally {
      cancel();
    }
    if (clock.now() + PAUSE >= end) {
      const limit = formatDuration(timeout);
      throw new Error(`no answer from ${place} within ${limit}: ${reason}`);
    }
    await new Promise<void>((resolve) => clock.after(PAUSE, resolve));
  }
}
