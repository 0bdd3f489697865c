// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

import { assertEquals } from "../support/std.ts";
import fc from "npm:fast-check@4.3.0";

import { encodeText } from "../../lib/core/text.ts";

Deno.test("encodeText makes the bytes of each text, and they stay its own", () => {
  const encoder = new TextEncoder();
  const text = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.string({ unit: "binary", maxLength: 40 }),
    // Halves of characters are told by U+FFFD.
    fc.array(fc.nat(0xffff), { maxLength: 40 })
      .map((codes) => String.fromCharCode(...codes)),
    fc.constantFrom(31, 32, 33, 1023, 1024, 1025, 70_000).chain((length) =>
      fc.constantFrom("a", "é", "€", "\u{1f600}").map((c) =>
        c.repeat(length).slice(0, length)
      )
    ),
  );
  fc.assert(
    fc.property(fc.array(text, { maxLength: 200 }), (texts) => {
      const all = texts.map(encodeText);
      for (const [i, bytes] of all.entries()) {
        assertEquals(bytes, encoder.encode(texts[i]));
      }
    }),
    { seed: 20261126, numRuns: 200 },
  );
});
