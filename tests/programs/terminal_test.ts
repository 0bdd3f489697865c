// The programs at a real terminal.

import { commands, connect, serve } from "../../lib/mod.ts";
import { ownAddress, Peer, turnOfLoop } from "../support/fixtures.ts";
import {
  commandLine,
  namespaceTools,
  testPrograms,
  testWithTools,
} from "../support/programs.ts";
import { assert, assertEquals } from "../support/std.ts";
import {
  assertGets,
  CTRL_C,
  CTRL_D,
  CTRL_L,
  CTRL_Z,
  prompt,
  promptAndPeer,
  serveHere,
  Terminal,
  testPrompt,
  TOOLS,
  UP,
} from "../support/terminal.ts";

const CTRL_Z_HINT = "(Ctrl-Z is ignored: the client cannot suspend itself)\n";

testPrompt("prompt names the server and shows replies", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  await using terminal = await prompt(way, place);
  await terminal.types("UPPER one\r");
  await terminal.shows("\nONE\n");
  await terminal.shows(`${place}> `);
  await terminal.types("FOO\r");
  await terminal.shows('\nERR unknown command: "FOO" (try HELP)\n');
  await terminal.shows(`${place}> `);
});

testPrompt(
  "prompt names a Unix socket, and connects to it again",
  async (way) => {
    const folder = await Deno.makeTempDir();
    try {
      const path = `${folder}/s`;
      const first = serve({ path }, commands);
      await using terminal = await prompt(way, path, { flags: ["--unix"] });
      await first.shutdown();
      await terminal.shows("lost");
      await using _second = serve({ path }, commands);
      await terminal.types("WHOAMI\r");
      await terminal.shows("\nid=1 peer=unix framing=line\n");
      await terminal.shows(`${path}> `);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

testPrompt("prompt takes lines pasted at once in order", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  await using terminal = await prompt(way, place);
  await terminal.types("DELAY 50 late\r\rUPPER b\rUPPER c\rexit\r");
  await terminal.shows("\nlate\n");
  await terminal.shows("B\n");
  await terminal.shows("C\n");
  assertEquals(await terminal.code(), 0);
});

testPrompt("prompt lets a line be edited", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  await using terminal = await prompt(way, place);
  const left = "\x1b[D";
  const backspace = "\x7f";
  await terminal.types(`UPPER axxc${left}${backspace}${backspace}b\r`);
  await terminal.shows("\nABC\n");
});

for (
  const [name, keys, code] of [
    ["exit", "exit\r", 0],
    ["quit", "quit\r", 0],
    ["Ctrl-D", CTRL_D, 0],
    ["Ctrl-C", CTRL_C, 130],
    ["Ctrl-C behind one in mid-line", `PI${CTRL_C}${CTRL_C}`, 130],
  ] as const
) {
  testPrompt(`prompt ends with ${code} at ${name}`, async (way) => {
    const { server, place } = serveHere();
    await using _server = server;
    await using terminal = await prompt(way, place);
    await terminal.types(keys);
    assertEquals(await terminal.code(), code);
  });
}

for (const times of [1, 2]) {
  testPrompt(`prompt awaits replies after Ctrl-D, ${times}x`, async (way) => {
    const { terminal: made, peer: accepted } = await promptAndPeer(way);
    await using terminal = made;
    using peer = accepted;
    await terminal.types(`one\rtwo\r${CTRL_D.repeat(times)}`);
    await assertGets(peer, "one");
    await peer.send("ONE\n");
    await terminal.shows("\nONE\n");
    await assertGets(peer, "two");
    await peer.send("TWO\n");
    await terminal.shows("\nTWO\n");
    assertEquals(await terminal.code(), 0);
  });
}

testPrompt("prompt takes Ctrl-D in mid-line for no end", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  await using terminal = await prompt(way, place);
  await terminal.types(`UPPER a${CTRL_D}b\r`);
  await terminal.shows("\nAB\n");
});

