/**
 * What a framing is: the contract that `line.ts`, `length.ts` and
 * `netstring.ts` keep.
 */

import { FrameError } from "../core/errors.ts";

/** One connection's frames. */
export interface Codec {
  /** Where the payload of the frame found last starts in the buffer. */
  payloadStart: number;
  /** Where it ends. */
  payloadEnd: number;

  /**
   * Looks for one whole frame.
   *
   * Call it with the same start until it has found the frame, however often
   * the buffer was moved or grown in between: only the distance from `start`
   * is remembered, so bytes looked at once are not looked at again.
   *
   * @param start Where the frame starts in it.
   * @param end Where the received bytes end.
   * @returns Where the next frame starts, with `payloadStart` and
   * `payloadEnd` set; or 0 when more bytes are needed.
   * @throws {FrameError} The bytes are malformed or over the limit. The stream
   * cannot be read on from there.
   */
  decode(bytes: Uint8Array, start: number, end: number): number;

  /** @throws {EncodeError} The payload cannot be sent in this framing. */
  check(payload: Uint8Array): void;

  /**
   * Writes what stands before a payload, at most
   * {@linkcode MAX_OVERHEAD} bytes.
   *
   * @returns Where the payload starts.
   */
  writeHeader(out: Uint8Array, at: number, length: number): number;

  /**
   * Writes what stands behind a payload. With `line` it is the ending of the
   * frame decoded last, so that a peer is answered in its own way.
   *
   * @returns Where the next frame starts.
   */
  writeTrailer(out: Uint8Array, at: number): number;
}

/** What makes the codecs of a framing. */
export interface Framing {
  /** The name, as `--framing` and `WHOAMI` have it. */
  readonly name: string;
  /** Makes the codec of one connection, for payloads of `maxFrame` bytes. */
  codec(maxFrame: number): Codec;
}

/** What a codec throws at a frame over its maximum. */
export function tooLarge(length: number | string, maximum: number): FrameError {
  const text = `length is ${length}, maximum is ${maximum}`;
  return new FrameError("too_large", text);
}

/** How many bytes a framing adds to a payload. */
export function overheadOf(framing: Framing, length: number): number {
  const codec = framing.codec(length);
  const out = new Uint8Array(MAX_OVERHEAD);
  return codec.writeTrailer(out, codec.writeHeader(out, 0, length));
}

/**
 * The most bytes a header and a trailer take together: a netstring's ten
 * digits, colon and comma.
 */
export const MAX_OVERHEAD = 12;
