// What `deno task fuzz:wire` plays for ten minutes, for as long as every run of
// the tests has the time for; and that it would find what is wrong.

import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "../support/std.ts";

import { commands, echo, type Handler } from "../../lib/mod.ts";
import { serveTest } from "../support/fixtures.ts";
import {
  IN_CI,
  runCommand,
  testPrograms,
  testWithTools,
} from "../support/programs.ts";
import { fuzz, program } from "./wire_fuzz.ts";
import { Difference, play, type Script } from "./wire_play.ts";
import { settings } from "./wire_scripts.ts";
import type { Setting } from "./wire_sent.ts";

/** Each run of the gate on a clean machine has more time. */
const SECONDS = IN_CI ? 15 : 5;

testPrograms(
  "server answers as the model says, whatever clients do",
  async (way) => {
    const only = settings.map(({ name }) => name);
    const plan = { way, seconds: SECONDS, seed: 20261128, only };
    const { figures, failure } = await fuzz(plan);
    assert(failure === undefined, failure && program(failure));
    assertEquals(figures.map(({ name }) => name), only);
    for (const { scripts } of figures) assertGreaterOrEqual(scripts, 1);
  },
);

const script: Script = {
  copies: 2,
  piece: 16_384,
  talks: [
    { header: "", plain: false, requests: [["echo", 40], ["much", 600]] },
    { header: "", plain: false, requests: [["ping", 0], ["malformed", 1]] },
  ],
  steps: [
    { at: 0, act: "send", count: 30 },
    { at: 1, act: "send", count: 1000 },
    { at: 0, act: "send", count: 100_000 },
    { at: 0, act: "sync", count: 0 },
  ],
};

testWithTools(
  "fuzz:wire prints a program that repeats a script",
  [],
  async () => {
    const failure = {
      setting: "netstring",
      seed: 1,
      after: 2,
      why: "x",
      script,
    };
    const code = program({ ...failure, again: 3 });
    assertStringIncludes(code, "netstring, seed 1, after 2.0 s: x");
    const flags = ["--lock=deno.lock", "--frozen", "--allow-all"];
    const { stdout, stderr } = await runCommand(
      [Deno.execPath(), "run", ...flags, "-"],
      { stdin: code },
    );
    assertEquals([stdout, stderr], ["no difference in 10 times\n", ""]);
  },
);

/** Handlers, by what is wrong with them. */
const wrong: Record<string, [handler: Handler, why: RegExp]> = {
  "a byte is lost": [
    (request, info) => {
      const reply = commands(request, info);
      return reply instanceof Uint8Array ? reply.subarray(0, -1) : reply;
    },
    /^client t0c\d: at byte 0 of 12051 expected "40:/,
  ],
  "a reply is lost": [
    (request, info) => request[0] === 83 ? undefined : commands(request, info),
    /^client t0c\d: all that is due did not come/,
  ],
  "a reply is another": [echo, /^client t0c\d: at byte 1 of 12051 expected /],
  "the connection is closed": [
    (request, info) => {
      info.close();
      return commands(request, info);
    },
    /^client t0c\d: at byte 44 of 12051 expected .*, got the end of 44$/,
  ],
};

for (const [what, [handler, why]] of Object.entries(wrong)) {
  Deno.test(`fuzz:wire finds that ${what}`, async () => {
    const setting: Setting = {
      ...settings.find(({ name }) => name === "netstring")!,
      maxFrame: 1000,
    };
    await using running = serveTest(handler, { framing: "netstring" });
    const target = {
      setting,
      port: (running.addr as Deno.NetAddr).port,
      ids: new Set<string>(),
      freeze() {},
      atRest: () => Promise.resolve(),
    };
    const { message } = await assertRejects(
      () => play(target, script, 300),
      Difference,
    );
    assertMatch(message, why);
  });
}
