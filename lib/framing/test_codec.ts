/** {@linkcode testCodec}: whether a framing keeps the rules of {@linkcode Codec}. */

import { EncodeError, FrameError, ParleyError } from "../core/errors.ts";
import { quote } from "../core/text.ts";
import { type Codec, errorOf, type Framing } from "./codec.ts";
import { type FramingName, framingOf } from "./mod.ts";

/** How many bytes of memory around a frame are none of its own. */
const MARGIN = 8;

/** What must not matter; each is tried on top of those before it. */
const NO_MATTER = [
  "how bytes are cut, and how often they are looked at",
  "where in memory they are, and what is around them",
  "what is written meanwhile, and what other codecs do",
];

/**
 * Tests a framing by the rules of {@linkcode Codec}: with hundreds of streams of
 * frames, whole and broken, in every cut. It takes a second.
 *
 * @param payload Makes a payload by numbers from 0 to 1 that look random; any
 * bytes are tried without it. What `check` refuses is left out.
 * @throws {ParleyError} A rule is broken; the message says which.
 *
 * @example
 * ```ts
 * import { testCodec } from "@parley/parley/testing";
 *
 * testCodec("netstring");
 * ```
 */
export function testCodec(
  given: FramingName | Framing,
  payload?: (random: () => number) => Uint8Array,
): void {
  const framing = framingOf(given);
  const encoder = framing.codec(2 ** 30);
  const { overhead } = encoder;
  /** Bytes that are likely to be the framing's own. */
  const own = [0, 255];
  let seed = 1;
  // Lehmer's generator, as `minstd_rand` of C++ has it.
  const random = () => (seed = seed * 48271 % 0x7fffffff) / 0x7fffffff;
  const upTo = (most: number) => Math.floor(random() * (most + 1));
  const anyByte = () => upTo(1) ? upTo(255) : own[upTo(own.length - 1)];
  const anyBytes = (length: number) => Uint8Array.from({ length }, anyByte);
  payload ??= () => anyBytes(upTo(9) ? upTo(20) : upTo(300));

  const rule = (holds: boolean, text: string) => {
    const what = `Framing ${quote(framing.name)} breaks a rule: ${text}`;
    if (!holds) throw new ParleyError(what);
  };
  /** What comes of an act, or the message of the error that it may throw. */
  const attempt = <T>(Kind: NewableFunction, act: string, of: () => T) => {
    try {
      return of();
    } catch (error) {
      rule(error instanceof Kind, `${act} threw ${error}`);
      return (error as Error).message;
    }
  };
  const accepts = (codec: Codec, payload: Uint8Array) =>
    !attempt(EncodeError, "check", () => codec.check(payload));
  const encode = (codec: Codec, payload: Uint8Array) => {
    const before = String(payload);
    const end = MARGIN + payload.length + overhead;
    const out = new Uint8Array(end + 64);
    const start = codec.writeHeader(out, MARGIN, payload);
    out.set(payload, start);
    const behind = start + payload.length;
    const next = codec.writeTrailer(out, behind, payload);
    const frame = out.slice(MARGIN, next);
    own.push(...out.subarray(MARGIN, start), ...out.subarray(behind, next));
    const kept = next <= end && !out.fill(0, MARGIN, end).some(Boolean);
    rule(kept, `only overhead, ${overhead} bytes, is written`);
    rule(String(payload) === before, "a payload is not changed");
    return frame;
  };
  let sample: Uint8Array = new Uint8Array();
  let half = sample;
  let largest = 1;
  /** What comes of bytes, all at once or cut almost everywhere. */
  const decode = (bytes: Uint8Array, matter = -1, maxFrame = largest) => {
    const codec = framing.codec(maxFrame);
    const { length } = bytes;
    let memory = new Uint8Array(length);
    let found = "";
    let end = matter < 0 ? length : 1;
    for (let start = 0; start < length;) {
      const at = matter < 1 ? start : upTo(MARGIN);
      const there = at + end - start;
      if (matter > 0) memory = anyBytes(there + MARGIN);
      if (upTo(matter) > 0) memory.set(bytes.slice(end, end + MARGIN), there);
      memory.set(bytes.subarray(start, end), at);
      if (matter > 1) encode(codec, sample);
      if (matter > 1) framing.codec(largest).decode(half, 0, half.length);
      const look = () => codec.decode(memory, at, there);
      const next = attempt(FrameError, "decode", () => look() || look());
      if (typeof next === "string") return `${found} ${next}`;
      const full = next === 0 && end - start >= maxFrame + overhead;
      rule(!full, "maxFrame and overhead bytes are a frame, or refused");
      if (next !== 0) {
        const { payloadStart, payloadEnd } = codec;
        const places = [at, payloadStart, payloadEnd, next, there];
        const inOrder = places.every((place, i) => !(place < places[i - 1]));
        rule(inOrder && next > at, "a frame lies between start and end");
        const payload = memory.slice(payloadStart, payloadEnd);
        rule(payload.length <= maxFrame, "no payload is over maxFrame");
        rule(accepts(codec, payload), "check accepts what was decoded");
        found += `[${payload}]`;
        start += next - at;
      } else if (end === length) break;
      end = Math.min(end + 1 + upTo(length >> 6), length);
    }
    return found;
  };

  rule(overhead <= 1024, "overhead is 1024 bytes at most");
  const error = errorOf(encoder, "ERR busy: try later");
  let tried = 0;
  for (let i = 0; i < 100; i++) {
    const payloads = Array.from({ length: 1 + upTo(3) }, () => payload(random))
      .filter((payload) => accepts(encoder, payload));
    tried += payloads.length;
    if (error !== undefined) payloads.push(error);
    if (payloads.length === 0) continue;
    sample = payloads[0];
    const frames = payloads.map((payload) => encode(encoder, payload));
    half = frames[0].slice(0, -1);
    largest = Math.max(1, ...payloads.map(({ length }) => length));
    const stream = Uint8Array.from(frames.flatMap((frame) => [...frame]));
    const sent = payloads.map((payload) => `[${payload}]`).join("");
    const whole = decode(stream);
    const what = `sent ${quote(sent)}, got ${quote(whole)}`;
    rule(whole === sent, `what check accepts decodes to itself: ${what}`);
    for (const [matter, what] of NO_MATTER.entries()) {
      rule(decode(stream, matter) === whole, `it does not matter ${what}`);
    }
    const broken = stream.map((byte) => upTo(9) ? byte : anyByte());
    const others = new Uint8Array(2 * largest).map(() => upTo(255));
    for (const bytes of [broken, others, anyBytes(1 + upTo(60))]) {
      const same = decode(bytes) === decode(bytes, 0);
      rule(same, `of broken frames it does not matter either ${NO_MATTER[0]}`);
    }
    const less = largest - 1;
    // A framing may have no frames that are so small.
    const small = attempt(ParleyError, "codec", () => framing.codec(less));
    const refused = less === 0 || typeof small === "string" ||
      decode(stream, -1, less).includes("frame too large");
    rule(refused, "a payload over maxFrame is refused as too_large");
  }
  rule(tried > 0, "check accepts a payload, if need be one of your making");
}
