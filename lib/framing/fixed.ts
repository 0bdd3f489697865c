/** Frames that all have the same length. */

import { EncodeError, OptionError } from "../core/errors.ts";
import { Codec, type Framing } from "./codec.ts";

/**
 * Frames of so many bytes each, at most `maxFrame` and `maxReply`. The server
 * has nothing to say an error with: it closes the connection.
 *
 * @throws {OptionError} It is no whole number from 1 to 2^30.
 *
 * @example
 * ```ts
 * import { fixed, testCodec } from "../mod.ts";
 *
 * testCodec(fixed(16), () => new Uint8Array(16));
 * ```
 */
export function fixed(bytes: number): Framing {
  const name = `fixed:${bytes}`;
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > 2 ** 30) {
    throw new OptionError("framing", name, "a whole number from 1 to 2^30");
  }

  class FixedCodec extends Codec {
    decode(_bytes: Uint8Array, start: number, end: number): number {
      if (start + bytes > end) return 0;
      this.payloadStart = start;
      return this.payloadEnd = start + bytes;
    }

    override check({ length }: Uint8Array): void {
      if (length === bytes) return;
      throw new EncodeError(
        `Cannot send ${length} bytes: a frame has ${bytes}`,
      );
    }

    override error(): undefined {}
  }
  return {
    name,
    codec(maxFrame) {
      if (bytes <= maxFrame) return new FixedCodec(maxFrame);
      const expected = `frames of at most ${maxFrame} bytes, the maximum`;
      throw new OptionError("framing", name, expected);
    },
  };
}
