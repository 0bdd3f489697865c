// The client's prompt: keys in, screen out.

import { commands, commandTable, serve } from "../../lib/mod.ts";
import { Peer } from "../support/fixtures.ts";
import { commandLine, type Way } from "../support/programs.ts";
import { Screen } from "../support/screen.ts";
import { assert, assertEquals, assertMatch } from "../support/std.ts";
import {
  assertGets,
  CTRL_C,
  CTRL_G,
  CTRL_R,
  LEFT,
  prompt,
  promptAndPeer,
  serveHere,
  Terminal,
  testPrompt,
  UP,
} from "../support/terminal.ts";

const NO_LONGER = "(no longer waiting; a reply that comes is shown)\n";

testPrompt(
  "prompt clears a line at Ctrl-C, then stops waiting",
  async (way) => {
    const { place, terminal: made, peer: accepted } = await promptAndPeer(way);
    await using terminal = made;
    using peer = accepted;
    await terminal.types(`half${CTRL_C}`);
    await terminal.shows("half^C\n");
    await terminal.shows(`${place}> `);
    await terminal.types("one\rtwo\rthr");
    await assertGets(peer, "one");
    await terminal.shows("thr");
    await terminal.types(CTRL_C);
    await terminal.shows("thr^C\n");
    await terminal.types(CTRL_C);
    await terminal.shows(NO_LONGER);
    // What was typed behind it is not sent, either.
    await terminal.shows(`${place}> `);
    await terminal.types("four\r");
    await assertGets(peer, "four");
    await peer.send("1\n4\n");
    await terminal.shows("1\n");
    await terminal.shows("4\n");
    await terminal.shows(`${place}> `);
    await terminal.types(CTRL_C);
    assertEquals(await terminal.code(), 130);
    assert(terminal.raw.endsWith(`${place}> \r\n`), terminal.raw);
  },
);

testPrompt("prompt gives up connecting at Ctrl-C", async (way) => {
  const { terminal: made, peer: accepted } = await promptAndPeer(way);
  await using terminal = made;
  using _peer = accepted;
  // Its queue takes two connections, and no more while nobody accepts them.
  using full = Deno.listen({
    hostname: "127.0.0.1",
    port: 0,
    tcpBacklog: 1,
  });
  const { hostname, port } = full.addr;
  using _first = await Deno.connect({ hostname, port });
  using _second = await Deno.connect({ hostname, port });
  const place = `${hostname}:${port}`;
  await terminal.types(`:connect ${place}\r`);
  await terminal.shows(`:connect ${place}\n`);
  await terminal.types(`half`);
  await terminal.shows("half");
  await terminal.types(`${CTRL_C}${CTRL_C}`);
  await terminal.shows(NO_LONGER);
  await terminal.shows("not connected> ");
});

testPrompt("prompt searches its history with Ctrl-R", async (way) => {
  const { place, terminal: made, peer: accepted } = await promptAndPeer(way);
  await using terminal = made;
  using peer = accepted;
  for (const line of ["one", "two", "tone"]) {
    await terminal.types(`${line}\r`);
    await assertGets(peer, line);
    await peer.send(".\n");
    await terminal.shows(".\n");
    await terminal.shows(`${place}> `);
  }
  await terminal.types(`typed${CTRL_R}on`);
  await terminal.shows("(reverse-i-search)`on': tone");
  await terminal.types(CTRL_R);
  await terminal.shows("(reverse-i-search)`on': one");
  await terminal.types("x");
  await terminal.shows("(failed reverse-i-search)`onx': ");
  await terminal.types(CTRL_G);
  await terminal.shows(`${place}> typed`);
  await terminal.types(`${CTRL_R}tw`);
  await terminal.shows("(reverse-i-search)`tw': two");
  // Another key takes the line, and does what it does.
  await terminal.types(`${LEFT}X\r`);
  await assertGets(peer, "twXo");
});