testPrompt(
  "prompt keeps what is typed while a reply is awaited",
  async (way) => {
    const { place, terminal: made, peer: accepted } = await promptAndPeer(way);
    await using terminal = made;
    using peer = accepted;
    await terminal.types("one\r");
    await assertGets(peer, "one");
    // The line is two rows long, and all of it makes room for the reply.
    const long = "x".repeat(100);
    await terminal.types(`ECHO ${long} a`);
    await terminal.shows("xx a");
    await peer.send("late\n");
    await terminal.shows("late\n");
    await terminal.shows(`${place}> ECHO ${long} a`);
    assert(terminal.raw.includes("\x1b[1A\r\x1b[Jlate"), terminal.raw);
    await terminal.types("bc\r");
    await assertGets(peer, `ECHO ${long} abc`);
    // There is no prompt now, but history is there, and the keys that edit.
    await terminal.types(`${UP}${UP}wo${CTRL_L}`);
    await terminal.shows("onewo");
    await peer.send("late again\n");
    await terminal.shows("late again\n");
    await terminal.shows(`${place}> onewo`);
    await terminal.types("\r");
    await assertGets(peer, "onewo");
  },
);

testPrompt("prompt sends lines typed ahead in order", async (way) => {
  const { place, terminal: made, peer: accepted } = await promptAndPeer(way);
  await using terminal = made;
  using peer = accepted;
  await terminal.types("one\r\r\rtwo\rthree\rha");
  await assertGets(peer, "one");
  await peer.send("1\n");
  await terminal.shows("1\n");
  await terminal.shows(`${place}> two\n`);
  await assertGets(peer, "two");
  await peer.send("2\n");
  await terminal.shows("2\n");
  await terminal.shows(`${place}> three\n`);
  await assertGets(peer, "three");
  await peer.send("3\n");
  await terminal.shows("3\n");
  await terminal.shows(`${place}> ha`);
  await terminal.types("lf\r");
  await assertGets(peer, "half");
});

testPrompt("prompt ignores Ctrl-Z with a hint", async (way) => {
  const { place, terminal: made, peer: accepted } = await promptAndPeer(way);
  await using terminal = made;
  using peer = accepted;
  await terminal.types(CTRL_Z);
  await terminal.shows(CTRL_Z_HINT);
  await terminal.shows(`${place}> `);
  await terminal.types(`on${CTRL_Z}`);
  await terminal.shows(CTRL_Z_HINT);
  await terminal.shows(`${place}> on`);
  await terminal.types("e\r");
  await assertGets(peer, "one");
  await terminal.types(`tw${CTRL_Z}`);
  await terminal.shows(CTRL_Z_HINT);
  await terminal.shows("tw");
  await peer.send("1\n");
  await terminal.shows("1\n");
  await terminal.shows(`${place}> tw`);
  await terminal.types("o\r");
  await assertGets(peer, "two");
});

testPrompt("prompt ignores keys that mean nothing to it", async (way) => {
  const { terminal: made, peer: accepted } = await promptAndPeer(way);
  await using terminal = made;
  using peer = accepted;
  // In this order: Ctrl-\, Ctrl-], Ctrl-@, Ctrl-G, Alt-Z, F5.
  await terminal.types("a\x1cb\x1dc\x00d\x07e\x1bzf\x1b[15~g\r");
  await assertGets(peer, "abcdefg");
});

testPrompt("prompt is there again after a stop from outside", async (way) => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const place = `127.0.0.1:${listener.addr.port}`;
  const words = [...commandLine(way, "client"), place]
    .map((word) => `'${word}'`).join(" ");
  await using terminal = new Terminal(["sh", "-i"], { PARLEY_HISTORY: "" });
  await terminal.types(`sh -c 'echo pid=$$; exec "$@"' sh ${words}\r`);
  await terminal.shows(`\n${place}> `);
  using peer = new Peer(await listener.accept());
  await terminal.types("on");
  await terminal.shows("on");
  const [, pid] = /pid=(\d+)/.exec(terminal.raw)!;
  Deno.kill(Number(pid), "SIGTSTP");
  await terminal.shows("Stopped");
  // The shell may use the terminal in another mode, and this one stays in it.
  await terminal.types("stty sane; fg\n");
  await terminal.shows(`${place}> on`);
  await terminal.types(`e${CTRL_Z}`);
  await terminal.shows(CTRL_Z_HINT);
  await terminal.shows(`${place}> one`);
  await terminal.types("\r");
  await assertGets(peer, "one");
  await terminal.types(CTRL_C);
});

