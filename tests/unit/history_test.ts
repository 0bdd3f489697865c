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