testPrompt("prompt completes names from HELP, asked once", async (way) => {
  let asked = 0;
  const command = { args: "", help: "", run: () => "done" };
  const handler = commandTable({ GET: command, GETALL: command, SET: command });
  const { server, place } = serveHere(0, (request, info) => {
    if (String.fromCharCode(...request) === "HELP") asked++;
    return handler(request, info);
  });
  await using _server = server;
  await using terminal = await prompt(way, place);
  await terminal.types("s\t");
  await terminal.shows(`${place}> SET `);
  await terminal.types(`${CTRL_C}`);
  await terminal.shows("^C\n");
  await terminal.types("g\t");
  await terminal.shows(`${place}> GET`);
  await terminal.types("\t");
  await terminal.shows("GET  GETALL\n");
  await terminal.shows(`${place}> GET`);
  await terminal.types("A\t");
  await terminal.shows(`${place}> GETALL `);
  await terminal.types(`${CTRL_C}:ti\t`);
  await terminal.shows(`${place}> :timing `);
  assertEquals(asked, 1);
});

testPrompt("prompt completes nothing where there is no HELP", async (way) => {
  const { terminal: made, peer: accepted } = await promptAndPeer(way);
  await using terminal = made;
  using peer = accepted;
  await terminal.types("er\t");
  await assertGets(peer, "HELP");
  // What is sent meanwhile waits for that reply, and has its own.
  await terminal.types("r\t");
  await terminal.shows("> err");
  await terminal.types("\r");
  await peer.send("ERR what\n");
  await assertGets(peer, "err");
  await peer.send("mine\n");
  await terminal.shows("\nmine\n");
  // A tab that is pasted is a part of the line.
  await terminal.types("a\tb\r");
  await assertGets(peer, "a\tb");
});

testPrompt("prompt shows the time of a slow reply, or of all", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  await using terminal = await prompt(way, place);
  await terminal.types("DELAY 120 slow\r");
  await terminal.shows("\nslow\n(0.");
  await terminal.types("UPPER fast\r");
  await terminal.shows(`\nFAST\n${place}> `);
  await terminal.types(":timing\r");
  await terminal.shows("(the time of every reply)\n");
  await terminal.types("UPPER fast\r");
  await terminal.shows("\nFAST\n(0.0");
  assertMatch(terminal.raw, /FAST\r\n\(0\.0\d\d\ds\)\r\n/);
  assertMatch(terminal.raw, /slow\r\n\(0\.\d\ds\)\r\n/);
});

testPrompt("prompt repeats a line behind a number", async (way) => {
  const { place, terminal: made, peer: accepted } = await promptAndPeer(way);
  await using terminal = made;
  using peer = accepted;
  await terminal.types("3 PING x\r");
  for (const reply of ["a", "b", "c"]) {
    await assertGets(peer, "PING x");
    await peer.send(`${reply}\n`);
  }
  await terminal.shows(`\na\nb\nc\n${place}> `);
  for (const line of ["5 + 3", "5", "5PING", "0 PING", "007 PING"]) {
    await terminal.types(`${line}\r`);
    await assertGets(peer, line);
    await peer.send("sent\n");
    await terminal.shows("sent\n");
  }
  await terminal.types(":send 3 PING\r");
  await assertGets(peer, "3 PING");
  await peer.send("as it is\n");
  await terminal.shows("as it is\n");
  await terminal.types("1000 PING\r");
  await assertGets(peer, "PING");
  await terminal.types(CTRL_C);
  await terminal.shows(NO_LONGER);
  await peer.send("late\n");
  await terminal.shows("late\n");
  await terminal.types("next\r");
  await assertGets(peer, "next");
});

