// A chat: names, rooms, joins and leaves.
//
//   deno run --allow-net examples/chat.ts
//   nc 127.0.0.1 7000            (in as many terminals as you like)

import {
  broadcast,
  formatAddr,
  type ParleyConnection,
  serveConnections,
} from "@parley/parley";

type Member = ParleyConnection<{ name: string; room: string }>;

const names = new Set<string>();
const rooms = new Map<string, Set<Member>>();
const decoder = new TextDecoder();

function join(member: Member, room: string): void {
  leave(member);
  if (!rooms.has(room)) rooms.set(room, new Set());
  rooms.get(room)!.add(member);
  member.state.room = room;
  broadcast(rooms.get(room)!, `* ${member.state.name} joins ${room}`);
}

function leave(member: Member): void {
  const { name, room } = member.state;
  const members = rooms.get(room);
  if (!members?.delete(member)) return;
  broadcast(members, `* ${name} leaves ${room}`);
  if (members.size === 0) rooms.delete(room);
}

function take(member: Member, line: string): void {
  const { name, room } = member.state;
  const [word, rest = ""] = line.split(" ", 2);
  if (word === "/quit") member.close();
  else if (word === "/join" && /^\w{1,20}$/.test(rest)) join(member, rest);
  else if (word === "/who") {
    const all = Array.from(rooms.get(room)!, ({ state }) => state.name);
    member.send(`* in ${room}: ${all.join(", ")}`);
  } else if (word.startsWith("/")) {
    member.send("* /join room (1 to 20 letters or digits), /who or /quit");
  } else broadcast(rooms.get(room)!, `${name}: ${line}`);
}

serveConnections({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 7000),
  maxFrame: 1000,
  state: () => ({ name: "", room: "" }),
  onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
}, async (member) => {
  await member.send("* Your name?");
  try {
    for await (const frame of member) {
      // A line cannot end in a CR when it is sent on.
      const line = decoder.decode(frame).trimEnd();
      if (member.state.name !== "") take(member, line);
      else if (!/^\w{1,20}$/.test(line)) {
        member.send("* A name has 1 to 20 letters or digits.");
      } else if (names.has(line)) member.send(`* ${line} is here already.`);
      else {
        names.add(member.state.name = line);
        join(member, "lobby");
      }
    }
  } finally {
    // However the connection ends.
    names.delete(member.state.name);
    leave(member);
  }
});
