/*
 * Says each line that one client sends to all, on Node's `net`: the line is made
 * once, and written to each socket. It looks for the ends of lines, and keeps no
 * limit.
 */
import { Buffer } from "node:buffer";
import net from "node:net";

const room = new Set();

net.createServer({ noDelay: true }, (socket) => {
  room.add(socket);
  let partial = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    partial = partial.length === 0 ? chunk : Buffer.concat([partial, chunk]);
    for (let end; (end = partial.indexOf(10)) !== -1;) {
      const line = partial.subarray(0, end + 1);
      for (const other of room) other.write(line);
      partial = partial.subarray(end + 1);
    }
  });
  socket.on("error", () => {});
  socket.on("close", () => room.delete(socket));
}).listen(0, "127.0.0.1", function () {
  console.log(this.address().port);
});