testPrompt("prompt keeps its history in a private file", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/history`;
    const env = { PARLEY_HISTORY: path };
    for (const word of ["one", "two"]) {
      await using terminal = await prompt(way, place, { env });
      await terminal.types(`UPPER ${word}\r`);
      await terminal.shows(word.toUpperCase());
      await terminal.types("exit\r");
      assertEquals(await terminal.code(), 0);
    }
    assertEquals(await Deno.readTextFile(path), "UPPER one\nUPPER two\n");
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);

    // Somebody has been less careful; the next run is not.
    await Deno.chmod(path, 0o644);
    await using terminal = await prompt(way, place, { env });
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    await terminal.types(UP);
    await terminal.shows("UPPER two");
    await terminal.types(UP);
    await terminal.shows("UPPER one");
    await terminal.types("s\r");
    await terminal.shows("\nONES\n");
    await terminal.types(CTRL_D);
    assertEquals(await terminal.code(), 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

testPrompt(
  "prompt keeps its history at home if not told where",
  async (way) => {
    const { server, place } = serveHere();
    await using _server = server;
    const home = await Deno.makeTempDir();
    try {
      await using terminal = await prompt(way, place, {
        env: { HOME: home, DENO_DIR: await denoDir() },
      });
      await terminal.types("UPPER one\r");
      await terminal.shows("\nONE\n");
      await terminal.types(CTRL_D);
      assertEquals(await terminal.code(), 0);
      const path = `${home}/.parley_history`;
      assertEquals(await Deno.readTextFile(path), "UPPER one\n");
      assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  },
);

for (
  const [name, settings] of [
    ["--no-history", { flags: ["--no-history"] }],
    ["PARLEY_HISTORY=", { env: { PARLEY_HISTORY: "" } }],
  ] as const
) {
  testPrompt(`prompt keeps no history with ${name}`, async (way) => {
    const { server, place } = serveHere();
    await using _server = server;
    const home = await Deno.makeTempDir();
    try {
      await using terminal = await prompt(way, place, {
        flags: [...settings.flags ?? []],
        env: { HOME: home, DENO_DIR: await denoDir(), ...settings.env },
      });
      await terminal.types("UPPER one\r");
      await terminal.shows("\nONE\n");
      await terminal.types(CTRL_D);
      assertEquals(await terminal.code(), 0);
      for await (const { name } of Deno.readDir(home)) {
        assert(!name.includes("history"), `there is ${name}`);
      }
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  });
}

testPrompt("prompt works where its history cannot be kept", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  const command = [...commandLine(way, "client"), place];
  const env = { PARLEY_HISTORY: "/nowhere/at/all" };
  await using terminal = new Terminal(command, env);
  await terminal.shows("client: no history: ");
  await terminal.shows(`${place}> `);
  await terminal.types("UPPER one\r");
  await terminal.shows("\nONE\n");
});

testPrograms("prompt goes on where its history finds no room", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  const folder = await Deno.makeTempDir();
  try {
    const script = `
      mount -t tmpfs -o size=4k none ${folder}
      yes 'UPPER old' | head -c 4096 >${folder}/history
      exec "$@"
    `;
    const client = [...commandLine(way, "client"), place];
    await using terminal = new Terminal(
      ["unshare", "-m", "sh", "-c", script, "sh", ...client],
      { PARLEY_HISTORY: `${folder}/history` },
    );
    await terminal.shows(`${place}> `);
    await terminal.types("UPPER one\r");
    await terminal.shows(
      "client: the history is not kept: no space left on device\n",
    );
    await terminal.shows("ONE\n");
    await terminal.shows(`${place}> `);
    // Saying it once is enough.
    await terminal.types("UPPER two\r");
    await terminal.shows("UPPER two\nTWO\n");
    await terminal.types(CTRL_D);
    assertEquals(await terminal.code(), 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}, namespaceTools(...TOOLS, "unshare", "mount", "yes", "head"));

testPrompt("prompt says at once that the connection is lost", async (way) => {
  const hostname = ownAddress();
  const { server, port, place } = serveHere(0, commands, hostname);
  await using terminal = await prompt(way, place);
  await terminal.types("UPPER ab");
  await terminal.shows("UPPER ab");
  await server.shutdown();
  await terminal.shows("connection lost");
  // What is being typed stays.
  await terminal.shows("not connected> UPPER ab");
  await using _server = serveHere(port, commands, hostname).server;
  await terminal.types("c\r");
  await terminal.shows("\nABC\n");
  await terminal.types("UPPER d\r");
  await terminal.shows("\nD\n");
});

testWithTools(
  "prompt says what came from a server that has closed already",
  TOOLS,
  async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const module = (path: string) =>
      new URL(`../../lib/${path}`, import.meta.url);
    const code = `
      import { runPrompt } from "${module("cli/client/prompt.ts")}";
      import { connect } from "${module("mod.ts")}";
      const target = {
        place: "here",
        async connect(_signal, more) {
          const client = await connect({ port: ${listener.addr.port}, ...more });
          await client.closed;
          return client;
        },
      };
      const flags = { json: false, hex: false, framing: "line", retry: 0 };
      await runPrompt({ flags, target, plain: true });
    `;
    await using terminal = new Terminal([Deno.execPath(), "eval", code]);
    {
      using peer = new Peer(await listener.accept());
      await peer.send("welcome\n");
    }
    await terminal.shows("welcome\n");
    await terminal.shows(
      "(connection lost; the next request connects again)\n",
    );
    await terminal.shows("not connected> ");
    await terminal.types("exit\r");
    assertEquals(await terminal.code(), 0);
  },
);

testPrompt("prompt goes on while there is no server", async (way) => {
  const hostname = ownAddress();
  const { server, port, place } = serveHere(0, commands, hostname);
  await using terminal = await prompt(way, place);
  await server.shutdown();
  await terminal.shows("connection lost");
  await terminal.types("UPPER one\r");
  await terminal.shows("refused");
  await terminal.shows("not connected> ");
  await using _server = serveHere(port, commands, hostname).server;
  await terminal.types("UPPER two\r");
  await terminal.shows("\nTWO\n");
});

testPrompt("prompt reconnects after a request lost its reply", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  await using terminal = await prompt(way, place);
  await terminal.types("CLOSE\r");
  await terminal.shows(`closed by ${place}`);
  await terminal.shows("not connected> ");
  await terminal.types("UPPER one\r");
  await terminal.shows("\nONE\n");
  // One word about it is enough.
  assert(!terminal.raw.includes("connection lost"), terminal.raw);
});

testPrompt("prompt reconnects after a reply that is too large", async (way) => {
  const { server, place } = serveHere();
  await using _server = server;
  const flags = ["--max-frame", "1KiB"];
  await using terminal = await prompt(way, place, {
    flags,
    env: { PARLEY_HISTORY: "" },
  });
  await terminal.types("SIZE 2000\r");
  await terminal.shows("too large");
  await terminal.shows("not connected> ");
  await terminal.types("UPPER one\r");
  await terminal.shows("\nONE\n");
});

testPrompt("prompt says why it is refused, and connects again", async (way) => {
  const server = serve(
    { hostname: "127.0.0.1", port: 0, maxConnections: 1 },
    commands,
  );
  await using _server = server;
  const place = `127.0.0.1:${(server.addr as Deno.NetAddr).port}`;
  const first = await connect(server.addr as Deno.NetAddr);
  await first.request("PING");
  await using terminal = await prompt(way, place);
  const said =
    `Refused by ${place}, which said "ERR busy: connection limit of 1 reached"`;
  await terminal.shows(`${said}; the next request connects again)`);
  await terminal.shows("not connected> ");
  await terminal.types("UPPER one\r");
  await terminal.shows(`(${said})`);
  await terminal.shows("not connected> ");
  first.close();
  // Its place is free once the server has seen its end.
  while (server.connections > 0) await turnOfLoop();
  await terminal.types("UPPER two\r");
  await terminal.shows("\nTWO\n");
  await terminal.types("exit\r");
  assertEquals(await terminal.code(), 0);
});

testPrompt(
  "prompt connects again after a request that timed out",
  async (way) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const place = `127.0.0.1:${listener.addr.port}`;
    await using terminal = await prompt(way, place, {
      flags: ["--timeout", "100ms"],
      env: { PARLEY_HISTORY: "" },
    });
    using peer = new Peer(await listener.accept());
    await terminal.types("one\r");
    assertEquals(await peer.receive(4), "one\n");
    await terminal.shows("within 100 ms");
    await terminal.shows("not connected> ");
    assertEquals(await peer.rest(), "");
    await terminal.types("two\r");
    using next = new Peer(await listener.accept());
    assertEquals(await next.receive(4), "two\n");
    await next.send("the second\n");
    await terminal.shows("\nthe second\n");
    // One word about it is enough.
    assert(!terminal.raw.includes("connection lost"), terminal.raw);
  },
);
/** A reply that would drive the terminal, and how it is shown. */
const hostile = "\x1b[31mred\x07\x7f\u009b1m\u202e\u2028\u200b\u{e0041}\tz";
const SHOWN = "\\x1b[31mred\\x07\\x7f\\x9b1m" +
  "\\u202e\\u2028\\u200b\\u{e0041}\tz\n";
const SHOWN_JSON = "\\u001b[31mred\\u0007\\u007f\\u009b1m" +
  '\\u202e\\u2028\\u200b\\udb40\\udc41\\tz"';

/** Checks that nothing of it came through as it is. */
function assertTame({ raw }: Terminal): void {
  for (const part of ["\x1b[31m", "\x07", "\u009b", "\u202e", "\u200b"]) {
    assert(!raw.includes(part), JSON.stringify(raw));
  }
}

testPrompt("prompt shows control characters escaped", async (way) => {
  const { server, place } = serveHere(0, () => hostile);
  await using _server = server;
  await using terminal = await prompt(way, place);
  await terminal.types("go\r");
  await terminal.shows(`\n${SHOWN}`);
  assertTame(terminal);
});

for (
  const [name, shell, shown] of [
    ["to arguments", '"$@" go', SHOWN],
    ["to a pipe", 'echo go | "$@"', SHOWN],
    ["as --json", '"$@" --json go', `"reply":"${SHOWN_JSON},`],
  ]
) {
  testPrompt(`client escapes replies ${name} at a terminal`, async (way) => {
    const { server, place } = serveHere(0, () => hostile);
    await using _server = server;
    const client = [...commandLine(way, "client"), place];
    await using terminal = new Terminal(["sh", "-c", shell, "sh", ...client]);
    await terminal.shows(shown);
    assertEquals(await terminal.code(), 0);
    assertTame(terminal);
  });
}

