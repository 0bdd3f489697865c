/**
 * Echo on Parley, with framing, plain or by TLS:
 * `parley.ts FRAMING MAX_FRAME off|default|on [CERT KEY]`, both files in PEM.
 *
 * Finds each frame, calls the handler `echo` with it, frames the reply, and
 * sends the replies to all frames of one read in one write. The maximum frame
 * size always holds. By the third argument:
 *
 * - `off`: no deadline, no connection limit, no events;
 * - `default`: what `serve` does when it is told nothing else, except that the
 *   connection limit has room for the benchmark;
 * - `on`: the same, and a listener for each event, counting as metrics would.
 *
 * @module
 */

import {
  echo,
  type EventListeners,
  type FramingName,
  serve,
  type ServeOptions,
} from "../../lib/mod.ts";

const [framing, maxFrame, limits, cert, key] = Deno.args;

const off: ServeOptions = {
  idleTimeout: 0,
  requestTimeout: 0,
  writeTimeout: 0,
  maxConnections: 0,
};
const usual: ServeOptions = { maxConnections: 16_000 };
const byName: Record<string, ServeOptions> = {
  off,
  default: usual,
  on: { ...usual, events: counting() },
};

const secure: ServeOptions = cert === undefined ? {} : {
  cert: Deno.readTextFileSync(cert),
  key: Deno.readTextFileSync(key),
};

const server = serve(
  {
    ...byName[limits],
    ...secure,
    hostname: "127.0.0.1",
    port: 0,
    framing: framing as FramingName,
    maxFrame: Number(maxFrame),
  },
  echo,
);
console.log((server.addr as Deno.NetAddr).port);

function counting(): EventListeners {
  const counts = {
    open: 0,
    rejected: 0,
    requests: 0,
    bytes: 0,
    milliseconds: 0,
    failed: 0,
  };
  return {
    connection_open: () => void counts.open++,
    connection_close: () => void counts.open--,
    connection_rejected: () => void counts.rejected++,
    request: ({ status, duration, requestBytes }) => {
      counts.requests++;
      counts.bytes += requestBytes;
      if (status !== "ok") counts.failed++;
      counts.milliseconds += duration;
    },
    handler_error: () => void counts.failed++,
    accept_error: () => void counts.failed++,
  };
}