testPrompt("prompt takes commands behind a colon", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  await using other = serve({
    hostname: "127.0.0.1",
    port: 0,
    framing: "length",
  }, commands);
  await using terminal = await prompt(way, place);
  await terminal.types(":help\r");
  await terminal.shows("\n:connect [HOST[:PORT]]  ");
  await terminal.shows(`${place}> `);
  await terminal.types(":hex\r");
  await terminal.shows("\n(replies in hex)\n");
  await terminal.types("UPPER az\r");
  await terminal.shows("\n415a\n");
  await terminal.types(":hex\r:hex 50 494e47\r");
  await terminal.shows("\nPONG\n");
  await terminal.types(":hex 5\r");
  await terminal.shows('\n(bytes are "5", expected pairs of hex digits)\n');
  await terminal.types(":send ECHO :a\r");
  await terminal.shows("\n:a\n");
  await terminal.types(":what\r");
  await terminal.shows('\n(unknown command ":what", try :help)\n');
  await terminal.types(":timing off\r");
  await terminal.shows('\n(:timing is given "off", expected no words)\n');
  await terminal.types(":framing\r");
  await terminal.shows("\n(framing line)\n");
  await terminal.types(":framing what\r");
  await terminal.shows('\n(framing is "what", expected ');
  const second = `127.0.0.1:${(other.addr as Deno.NetAddr).port}`;
  await terminal.types(`:connect ${second}\r`);
  await terminal.shows(`\n(connected to ${second}, framing line)\n`);
  await terminal.types(":framing length\r");
  await terminal.shows(`\n(connected to ${second}, framing length)\n`);
  await terminal.shows(`${second}> `);
  await terminal.types("WHOAMI\r");
  await terminal.shows(" framing=length\n");
  await terminal.types(":connect a:b\r");
  await terminal.shows('\n(port is "b", expected ');
  await terminal.types(":connect unix:/a b\r");
  await terminal.shows('\n(server is "unix:/a b", expected HOST[:PORT]: ');
  await terminal.types("UPPER still\r");
  await terminal.shows("\nSTILL\n");
  await terminal.types("exit\r");
  assertEquals(await terminal.code(), 0);
});

testPrompt("prompt prints as --json says, and ends as -e says", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  await using terminal = await prompt(way, place, { flags: ["--json", "-e"] });
  await terminal.types("UPPER a\r");
  await terminal.shows('\n{"request":"UPPER a","reply":"A","ms":');
  await terminal.types("WHAT\r");
  await terminal.shows('"reply":"ERR unknown command: \\"WHAT\\" (try HELP)",');
  await terminal.types("exit\r");
  assertEquals(await terminal.code(), 1);
});

testPrompt("prompt sends a lost request again with --retry", async (way) => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const place = `127.0.0.1:${listener.addr.port}`;
  const notice = "(connection lost; the request is sent again)\n";
  await using terminal = await prompt(way, place, { flags: ["--retry", "2"] });
  using first = new Peer(await listener.accept());
  await terminal.types("one\r");
  await assertGets(first, "one");
  await first.finish();
  await terminal.shows(notice);
  using second = new Peer(await listener.accept());
  await assertGets(second, "one");
  await second.finish();
  using third = new Peer(await listener.accept());
  await assertGets(third, "one");
  await third.send("ONE\n");
  await terminal.shows(`ONE\n${place}> `);
  assertEquals(terminal.raw.split("sent again").length, 2);
  // So often, and no more.
  await terminal.types("two\r");
  await assertGets(third, "two");
  await third.finish();
  await terminal.shows(notice);
  for (let i = 0; i < 2; i++) {
    using next = new Peer(await listener.accept());
    await assertGets(next, "two");
  }
  await terminal.shows(`(Connection closed by ${place})\nnot connected> `);
});

testPrompt("prompt prints frames at once, above the line", async (way) => {
  const { place, terminal: made, peer: accepted } = await promptAndPeer(way);
  await using terminal = made;
  using peer = accepted;
  await peer.send("* first\n");
  await terminal.shows(`* first\n${place}> `);
  await terminal.types("hal");
  await terminal.shows("hal");
  await peer.send("* second\n* \x1b[31mthird\n");
  await terminal.shows(`* second\n`);
  await terminal.shows(`* \\x1b[31mthird\n${place}> hal`);
  await terminal.types("f\r");
  await assertGets(peer, "half");
  await peer.send("reply\n* fourth\n");
  await terminal.shows("reply\n");
  await terminal.shows(`* fourth\n${place}> `);
});

