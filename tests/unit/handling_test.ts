/** What becomes of the errors of a handler. */

import { assertEquals } from "../support/std.ts";

import { InMemory, turns } from "../support/in_memory.ts";

Deno.test("an onError that fails is told of as well", async () => {
  for (const later of [false, true]) {
    await using running = new InMemory(() => {
      throw new Error("first");
    }, {
      onError: () => {
        const error = new Error("second");
        if (later) return Promise.reject(error);
        throw error;
      },
    });
    const transport = await running.connect();
    transport.push("a\n");
    await turns(3);
    transport.end();
    assertEquals(transport.text, "ERR internal error\n");
    assertEquals(
      running.events.of("handler_error").map(({ error }) => String(error)),
      ["Error: first", "Error: second"],
    );
  }
});
