/**
 * Tools and libraries that nobody here wrote talk to Parley, as they come.
 *
 * A test is ignored where its peer is not installed, except where `CI` is set:
 * there it fails, so that no peer is lost in silence.
 *
 * @module
 */

import {
  commands,
  connect,
  type ConnectionCloseEvent,
  echo,
  type FramingName,
  type Handler,
  serve,
} from "../../lib/mod.ts";
import type { Acceptor } from "../../lib/net/listen.ts";
import { startServer } from "../../lib/server/serve.ts";
import { isInstalled } from "../support/packages.ts";
import { isAllowed, leaveOut, testAllowed } from "../support/permissions.ts";
import {
  assertEquals,
  TextLineStream,
  toBytes,
  toText,
} from "../support/std.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A program, and the package that it is of. */
const peers = {
  nc: { program: "nc", debian: "netcat-openbsd" },
  ncat: { program: "ncat", debian: "ncat" },
  socat: { program: "socat", debian: "socat" },
  telnet: { program: "telnet", debian: "telnet" },
  erlang: { program: "escript", debian: "erlang-base" },
  twisted: { program: "/usr/bin/python3", debian: "python3-twisted" },
};

type Peer = keyof typeof peers;

// A peer that hangs must end, and a timer of ours would be a leak. A healthy
// peer takes about a second.
const GUARD = "timeout";
const GUARD_SECONDS = "60";

const mayRun = isAllowed(["run"]);
const strict = isAllowed(["env"]) && Boolean(Deno.env.get("CI"));
const here = new Map(
  Object.entries(peers).map(([peer, { debian }]) => [
    peer,
    mayRun && isInstalled(debian),
  ]),
);

/** Registers a test with a peer. */
function testPeer(
  peer: Peer,
  behaviour: string,
  fn: () => Promise<void>,
): void {
  if (Deno.build.os !== "linux") return leaveOut("Linux");
  const name = `${peer} ${behaviour}`;
  const isThere = here.get(peer) || !mayRun;
  const needs = isThere ? "" : ` (needs ${peers[peer].debian})`;
  testAllowed(name + needs, ["run"], fn, !isThere && !strict);
}