testPrompt("client --listen shows no prompt at a terminal", async (way) => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const place = `127.0.0.1:${listener.addr.port}`;
  const words = [...commandLine(way, "client"), "--listen", place, "SUB a"];
  await using terminal = new Terminal(words);
  using peer = new Peer(await listener.accept());
  await assertGets(peer, "SUB a");
  await peer.send("one\n\x1bc\n");
  await terminal.shows("one\n\\x1bc\n");
  assert(!terminal.raw.includes(place), terminal.raw);
  await terminal.types(CTRL_C);
  assertEquals(await terminal.code(), 130);
});

for (const name of ["TERM=dumb", "NO_COLOR=1"]) {
  testPrompt(`prompt sends no control sequence with ${name}`, async (way) => {
    const { server, place } = serveHere();
    await using _server = server;
    const [variable, value] = name.split("=");
    const env = { PARLEY_HISTORY: "", [variable]: value };
    await using terminal = await prompt(way, place, { env });
    terminal.startAt(place);
    const screen = new Screen(terminal, 80, false);
    const long = "x".repeat(100);
    await terminal.types(`UPPER ${long}${LEFT}\x7fy`);
    const shown = `${"x".repeat(78)}y`;
    await screen.has(() => screen.rows()[0] === shown, shown);
    await terminal.types("\r");
    await terminal.shows(`${"X".repeat(98)}YX\n`);
    await terminal.types(`UPPER ab\r${UP}${CTRL_C}${CTRL_R}UP`);
    await terminal.shows("(reverse-i-search)`UP': UPPER ab");
    await terminal.types("\rexit\r");
    assertEquals(await terminal.code(), 0);
    assert(!terminal.raw.includes("\x1b"), terminal.raw);
  });
}

for (const reflows of [true, false]) {
  const how = reflows ? "wraps anew" : "cuts";
  testPrompt(
    `prompt keeps its notices on a screen that ${how}`,
    async (way) => {
      for (const columns of [20, 300]) {
        await assertNoticesStay(way, columns, reflows);
      }
    },
  );
}

/** Sends notices while lines of all lengths are typed and the width changes. */
async function assertNoticesStay(
  way: Way,
  columns: number,
  reflows: boolean,
): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const place = `127.0.0.1:${listener.addr.port}`;
  const words = [...commandLine(way, "client"), place];
  const shell = ["sh", "-c", 'tty; exec "$@"', "sh", ...words];
  await using terminal = new Terminal(shell, { PARLEY_HISTORY: "" }, columns);
  using peer = new Peer(await listener.accept());
  await terminal.shows(`${place}> `);
  const [tty] = /\/dev\/[\w/]+/.exec(terminal.raw)!;
  terminal.startAt(place);
  const screen = new Screen(terminal, columns, reflows);
  const notices: string[] = [];
  let line = `${place}> `;
  let before = line;
  /** Waits until all notices are there, and the line behind them. */
  const settled = () =>
    screen.has(() => {
      const below = screen.rows().lastIndexOf(notices.at(-1) ?? "") + 1;
      const [all, toCursor] = [screen.rows(), screen.rowsToCursor()]
        .map((rows) => rows.slice(below).join(""));
      return screen.rows().filter((row) => row.startsWith("* ")).join() ===
          notices.join() &&
        all.endsWith(line.trimEnd()) && toCursor.endsWith(before.trimEnd());
    }, `${notices}, and behind them ${line}`);
  const notice = async () => {
    notices.push(`* ${notices.length}.`);
    await peer.send(`${notices.at(-1)}\n`);
    await settled();
  };
  await notice();
  // A full row, marks, and wide characters that do not fit the rest of a row.
  for (
    const part of [
      "x".repeat(columns - line.length),
      "e\u0301".repeat(columns - 1),
      "漢字".repeat(columns / 4 + 1),
      "z".repeat(columns + 40),
    ]
  ) {
    before = line += part;
    await terminal.types(part);
    await settled();
    await notice();
  }
  await terminal.types(LEFT.repeat(25));
  before = line.slice(0, -25);
  await settled();
  await notice();
  for (const width of [300, 20, 41, 80, 20]) {
    if (width === screen.columns) continue;
    await screen.resize(width, tty);
    // What is left of the line as it was drawn before may stand above it.
    await notice();
  }
  await terminal.types(CTRL_C);
  before = line = `${place}> `;
  await notice();
}
