/*
 * Echo on Node's `net`, or its `tls`, with framing:
 * `node node_net.mjs line|length MAX_FRAME [CERT KEY]`, both files in PEM.
 *
 * Finds each frame, calls a handler with it, frames the reply, and sends the
 * replies to all frames of one chunk in one write. Stops reading while the peer
 * does not. A frame of more than the limit ends its connection. No deadline.
 * Runs on Bun too, and on Deno by its `node:net`.
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import net from "node:net";
import process from "node:process";
import tls from "node:tls";

const LF = Buffer.from("\n");

/** The handler: the reply is the request. */
const echo = (request) => request;

/** Decoders say whether the peer has kept within the limit. */
function line(max) {
  let partial = [];
  let received = 0;
  return (chunk, out) => {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(10, start);
      if (end === -1) break;
      if (received + end - start > max) return false;
      let request = chunk.subarray(start, end);
      if (received > 0) {
        // Joined once, when the line is whole: no byte is copied twice.
        request = Buffer.concat([...partial, request]);
        partial = [];
        received = 0;
      }
      out.push(echo(request), LF);
      start = end + 1;
    }
    if (start < chunk.length) {
      partial.push(chunk.subarray(start));
      received += chunk.length - start;
    }
    return received <= max;
  };
}

function length(max) {
  let chunks = [];
  let received = 0;
  let needed = 4;
  return (chunk, out) => {
    chunks.push(chunk);
    received += chunk.length;
    if (received < needed) return true;
    const bytes = chunks.length === 1 ? chunk : Buffer.concat(chunks);
    let start = 0;
    needed = 4;
    while (bytes.length - start >= 4) {
      const frame = 4 + bytes.readUInt32BE(start);
      if (frame - 4 > max) return false;
      if (bytes.length - start < frame) {
        needed = frame;
        break;
      }
      const reply = echo(bytes.subarray(start + 4, start + frame));
      const header = Buffer.allocUnsafe(4);
      header.writeUInt32BE(reply.length);
      out.push(header, reply);
      start += frame;
    }
    chunks = start < bytes.length ? [bytes.subarray(start)] : [];
    received = bytes.length - start;
    return true;
  };
}

const [, , framing, max, cert, key] = process.argv;
const decoder = framing === "length" ? length : line;

function serve(socket) {
  const decode = decoder(Number(max));
  socket.on("data", (chunk) => {
    const out = [];
    if (!decode(chunk, out)) return socket.destroy();
    if (out.length === 0) return;
    // A large reply is not worth a copy; small ones are cheaper joined.
    let taken = true;
    if (chunk.length < 16384) {
      taken = socket.write(Buffer.concat(out));
    } else {
      socket.cork();
      for (const part of out) taken = socket.write(part);
      socket.uncork();
    }
    if (!taken) socket.pause();
  });
  socket.on("drain", () => socket.resume());
  socket.on("error", () => socket.destroy());
}

const server = cert === undefined
  ? net.createServer({ noDelay: true }, serve)
  : tls.createServer({
    noDelay: true,
    cert: readFileSync(cert),
    key: readFileSync(key),
  }, serve);

server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(server.address().port);
});
