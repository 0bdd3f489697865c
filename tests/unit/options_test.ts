// Options whose names nobody knows are refused: they would be ignored in silence.

import { serveAdmin } from "../../lib/admin/mod.ts";
import { connect, echo, OptionError, serve } from "../../lib/mod.ts";
import { serveThreads } from "../../lib/threads/mod.ts";
import { assertRejects, assertThrows } from "../support/std.ts";

const wrong = { port: 0, maxFrames: 1 };
const WORDS = "Cannot use maxFrames 1: expected no such option, but one of ";

Deno.test("serve refuses an option that it does not have", () => {
  assertThrows(() => serve(wrong, echo), OptionError, WORDS);
});

Deno.test("serveThreads refuses an option that it does not have", async () => {
  const options = { ...wrong, worker: new URL("file:///none") };
  await assertRejects(() => serveThreads(options), OptionError, WORDS);
});

Deno.test("serveAdmin refuses an option that it does not have", () => {
  assertThrows(() => serveAdmin(wrong), OptionError, WORDS);
});

Deno.test("connect refuses an option that it does not have", async () => {
  await assertRejects(() => connect(wrong), OptionError, WORDS);
});