function spawn(peer: Peer, args: string[]): Deno.ChildProcess {
  const { program, debian } = peers[peer];
  if (!here.get(peer)) {
    throw new Error(`Cannot run ${peer}: expected Debian's ${debian}`);
  }
  return new Deno.Command(GUARD, {
    args: [GUARD_SECONDS, program, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/**
 * Runs a peer to its end.
 *
 * @param peer The peer.
 * @param args Its arguments.
 * @param input What it reads, up to the end of its input.
 * @returns What it has written.
 */
async function run(
  peer: Peer,
  args: string[],
  input: BlobPart,
): Promise<Bytes> {
  await using child = spawn(peer, args);
  // A peer that ends early leaves some of its input, as it may.
  const feeding = new Blob([input]).stream().pipeTo(child.stdin)
    .catch(() => {});
  const [output, stderr, { code }] = await Promise.all([
    toBytes(child.stdout),
    toText(child.stderr),
    child.status,
    feeding,
  ]);
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  return output;
}

/** A server for one connection, whose end can be awaited. */
function listen(framing: FramingName, handler: Handler) {
  const { promise, resolve } = Promise.withResolvers<ConnectionCloseEvent>();
  const server = serve({
    hostname: "127.0.0.1",
    port: 0,
    framing,
    events: { connection_close: resolve },
  }, handler);
  return {
    port: String((server.addr as Deno.NetAddr).port),
    closed: promise,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** A listener that tells when a peer has half-closed, which no event does. */
function watch(halfClosed: () => void): Acceptor {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return {
    addr: listener.addr,
    close: () => listener.close(),
    async accept() {
      const conn = await listener.accept();
      const read = conn.read.bind(conn);
      conn.read = async (buffer) => {
        const n = await read(buffer);
        if (n === null) halfClosed();
        return n;
      };
      return conn;
    },
  };
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function bytes(...parts: (string | Uint8Array | number[])[]): Bytes {
  return Uint8Array.from(
    parts.flatMap((part) =>
      Array.from(typeof part === "string" ? encoder.encode(part) : part)
    ),
  );
}

/** The default of `maxFrame`. */
const MAX_FRAME = 64 * 1024;

/** Payloads that any framing carries, the largest of so many bytes. */
function texts(largest: number): Bytes[] {
  return [
    bytes("first"),
    bytes(),
    bytes("naïve 🦕 \0 \x1b \x7f", [0xff, 0xf4, 0xc3, 0x28], "a lone\rCR"),
    bytes("x".repeat(largest)),
    bytes("last"),
  ];
}

/** Those, and some that a line cannot carry. */
function blobs(largest: number): Bytes[] {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  return [bytes("\n"), bytes("\r\n"), all, ...texts(largest)];
}

// nc, ncat and socat take bytes and give bytes. Each half-closes after its
// input, and must still get every reply.

const pipes = {
  nc: (port: string) => ["-N", "127.0.0.1", port],
  ncat: (port: string) => ["127.0.0.1", port],
  // Without -t it waits half a second for replies after its input, no longer.
  socat: (port: string) => ["-t60", "-", `TCP4:127.0.0.1:${port}`],
};

// Written out here, so that a codec cannot agree with its own mistake.
const streams = {
  line() {
    const endings = ["\n", "\r\n"];
    return bytes(
      ...texts(MAX_FRAME).flatMap((text, i) => [text, endings[i % 2]]),
    );
  },
  length() {
    const header = (n: number) => [0, n >> 16, n >> 8, n];
    return bytes(
      ...blobs(MAX_FRAME).flatMap((blob) => [header(blob.length), blob]),
    );
  },
  netstring() {
    return bytes(
      ...blobs(MAX_FRAME).flatMap((blob) => [`${blob.length}:`, blob, ","]),
    );
  },
  varint() {
    const header = (n: number) =>
      n < 128
        ? [n]
        : n < 2 ** 14
        ? [n | 128, n >> 7]
        : [n | 128, (n >> 7) | 128, n >> 14];
    return bytes(
      ...blobs(MAX_FRAME).flatMap((blob) => [header(blob.length), blob]),
    );
  },
  "delimiter:\0": () =>
    bytes(...texts(MAX_FRAME).flatMap((text) => [text, "\0"])),
  "fixed:16": () =>
    bytes(...Array.from({ length: 100 }, (_, i) => `${i}`.padEnd(16))),
} satisfies Partial<Record<FramingName, () => Bytes>>;

for (const peer of ["nc", "ncat", "socat"] as const) {
  const pipe = pipes[peer];

  for (const [framing, make] of Object.entries(streams)) {
    testPeer(peer, `gets back each ${framing} frame`, async () => {
      await using server = listen(framing as FramingName, echo);
      const stream = make();
      const output = await run(peer, pipe(server.port), stream);
      assertEquals(output, stream);
      const { reason, received } = await server.closed;
      assertEquals(reason, "peer_closed");
      assertEquals(received, stream.length);
    });
  }

  testPeer(peer, "gets its replies in order", async () => {
    await using server = listen("line", commands);
    const input =
      "PING\r\nupper straße\nREVERSE noon, née\n\nNOPE\nSIZE 3\nQUIT\n";
    const output = await run(peer, pipe(server.port), input);
    assertEquals(
      decoder.decode(output),
      "PONG\r\nSTRASSE\neén ,noon\nERR empty request\n" +
        'ERR unknown command: "NOPE" (try HELP)\nxxx\nBYE\n',
    );
    const { reason, requests } = await server.closed;
    assertEquals(reason, "handler_closed");
    assertEquals(requests, 7);
  });

  testPeer(peer, "gets replies after its half-close", async () => {
    const { promise: halfClosed, resolve } = Promise.withResolvers<void>();
    const handler: Handler = (request) => halfClosed.then(() => request);
    const listen = () => watch(resolve);
    await using server = startServer({}, handler, { listen });
    const { port } = server.addr as Deno.NetAddr;
    const input = "one\ntwo\n";
    const output = await run(peer, pipe(String(port)), input);
    assertEquals(decoder.decode(output), input);
  });

  testPeer(peer, "is told of too large a line", async () => {
    await using server = listen("line", echo);
    // Far more than the server reads before it answers.
    const input = "fine\n" + "x".repeat(1024 * 1024);
    const output = await run(peer, pipe(server.port), input);
    assertEquals(
      decoder.decode(output),
      "fine\nERR frame too large: length is at least 65537, maximum is 65536\n",
    );
    assertEquals((await server.closed).reason, "frame_error");
  });
}

testPeer("nc", "-z leaves no request", async () => {
  await using server = listen("line", echo);
  await run("nc", ["-z", "127.0.0.1", server.port], "");
  const { requests, received } = await server.closed;
  assertEquals({ requests, received }, { requests: 0, received: 0 });
});

/**
 * Runs telnet until the server closes, and gives what it has shown. At the end
 * of its input telnet leaves without waiting for replies: it is left open.
 */
async function telnet(port: string, input: Bytes): Promise<string> {
  await using child = spawn("telnet", ["127.0.0.1", port]);
  const keyboard = child.stdin.getWriter();
  await keyboard.write(input);
  const [screen] = await Promise.all([
    toText(child.stdout),
    toText(child.stderr),
    child.status,
  ]);
  await keyboard.close().catch(() => {});
  return screen;
}

testPeer("telnet", "sends and gets CRLF", async () => {
  await using server = listen("line", commands);
  const large = "x".repeat(8000);
  const input = bytes(`PING\nECHO naïve 🦕\n\nECHO ${large}\nQUIT\n`);
  const screen = await telnet(server.port, input);
  const expected = `PONG\nnaïve 🦕\nERR empty request\n${large}\nBYE\n`;
  assertEquals(screen.slice(screen.indexOf("PONG")), expected);
  const { reason, received, sent } = await server.closed;
  assertEquals(reason, "handler_closed");
  // It makes LF into CRLF on the way out, and LF of that on the way in.
  assertEquals(received, input.length + 5);
  assertEquals(sent, bytes(expected).length + 5);
});

testPeer("telnet", "spoils one request by Ctrl-C", async () => {
  const heard: Bytes[] = [];
  await using server = listen("line", (request, info) => {
    heard.push(request.slice());
    return commands(request, info);
  });
  // Without a terminal it takes NUL for the key that interrupts, and sends what
  // Ctrl-C sends. From then on it shows nothing until it is told IAC WILL TM,
  // which no server of lines does: so we look from the other end.
  await telnet(server.port, bytes("\0PING\nPING\nQUIT\n"));
  const [IAC, IP, DO, TM] = [0xff, 0xf4, 0xfd, 0x06];
  const spoilt = bytes([IAC, IP, IAC, DO, TM], "PING");
  assertEquals(heard, [spoilt, bytes("PING"), bytes("QUIT")]);
  assertEquals((await server.closed).reason, "handler_closed");
});

// Erlang and Twisted do the framing themselves. A program in `interop/` gives
// them what to send, and shows what they receive, a line of hex each.

function program(file: string): string {
  return `${import.meta.dirname}/${file}`;
}

/** A client of the peer's asks our server. */
async function asks(
  peer: Peer,
  args: string[],
  framing: FramingName,
  payloads: Bytes[],
): Promise<void> {
  await using server = listen(framing, echo);
  const input = payloads.map((payload) => `${payload.toHex()}\n`).join("");
  const output = await run(peer, [...args, server.port], input);
  assertEquals(decoder.decode(output).toLowerCase(), input);
  const { reason, requests } = await server.closed;
  assertEquals(reason, "peer_closed");
  assertEquals(requests, payloads.length);
}

testPeer("erlang", "{packet,4} asks for length frames", () => {
  const args = [program("erlang_client.escript"), "4"];
  return asks("erlang", args, "length", blobs(MAX_FRAME));
});

testPeer("erlang", "{packet,line} asks for lines", () => {
  const args = [program("erlang_client.escript"), "line"];
  return asks("erlang", args, "line", texts(MAX_FRAME));
});

testPeer("twisted", "LineReceiver asks for lines", () => {
  const args = [program("twisted_client.py"), "line"];
  // It knows no end of a line but CRLF, and takes no more than this.
  return asks("twisted", args, "line", texts(16_384));
});

testPeer("twisted", "Int32StringReceiver asks for frames", () => {
  const args = [program("twisted_client.py"), "int32"];
  return asks("twisted", args, "length", blobs(MAX_FRAME));
});

testPeer("twisted", "NetstringReceiver asks for netstrings", () => {
  const args = [program("twisted_client.py"), "netstring"];
  return asks("twisted", args, "netstring", blobs(MAX_FRAME));
});

/** A server of the peer's answers our client. */
async function answers(
  peer: Peer,
  args: string[],
  framing: FramingName,
  payloads: Bytes[],
): Promise<void> {
  await using child = spawn(peer, args);
  const complaint = toText(child.stderr);
  const lines = child.stdout.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  const { value: port } = await lines.read();
  if (port === undefined) throw new Error(await complaint);
  {
    await using client = await connect({ port: Number(port), framing });
    const replies = await Promise.all(
      payloads.map((payload) => client.request(payload)),
    );
    assertEquals(replies, payloads);
  }
  // It serves one connection, so it ends with ours.
  const { code } = await child.status;
  assertEquals({ code, stderr: await complaint }, { code: 0, stderr: "" });
  await lines.read();
  await child.stdin.close();
}

testPeer("erlang", "{packet,4} answers length frames", () => {
  const args = [program("erlang_echo.escript"), "4"];
  return answers("erlang", args, "length", blobs(MAX_FRAME));
});

testPeer("erlang", "{packet,line} answers lines", () => {
  const args = [program("erlang_echo.escript"), "line"];
  return answers("erlang", args, "line", texts(MAX_FRAME));
});

testPeer("twisted", "Int32StringReceiver answers frames", () => {
  const args = [program("twisted_echo.py"), "int32"];
  return answers("twisted", args, "length", blobs(MAX_FRAME));
});

testPeer("twisted", "NetstringReceiver answers netstrings", () => {
  const args = [program("twisted_echo.py"), "netstring"];
  return answers("twisted", args, "netstring", blobs(MAX_FRAME));
});
