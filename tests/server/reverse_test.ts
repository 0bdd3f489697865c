// `REVERSE` gives the same as `Intl.Segmenter` for any text, and holds the
// event loop up for none.

import { reverseBytes, reverseGraphemes } from "../../lib/handlers/reverse.ts";
import { connect } from "../../lib/mod.ts";
import { bytes, random } from "../support/fixtures.ts";
import { RunningServer, testPrograms } from "../support/programs.ts";
import { assert, assertEquals, fail } from "../support/std.ts";

const segmenter = new Intl.Segmenter();
// A BOM is a character like any other.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** What is right, straight from the runtime. */
function expected(text: string): string {
  return Array.from(segmenter.segment(text), ({ segment }) => segment)
    .reverse().join("");
}

async function reversed(text: string): Promise<string> {
  const quick = reverseBytes(bytes(text));
  return quick === undefined
    ? await reverseGraphemes(text)
    : decoder.decode(quick);
}

/** Characters that join others, each in a way of its own, and some that do not. */
const characters = [
  ..."ab \t\r\n\u00ad\u00e9\u02ffΩжб漢字각간",
  ..."\u0301\u0308\u200d\u200c\ufe0f\u20e3\u0903\u093f\u094d",
  ..."😀👨👩👧🏽❤🇫🇷🏴\u{e0067}\u{e007f}",
  ..."각가かกำक்\u0600\u{110bd}\ufeff\u2028",
];

Deno.test("REVERSE gives what Intl.Segmenter says, for any characters in any order", async () => {
  const next = random(11);
  for (let round = 0; round < 5000; round++) {
    // Few kinds in one text, so that those that are quick alone meet, too.
    const kinds = Array.from(
      { length: 1 + next() * 4 },
      () => characters[Math.floor(next() * characters.length)],
    );
    const text = Array.from(
      { length: next() * 12 },
      () => kinds[Math.floor(next() * kinds.length)],
    ).join("");
    assertEquals(await reversed(text), expected(text), JSON.stringify(text));
  }
});

Deno.test("REVERSE takes the quick way only for characters that stand alone", () => {
  const quick: string[] = [];
  for (let code = 0; code <= 0x10ffff; code++) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const character = String.fromCodePoint(code);
    if (reverseBytes(bytes(character)) !== undefined) quick.push(character);
  }
  assert(quick.length > 30_000, `${quick.length} characters only`);
  // Each beside the next, beside itself, and between two of each kind.
  const texts = [quick, quick.flatMap((character) => [character, character])];
  for (const kind of ["x", "\t", "\u02ff", "ж", "漢", "\ub000"]) {
    texts.push(quick.flatMap((character) => [character, kind]));
  }
  for (const text of texts) {
    let at = 0;
    for (const { segment } of segmenter.segment(text.join(""))) {
      if (segment !== text[at++]) fail(`${JSON.stringify(segment)} at ${at}`);
    }
    assertEquals(at, text.length);
  }
});

Deno.test("REVERSE lets the event loop go on where it has much to do", async () => {
  let turns = 0;
  let over = false;
  const turn = () => {
    turns++;
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  const text = "e\u0301".repeat(20_000);
  assertEquals(await reversed(text), text);
  over = true;
  assert(turns >= 10, `${turns} turns`);
});

testPrograms("server replies to REVERSE by grapheme", async (way) => {
  await using server = await RunningServer.start(way);
  await using client = await connect(server.addr);
  for (
    const text of [
      "noon, née",
      "Добрый день, 漢字 각",
      "a👨‍👩‍👧🇫🇷e\u0301 ".repeat(1500),
    ]
  ) {
    const reply = await client.request(`REVERSE ${text}`);
    assertEquals(decoder.decode(reply), expected(text));
  }
});
