/**
 * Says each line that one client sends to all, on Parley.
 *
 * @module
 */

import { broadcast, type RequestInfo, serve } from "../../lib/mod.ts";

const room = new Set<RequestInfo>();

const server = serve({
  hostname: "127.0.0.1",
  port: 0,
  maxConnections: 15_000,
  onOpen: (info) => void room.add(info),
  onClose: (info) => void room.delete(info),
}, (line) => broadcast(room, line));
console.log(server.addr.port);
