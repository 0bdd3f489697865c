// What strangers send to a port: none of it is a crash, and each gets an answer
// that says what is wrong, or a close; the next client is served.

import { assert, assertEquals, assertMatch } from "../support/std.ts";

import { commands, type FramingName } from "../../lib/mod.ts";
import { Peer, random, serveTest } from "../support/fixtures.ts";

function hex(digits: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(digits.match(/../g)!, (pair) => parseInt(pair, 16));
}

function text(chars: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(chars);
}

const next = random(5);

/** What comes, by what it is. */
const garbage: Record<string, Uint8Array<ArrayBuffer>> = {
  "TLS hello": hex("1603010200010001fc0303" + "a5".repeat(505)),
  "HTTP request": text("GET / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"),
  "telnet's Ctrl-C": hex("fff4fffd06"),
  "SSH banner": text("SSH-2.0-OpenSSH_9.2\r\n"),
  "NUL bytes": new Uint8Array(1000),
  "invalid UTF-8": hex("c0afedb080f5808080ff0a"),
  "overlong line": new Uint8Array(100_000).fill(120),
  "line ends": text("\r\n".repeat(500)),
  "zero-length frames": text("0:,0:,0:,"),
  "length 2^31": hex("80000000"),
  "length 2^32-1": hex("ffffffff"),
  "huge netstring": text("9999999999:x"),
  "terminal codes": text("\x1b[2J\x1b]0;owned\x07\n"),
  "random bytes": Uint8Array.from({ length: 5000 }, () => next() * 256),
  "one byte": hex("00"),
  nothing: new Uint8Array(),
};

/** The replies in what a server has sent. */
function unframe(framing: FramingName, sent: Uint8Array): string[] {
  const replies: string[] = [];
  const decoder = new TextDecoder();
  for (let at = 0; at < sent.length;) {
    let end;
    if (framing === "line") {
      end = sent.indexOf(10, at);
      replies.push(decoder.decode(sent.subarray(at, end)).replace(/\r$/, ""));
      at = end + 1;
      continue;
    }
    if (framing === "length") {
      end = at + 4 + new DataView(sent.buffer, at).getUint32(0);
      replies.push(decoder.decode(sent.subarray(at + 4, end)));
      at = end;
      continue;
    }
    const colon = sent.indexOf(58, at);
    end = colon + 1 + Number(decoder.decode(sent.subarray(at, colon)));
    replies.push(decoder.decode(sent.subarray(colon + 1, end)));
    assertEquals(sent[end], 44);
    at = end + 1;
  }
  return replies;
}

for (const framing of ["line", "length", "netstring"] as const) {
  Deno.test(`serve answers garbage with ERR or a close over ${framing}`, async () => {
    await using running = serveTest(commands, { framing });
    const { port } = running.addr as Deno.NetAddr;
    for (const [what, bytes] of Object.entries(garbage)) {
      const conn = await Deno.connect({ hostname: "127.0.0.1", port });
      using peer = new Peer(conn);
      await peer.send(bytes);
      await peer.finish();
      const got: Uint8Array[] = [];
      for await (const chunk of conn.readable) got.push(chunk);
      const sent = new Uint8Array(
        await new Blob(got as BlobPart[]).arrayBuffer(),
      );
      const replies = unframe(framing, sent);
      if (bytes.length > 0) assert(replies.length > 0, `${what}: no answer`);
      for (const reply of replies) {
        // deno-lint-ignore no-control-regex
        assertMatch(reply, /^ERR [^\x00-\x1f\x7f]*$/, what);
      }
    }
    const errors = running.events.of("handler_error");
    assertEquals(errors, []);
    await running.events.next(
      "connection_close",
      Object.keys(garbage).length,
    );
    for (const reason of running.events.reasons) {
      assertMatch(reason, /^(peer_closed|frame_error)$/);
    }
    assertEquals(running.server.connections, 0);
  });
}
