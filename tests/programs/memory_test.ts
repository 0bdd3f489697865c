/** What a process has resident once its connections have given memory back. */

import { assert, assertEquals } from "../support/std.ts";
import { runCommand, testWithTools } from "../support/programs.ts";

testWithTools(
  "large buffers that nobody uses any more go back to the system",
  [],
  async () => {
    const { code, stdout, stderr } = await runCommand([
      ...[Deno.execPath(), "run", "--no-lock", "--v8-flags=--expose-gc"],
      "tests/support/returned_memory.ts",
    ]);
    assertEquals([code, stderr], [0, ""]);
    // Of 600 MiB.
    assert(Number(stdout) < 150, `${stdout} MiB are left`);
  },
);
