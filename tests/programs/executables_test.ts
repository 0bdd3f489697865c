// What is particular to the executables. All else they do is in cli_test.ts
// and terminal_test.ts, where they pass the same tests as `deno run`.

import config from "../../deno.json" with { type: "json" };
import { PROGRAMS } from "../../tools/compile.ts";
import {
  commandLine,
  RunningServer,
  testWithTools,
} from "../support/programs.ts";
import { assertEquals, assertMatch } from "../support/std.ts";

const EXECUTABLES = ["./server", "./client"];

for (const program of ["server", "client"] as const) {
  Deno.test(`${program} has the same permissions as a task and as an executable`, () => {
    const allowed = config.tasks[program].split(" ")
      .filter((word) => word.startsWith("--allow-"));
    assertEquals([...PROGRAMS[program]], allowed);
  });
}

testWithTools(
  "executables run alone, in any folder and without an environment",
  EXECUTABLES,
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      await using server = await RunningServer.start("executable");
      const [client] = commandLine("executable", "client");
      // Copied, for what they need must not be found beside them either.
      await Deno.copyFile(client, `${folder}/alone`);
      const place = `127.0.0.1:${server.addr.port}`;
      const { code, stdout, stderr } = await new Deno.Command(
        `${folder}/alone`,
        { args: [place, "PING"], cwd: folder, clearEnv: true, stdin: "null" },
      ).output();
      assertEquals([code, text(stdout), text(stderr)], [0, "PONG\n", ""]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

testWithTools(
  "server executable says no more than that its runtime is older",
  EXECUTABLES,
  async () => {
    await using server = await RunningServer.start("executable");
    server.kill("SIGTERM");
    const warnings: Record<string, unknown>[] = [];
    while (true) {
      const record = JSON.parse(await server.stderr.next());
      if (record.msg === "finished") break;
      if (record.level !== "info") warnings.push(record);
    }
    // One built on a runtime that can do it all has nothing to say.
    for (const { level, msg } of warnings) {
      assertEquals(level, "warn");
      assertMatch(String(msg), /^runtime [\d.]+ is older than /);
    }
    assertEquals(warnings.length <= 1, true, JSON.stringify(warnings));
    assertEquals(await server.code(), 0);
  },
);

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
