/** {@linkcode broadcast}: one frame to many connections. */

import { frameOf, type Framing } from "../framing/codec.ts";
import { type Peer, servingOf } from "./connection/info.ts";
import { payloadOf } from "./connection/reply_writer.ts";
import type { Payload, PeerConnection } from "./handler.ts";

/**
 * Sends a frame to many connections of one server, or of several in this thread.
 * The frame is made once for all connections with the same framing. No peer waits
 * for another: one that takes nothing is closed as `slow_consumer` when more than
 * `maxBuffered` bytes wait for it. A connection that has ended is left out.
 *
 * Lines end in LF here, whatever endings the peers use.
 *
 * @param to The connections; each handler knows its own as `info`.
 * @param frame The payload.
 * @throws {EncodeError} A framing cannot carry it. It is sent to nobody then.
 * @throws {ReplyTooLargeError} It is over `maxReply`. It is sent to nobody then.
 *
 * @example
 * ```ts
 * import { broadcast, connect, type RequestInfo, serve } from "../mod.ts";
 *
 * const room = new Set<RequestInfo>();
 * await using server = serve(
 *   {
 *     hostname: "127.0.0.1",
 *     port: 0,
 *     onOpen: (info) => void room.add(info),
 *     onClose: (info) => void room.delete(info),
 *   },
 *   (line) => broadcast(room, line),
 * );
 * await using client = await connect(server.addr);
 * console.log(new TextDecoder().decode(await client.request("hello")));
 * ```
 */
export function broadcast(
  // deno-lint-ignore no-explicit-any
  to: Iterable<PeerConnection<any>>,
  frame: Payload,
): void {
  const frames = new Map<Framing, Uint8Array>();
  const all = Array.from(to, (peer) => {
    const serving = servingOf(peer as Peer);
    const { framing, context: { config: { maxReply } } } = serving;
    if (!frames.has(framing)) {
      const codec = framing.codec(maxReply);
      const payload = payloadOf(frame, codec, maxReply);
      frames.set(framing, frameOf(codec, payload));
    }
    return serving;
  });
  for (const { writer, framing } of all) writer.push(frames.get(framing)!);
}
