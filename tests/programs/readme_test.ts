// The README's ten lines, as a stranger tries them: in a folder of one's own,
// with the clone in `parley`.

import { assertEquals, assertStringIncludes } from "../support/std.ts";

import { Peer } from "../support/fixtures.ts";
import { Lines, ROOT, testWithTools } from "../support/programs.ts";

testWithTools("the README's ten lines serve from any folder", [], async () => {
  const readme = await Deno.readTextFile(`${ROOT}README.md`);
  const [, program, imports] =
    /^```ts ignore\n(.*?)^```\n\n```json\n(.*?)^```\n/ms.exec(readme) ?? [];
  assertEquals(program.trimEnd().split("\n").length, 10);
  // Its own port may be taken, and whoever asks must know where.
  const [port, free] = [
    "{ port: 7000 }",
    `{
      hostname: "127.0.0.1",
      port: 0,
      onListen: (addr) => console.log(JSON.stringify(addr)),
    }`,
  ];
  assertStringIncludes(program, port);

  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/deno.json`, imports);
    await Deno.writeTextFile(`${folder}/mine.ts`, program.replace(port, free));
    await Deno.mkdir(`${folder}/parley`);
    await copy(`${ROOT}deno.json`, `${folder}/parley/deno.json`);
    await copy(`${ROOT}lib`, `${folder}/parley/lib`);
    await using mine = start(folder);
    const addr = JSON.parse(await mine.lines.next());
    using peer = await Peer.to({ addr });
    assertEquals(await peer.ask("hi\n", "1: HI\n"), "1: HI\n");
    await peer.send("bye\n");
    assertEquals(await peer.rest(), "1: BYE\n");
    mine.child.kill("SIGTERM");
    assertEquals((await mine.child.status).code, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Runs the program as the README says. */
function start(cwd: string) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-net", "mine.ts"],
    cwd,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines = new Lines(child.stdout);
  return {
    child,
    lines,
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await child.status;
      await lines.cancel();
    },
  };
}

/** Copies a file, or a folder and all that is in it. */
async function copy(from: string, to: string): Promise<void> {
  if (!(await Deno.stat(from)).isDirectory) {
    return await Deno.copyFile(from, to);
  }
  await Deno.mkdir(to);
  for await (const { name } of Deno.readDir(from)) {
    await copy(`${from}/${name}`, `${to}/${name}`);
  }
}