testPrompt(
  "client prints raw replies from a terminal to a file",
  async (way) => {
    const { server, place } = serveHere(0, () => hostile);
    await using _server = server;
    const file = await Deno.makeTempFile();
    try {
      const client = [...commandLine(way, "client"), place, "go"];
      const shell = 'file=$1; shift; "$@" > "$file"';
      await using terminal = new Terminal(
        ["sh", "-c", shell, "sh", file, ...client],
      );
      assertEquals(await terminal.code(), 0);
      assertEquals(await Deno.readTextFile(file), `${hostile}\n`);
    } finally {
      await Deno.remove(file);
    }
  },
);

testPrograms("server drains at Ctrl-C in a terminal", async (way) => {
  await assertDrains([...commandLine(way, "server")]);
}, TOOLS);

// The terminal sends the signal to the task runner too. What that makes of it
// must not reach the server as the second signal, the one of a user in a hurry.
testWithTools(
  "deno task server drains at Ctrl-C in a terminal",
  TOOLS,
  () => assertDrains([Deno.execPath(), "task", "server"]),
);

async function assertDrains(command: string[]): Promise<void> {
  const flags = ["--hostname", "127.0.0.1", "--port", "0"];
  await using terminal = new Terminal([...command, ...flags]);
  await terminal.shows("ready to accept connections");
  const [, port] = / listening on 127\.0\.0\.1:(\d+) /.exec(terminal.raw)!;
  const addr = { hostname: "127.0.0.1", port: Number(port) };
  using peer = await Peer.to({ addr: { ...addr, transport: "tcp" } });
  const asked = await peer.ask("PING\nDELAY 300 x\n", "PONG\n");
  assertEquals(asked, "PONG\n");
  await terminal.types(CTRL_C);
  assertEquals(await peer.rest(), "x\n");
  assertEquals(await terminal.code(), 0);
}

