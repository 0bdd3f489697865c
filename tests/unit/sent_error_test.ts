import { assert, assertEquals } from "../support/std.ts";

import {
  ConnectError,
  FrameError,
  OptionError,
  ParleyError,
  ProxyHeaderError,
} from "../../lib/core/errors.ts";
import {
  deserializeError,
  serializeError,
} from "../../lib/threads/sent_error.ts";

/** Sends what was thrown as a message between threads does. */
function sent(thrown: unknown): unknown {
  return deserializeError(structuredClone(serializeError(thrown)));
}

Deno.test("an error of a class that both threads have keeps it", () => {
  const errors = [
    new ParleyError("one"),
    new FrameError("too_large", "length is 9, maximum is 8"),
    new ProxyHeaderError("it is blue"),
    new Deno.errors.AddrInUse("two"),
    new RangeError("three"),
    new Error("four"),
  ];
  for (const error of errors) {
    const again = sent(error) as Error;
    assertEquals(again.constructor, error.constructor);
    assertEquals(String(again), String(error));
    assertEquals(again.stack, error.stack);
    assert(Error.isError(again));
  }
});

Deno.test("an error keeps its own fields, and those that cause it", () => {
  const error = sent(new OptionError("port", -1, "a whole number")) as Error;
  assert(error instanceof OptionError);
  assertEquals([error.option, error.value], ["port", -1]);

  const refused = new Deno.errors.ConnectionRefused("nobody listens");
  const { cause } = sent(new ConnectError("x", { cause: refused })) as Error;
  assert(cause instanceof Deno.errors.ConnectionRefused);
  assertEquals(cause.message, "nobody listens");

  const circular = new Error("its own cause");
  circular.cause = circular;
  assertEquals((sent(circular) as Error).message, "its own cause");
});

Deno.test("an error of a class that one thread has keeps its name", () => {
  class QuotaError extends Error {
    override name = "QuotaError";
  }
  class TimeoutError extends Error {
    override get name() {
      return "TimeoutError";
    }
  }
  for (const thrown of [new QuotaError("no room"), new TimeoutError("late")]) {
    const error = sent(thrown) as Error;
    assertEquals(error.constructor, Error, "a namesake is another class");
    assertEquals(String(error), String(thrown));
  }
});

Deno.test("what is no error is sent as it is, or as its text", () => {
  for (const thrown of ["text", 5, undefined, null, { code: 7 }]) {
    assertEquals(sent(thrown), thrown);
  }
  const aborted = sent(new DOMException("late", "TimeoutError"));
  assert(aborted instanceof DOMException);
  assertEquals(aborted.name, "TimeoutError");

  const functions = { what: () => "cannot be sent" };
  assertEquals(String(sent(functions)), "Error: [object Object]");
  const bare = Object.assign(Object.create(null), functions);
  assertEquals(String(sent(bare)), "Error: an object that has no text");
  const hostile = Object.defineProperty(new Error("x"), "message", {
    get: () => {
      throw new Error("not to be looked at");
    },
  });
  assert(sent(hostile) instanceof Error);
});
