import { assertEquals } from "../support/std.ts";

import { openHistory } from "../../lib/cli/client/history.ts";
import { testWithTools } from "../support/programs.ts";

testWithTools("History keeps the newest of many lines", [], async () => {
  const path = await Deno.makeTempFile();
  try {
    const all = Array.from({ length: 2001 }, (_, i) => `line ${i}`);
    await Deno.writeTextFile(path, all.join("\n") + "\n");
    const kept = all.slice(-1000);
    {
      using history = (await openHistory(path, () => {}))!;
      assertEquals(history.lines, kept.toReversed());
      history.add("one more");
    }
    const text = await Deno.readTextFile(path);
    assertEquals(text, [...kept, "one more", ""].join("\n"));
  } finally {
    await Deno.remove(path);
  }
});

testWithTools("History goes on behind a line that was cut", [], async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, "one\r\ntwo\r\ncut");
    {
      using history = (await openHistory(path, () => {}))!;
      assertEquals(history.lines, ["cut", "two", "one"]);
      history.add("three");
      history.add("four");
    }
    using again = (await openHistory(path, () => {}))!;
    assertEquals(again.lines, ["four", "three", "cut", "two", "one"]);
  } finally {
    await Deno.remove(path);
  }
});
