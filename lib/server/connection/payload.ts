/** What is given to be sent, as the bytes of one frame's payload. */

import { ReplyTooLargeError } from "../../core/errors.ts";
import { quote } from "../../core/text.ts";
import type { Codec } from "../../framing/codec.ts";
import type { Payload } from "../handler.ts";

const encoder = new TextEncoder();

/**
 * @throws {TypeError} It is neither bytes nor text.
 * @throws {ReplyTooLargeError} It is over the maximum.
 * @throws {EncodeError} The framing cannot carry it.
 */
export function payloadOf(
  given: Payload,
  codec: Codec,
  maxReply: number,
): Uint8Array {
  const payload = typeof given === "string" ? encoder.encode(given) : given;
  if (!(payload instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot send ${
        quote(payload)
      }: expected a Uint8Array, a string or nothing`,
    );
  }
  if (payload.length > maxReply) {
    throw new ReplyTooLargeError(payload.length, maxReply);
  }
  codec.check(payload);
  return payload;
}
