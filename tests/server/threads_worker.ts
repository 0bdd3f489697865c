/** What the threads of `threads_test.ts` run: commands, and ways to die. */

import { serveThread } from "../../lib/threads/mod.ts";

const text = new TextDecoder();

serveThread(async (request, info) => {
  switch (text.decode(request)) {
    case "DIE":
      setTimeout(() => {
        throw new Error("a bug far from its handler");
      }, 0);
      return await new Promise<never>(() => {});
    case "BLOCK":
      // Holds the thread up as a loop would, at no cost for the other tests.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000);
      return "";
    case "LEAVE":
      Deno.exit(0);
      break;
    case "THROW":
      throw { what: () => "cannot be sent to another thread" };
    case "THROW NOTHING":
      throw Object.assign(Object.create(null), { what: () => "no text" });
    case "WAIT":
      await new Promise((done) => info.signal.addEventListener("abort", done));
      return "";
    case "STATS": {
      const { connections, connectionsTotal, requests } = info.server;
      return `${connections} ${connectionsTotal} ${requests}`;
    }
    case "MAY CONNECT":
      return (await Deno.permissions.query({ name: "net" })).state;
    case "UPTIME":
      return info.server.uptime > 3_600_000 ? "more" : "less";
    case "FAIL":
      throw new Error("for onError");
    case "MAX REPLY":
      return `${info.maxReply}`;
    default:
      return `${info.id}`;
  }
}, {
  onError: (error) =>
    error instanceof Error && error.message === "for onError"
      ? "onError"
      : "ERR internal error",
});
