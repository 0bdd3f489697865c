// What the client sends and prints to the byte: `-x`, `--hex`, `--no-newline`,
// `--json` and `--listen`.

import { echo, type Handler, serve } from "../../lib/mod.ts";
import { listen, runBatch } from "../../lib/cli/client/batch.ts";
import { bytes, Peer, text, turnOfLoop } from "../support/fixtures.ts";
import { run, Running, shareOf, testPrograms } from "../support/programs.ts";
import { assertEquals, assertLessOrEqual } from "../support/std.ts";
import type { Client } from "../../lib/client/api.ts";

function serveHere(handler: Handler = echo) {
  const server = serve({
    hostname: "127.0.0.1",
    port: 0,
    framing: "length",
  }, handler);
  const { port } = server.addr as Deno.NetAddr;
  const args = ["--framing", "length", `127.0.0.1:${port}`];
  return { args, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

testPrograms("client -x sends standard input as one request", async (way) => {
  await using server = serveHere();
  const stdin = new Uint8Array([0, 10, 255, 13, 10]);
  for (
    const [args, begin] of [[[], ""], [["SET a"], "534554206120"]] as const
  ) {
    const all = ["-x", "--hex", ...server.args, ...args];
    const result = await run(way, "client", all, { stdin });
    const stdout = `${begin}000aff0d0a\n`;
    assertEquals(result, { code: 0, stdout, stderr: "" });
  }
});

testPrograms("client -x sends nothing and much, and no more", async (way) => {
  await using server = serveHere((request) => `${request.length}`);
  for (const size of [0, 50_000, 50_001]) {
    const args = ["-x", "--max-frame=50000", ...server.args];
    const stdin = "x".repeat(size);
    const { code, stdout, stderr } = await run(way, "client", args, { stdin });
    const fits = size <= 50_000;
    assertEquals([code, stdout, stderr], [
      fits ? 0 : 1,
      fits ? `${size}\n` : "",
      fits ? "" : "client: standard input is longer than 50000 bytes, " +
        "the maximum (--max-frame sets it)\n",
    ]);
  }
});

testPrograms("client --no-newline prints replies to the byte", async (way) => {
  await using server = serveHere();
  const args = ["--no-newline", ...server.args, "a", "b\n"];
  const result = await run(way, "client", args);
  assertEquals(result, { code: 0, stdout: "ab\n", stderr: "" });
});

testPrograms(
  "client --json has bytes that are no text in base64",
  async (way) => {
    await using server = serveHere(() =>
      new Uint8Array([0xef, 0xbb, 0xbf, 0xff])
    );
    const args = ["--json", "-x", ...server.args];
    const stdin = new Uint8Array([0xc3]);
    const { code, stdout } = await run(way, "client", args, { stdin });
    const { ms: _, ...object } = JSON.parse(stdout);
    assertEquals([code, object], [0, {
      request_base64: "ww==",
      reply_base64: "77u//w==",
    }]);
  },
);

testPrograms("client --listen prints frames in a pipe", async (way) => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const place = `127.0.0.1:${listener.addr.port}`;
  for (
    const [flag, ...lines] of [
      ["--hex", "6f6e65", "ff"],
      ["--json", '{"frame":"one"}', '{"frame_base64":"/w=="}'],
    ]
  ) {
    const args = ["--listen", flag, place, "SUB a", "SUB b"];
    await using client = new Running(way, "client", args);
    using peer = new Peer(await listener.accept());
    assertEquals(await peer.receive(12), "SUB a\nSUB b\n");
    await peer.send("one\n");
    // At once, and not only at the end.
    assertEquals(await client.stdout.next(), lines[0]);
    await peer.send(new Uint8Array([0xff, 10]));
    await peer.finish();
    assertEquals(await client.stdout.next(), lines[1]);
    assertEquals(
      await client.stderr.next(),
      `client: Connection closed by ${place}`,
    );
    assertEquals(await client.code(), 1);
  }
});

testPrograms(
  "client refuses flags of one frame that contradict",
  async (way) => {
    for (
      const [args, said] of shareOf(way, [
        ["--json --hex x", "--json and --hex"],
        ["--json --no-newline x", "--json and --no-newline"],
        ["--listen -x x", "--listen and -x"],
        ["--listen -r 2 x y", "-r and --listen"],
        ["--listen --retry 2 x y", "--retry and --listen"],
        ["-x x a b", "2 requests are given, expected at most one\n"],
      ])
    ) {
      const result = await run(way, "client", args.split(" "), { stdin: "" });
      assertEquals([result.code, result.stdout], [2, ""]);
      assertEquals(result.stderr.startsWith(`client: ${said}`), true);
    }
  },
);

/** A client whose replies come when the test says. */
function slowClient() {
  const replies: PromiseWithResolvers<Uint8Array<ArrayBuffer>>[] = [];
  const request = () => {
    replies.push(Promise.withResolvers());
    return replies.at(-1)!.promise;
  };
  return { replies, client: { request } as unknown as Client };
}

/** Takes all that is printed. */
function output() {
  const taken = { text: "", write: (_: Uint8Array) => Promise.resolve(0) };
  taken.write = (chunk) => {
    taken.text += text(chunk);
    return Promise.resolve(chunk.length);
  };
  return taken;
}

Deno.test("runBatch() takes the time when the reply comes", async () => {
  const { replies, client } = slowClient();
  const printed = output();
  const requests = ReadableStream.from([bytes("a"), bytes("b")]);
  const form = { json: true, hex: false, newline: true, terminal: false };
  const done = runBatch(client, requests, printed, form);
  while (replies.length < 2) await turnOfLoop();
  replies[1].resolve(bytes("B"));
  await turnOfLoop();
  const before = performance.now();
  while (performance.now() < before + 20) await turnOfLoop();
  replies[0].resolve(bytes("A"));
  assertEquals((await done).replied, 2);
  // The second one was there long before it could be printed.
  const [a, b] = printed.text.trimEnd().split("\n").map((line) =>
    JSON.parse(line)
  );
  assertEquals([a.reply, b.reply], ["A", "B"]);
  assertLessOrEqual(b.ms + 15, a.ms);
});

Deno.test("listen() prints what comes, and says what ended it", async () => {
  const lost = new Error("lost");
  const sent: string[] = [];
  const client = {
    send: (data: string) => Promise.resolve(void sent.push(data)),
    pushes: ReadableStream.from([bytes("ERR no"), bytes("yes")]),
    closed: Promise.resolve(lost),
  };
  const printed = output();
  const form = { json: false, hex: false, newline: false, terminal: true };
  const result = await listen(
    client as unknown as Client,
    ["a", "b"],
    printed,
    form,
  );
  assertEquals([sent, printed.text], [["a", "b"], "ERR noyes"]);
  assertEquals([result.replied, result.failure], [2, lost]);
});
