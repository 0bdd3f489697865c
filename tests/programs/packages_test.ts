// What is fetched before a program runs for the first time: Deno fetches every
// package of a lock file, whether the program imports it or not.

import { assert, assertEquals, assertMatch } from "../support/std.ts";

import config from "../../deno.json" with { type: "json" };
import { ROOT, runCommand, testWithTools } from "../support/programs.ts";

/** What `deno info --json` says of a module. */
interface Graph {
  modules: { npmPackage?: string }[];
  npmPackages: Record<string, { dependencies: string[] }>;
}

testWithTools(
  "deno task fetches no package that only tests need",
  [],
  async () => {
    // It fetches the packages of the lock file that deno.json names, and those of
    // its imports, whichever task is asked for.
    assertEquals(config.lock, false);
    const locks = await Promise.all(
      ["server", "client"].map((name) =>
        Deno.readTextFile(`${ROOT}tools/${name}.lock`)
      ),
    );
    const needed = locks.flatMap((lock) => Object.keys(JSON.parse(lock).npm));
    for (const specifier of Object.values(config.imports)) {
      const [, name] = /^npm:(@?[^@]+@[^/]+)/.exec(specifier) ?? [];
      assert(needed.includes(name), `${specifier} is in no lock file`);
    }
  },
);

for (const program of ["server", "client"] as const) {
  const lock = `tools/${program}.lock`;
  const commands = config.tasks[program].split(" && ")
    .map((command) => command.split(" "));

  Deno.test(`deno task ${program} goes by the lock file of its own`, () => {
    for (const words of commands) {
      assertEquals(
        words.filter((word) => /^--(lock|frozen)/.test(word)),
        [`--lock=${lock}`, "--frozen"],
      );
    }
  });

  testWithTools(
    `${lock} has the packages that ${program} imports, and no other`,
    [],
    async () => {
      const { code, stdout, stderr } = await runCommand([
        Deno.execPath(),
        ...["info", "--json", `${program}.ts`],
      ]);
      assertEquals(code, 0, stderr);
      const { modules, npmPackages }: Graph = JSON.parse(stdout);
      const imported = new Set(modules.flatMap((m) => m.npmPackage ?? []));
      // A set gives what is added to it on the way as well.
      for (const name of imported) {
        for (const other of npmPackages[name].dependencies) imported.add(other);
      }
      const { npm } = JSON.parse(await Deno.readTextFile(ROOT + lock));
      assertEquals(Object.keys(npm).sort(), [...imported].sort());
    },
  );
}

Deno.test("deno task server fills the cache, and then does without", () => {
  const [fills, runs, ...more] = config.tasks.server.split(" && ");
  assertMatch(fills, /^deno cache .* server\.ts$/);
  assertMatch(runs, /^deno run .*--cached-only .* server\.ts$/);
  assertEquals(more, []);
});

Deno.test("the other tasks go by the lock file of the whole tree", () => {
  const { compile: _, server: _s, client: _c, ...tasks } = config.tasks;
  for (const [name, task] of Object.entries(tasks)) {
    for (const command of task.split(" && ")) {
      if (!/^deno (run|test|check) /.test(command)) continue;
      assertMatch(command, /--lock=deno\.lock --frozen\b/, name);
    }
  }
});

testWithTools(
  "the library by itself loads no page and no package",
  [],
  async () => {
    for (const entry of [".", "./testing"] as const) {
      const { code, stdout, stderr } = await runCommand([
        Deno.execPath(),
        ...["info", "--json", config.exports[entry]],
      ]);
      assertEquals(code, 0, stderr);
      const graph: { modules: { specifier: string }[] } = JSON.parse(stdout);
      const others = graph.modules.map(({ specifier }) => specifier).filter(
        (specifier) =>
          /^npm:|\/lib\/(admin|cli|observe|threads)\//.test(specifier),
      );
      assertEquals(others, [], `${entry} loads them`);
    }
  },
);
