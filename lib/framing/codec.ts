/** What a framing is: the contract that every one of them keeps. */

import { FrameError } from "../core/errors.ts";
import { encodeText } from "../core/text.ts";

/**
 * One connection's frames, both ways: extend it, and override what there is to
 * override. {@linkcode testCodec} tests the rules that stand here, and
 * `docs/framing.md` shows one with a checksum.
 */
export abstract class Codec {
  /** The most bytes of a frame beside its payload, both ways; up to 1024. */
  readonly overhead: number = 0;
  /**
   * Whether no frame begins as TLS does, with 0x15 or 0x16 and 3 (RFC 8446,
   * section 5.1): only then is a peer that begins so taken for one of TLS.
   */
  readonly startsUnlikeTls: boolean = false;
  /** Where the payload of the frame found last starts in the buffer. */
  payloadStart = 0;
  /** Where it ends. */
  payloadEnd = 0;

  /** Makes the codec of one connection, for payloads of `maxFrame` bytes. */
  constructor(readonly maxFrame: number) {}

  /**
   * Looks for one whole frame, and finds it as soon as its last byte is there.
   * What it says goes by the received bytes alone: not by how they were cut,
   * what is around them in the buffer, or what was written meanwhile.
   *
   * Call it with the same start until it has found the frame, however often
   * the buffer was moved or grown in between: only the distance from `start`
   * is remembered, so bytes looked at once are not looked at again.
   *
   * @param start Where the frame starts in it.
   * @param end Where the received bytes end.
   * @returns Where the next frame starts, with `payloadStart` and `payloadEnd`
   * set; or 0 while more bytes are needed: `maxFrame` and `overhead` are enough.
   * @throws {FrameError} The bytes are malformed or over the limit. The stream
   * cannot be read on from there.
   */
  abstract decode(bytes: Uint8Array, start: number, end: number): number;

  /**
   * Accepts what decodes to itself, and all that was decoded.
   *
   * @throws {EncodeError} The payload cannot be sent in this framing.
   */
  check(_payload: Uint8Array): void {}

  /** Writes what stands before a payload; gives where that starts. */
  writeHeader(_out: Uint8Array, at: number, _payload: Uint8Array): number {
    return at;
  }

  /**
   * Writes what stands behind a payload, such as its checksum; gives where the
   * next frame starts. With `line` it is the ending of the frame decoded last, so
   * that a peer is answered in its own way.
   */
  writeTrailer(_out: Uint8Array, at: number, _payload: Uint8Array): number {
    return at;
  }

  /**
   * Gives the payload that says a text of the server's own, such as `ERR busy:
   * …`. If it is nothing, or one that `check` refuses, the server says nothing
   * and closes the connection: the next reply would be taken for that one.
   */
  error(text: string): Uint8Array | string | undefined {
    return text;
  }
}

/** How requests and replies are told apart. */
export interface Framing {
  /** The name, as logs and `WHOAMI` have it. */
  readonly name: string;
  /** Makes the codec of one connection; throws if no payload is so small. */
  codec(maxFrame: number): Codec;
}

/** Throws what a codec does at a frame over its maximum, whole or not. */
export function tooLarge(maximum: number, length?: number | string): never {
  const got = length ?? `at least ${maximum + 1}`;
  throw new FrameError("too_large", `length is ${got}, maximum is ${maximum}`);
}

/** Throws what a codec does at bytes of another framing. */
export function malformed(text: string): never {
  throw new FrameError("malformed", text);
}

export function frameOf(codec: Codec, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const frame = new Uint8Array(length + codec.overhead);
  const at = codec.writeHeader(frame, 0, payload);
  frame.set(payload, at);
  return frame.subarray(0, codec.writeTrailer(frame, at + length, payload));
}

/** The payload of a text of the server's own, if there is one. */
export function errorOf(codec: Codec, text: string): Uint8Array | undefined {
  const said = codec.error(text);
  const payload = typeof said === "string" ? encodeText(said) : said;
  try {
    if (payload !== undefined) codec.check(payload);
    return payload;
  } catch {
    return undefined;
  }
}