testPrograms("server's log is pretty at a terminal", async (way) => {
  const command = [...commandLine(way, "server"), "--hostname=127.0.0.1"];
  await using terminal = new Terminal([...command, "--port=0"], {
    NO_COLOR: "1",
  });
  await terminal.shows(" info  listening addr=127.0.0.1:");
  await terminal.shows(" info  ready version=");
  await terminal.types(CTRL_C);
  await terminal.shows(" info  draining connections=0 by=SIGINT");
  await terminal.shows(" info  finished forced=0");
  assertEquals(await terminal.code(), 0);
  // Deno clears lines of its own, but colours none.
  // deno-lint-ignore no-control-regex
  assert(!/\x1b\[[\d;]*m/.test(terminal.raw), "there are colours");
}, TOOLS);

/** Where Deno keeps what is downloaded, which a new home would hide. */
async function denoDir(): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json"],
    cwd: new URL("../../", import.meta.url),
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}

testPrompt(
  "client bench shows how far it is, unless -q is given",
  async (way) => {
    // It connects, and nobody ever answers.
    using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const bench = [...commandLine(way, "client"), "bench"];
    const nobody = `127.0.0.1:${silent.addr.port}`;
    await using loud = new Terminal([...bench, nobody, "-z1h"]);
    await loud.shows("s: 0 requests/s now, 0 on average, 0 done, 0 failed");
    await loud.types(CTRL_C);
    await loud.shows("\n0 requests done in ");
    assertEquals(await loud.code(), 130);
    // The line is gone where the report begins.
    assert(loud.raw.includes(`\r\x1b[K${nobody}, line framing`), loud.raw);
    const { server, place } = serveHere();
    await using _server = server;
    // A request that takes longer than the progress takes to come.
    await using quiet = new Terminal([
      ...bench,
      place,
      "-q",
      "-n1",
      "DELAY 600 x",
    ]);
    await quiet.shows("\n1 request done in ");
    assertEquals(await quiet.code(), 0);
    assert(!quiet.raw.includes("0 done"), quiet.raw);
  },
);

for (const command of ["latency", "bench"]) {
  testPrompt(
    `client ${command} prints plain lines with TERM=dumb`,
    async (way) => {
      using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const { server, place } = serveHere();
      await using _server = server;
      const [args, lines] = command === "latency"
        ? [[place, "-n2", "-i1ms"], ["1: last ", " ms\n2: last ", " ms\n"]]
        : [[`127.0.0.1:${silent.addr.port}`, "-z1h"], [
          ...Array(2).fill(
            "s: 0 requests/s now, 0 on average, 0 done, 0 failed\n",
          ),
        ]];
      const words = [...commandLine(way, "client"), command, ...args];
      await using terminal = new Terminal(words, { TERM: "dumb" });
      await terminal.shows(lines[0]);
      const from = terminal.raw.indexOf(lines[0].trimEnd());
      for (const line of lines.slice(1)) await terminal.shows(line);
      if (command === "bench") await terminal.types(CTRL_C);
      assertEquals(await terminal.code(), command === "bench" ? 130 : 0);
      assert(!terminal.raw.slice(from).includes("\x1b"), terminal.raw);
    },
  );
}
