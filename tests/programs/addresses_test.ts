// The client and names that have several addresses, in namespaces with a
// network and an /etc/hosts of their own.

import { fileURLToPath } from "node:url";

import { ONE, ONE_CA } from "../support/certificates.ts";
import {
  commandLine,
  namespaceTools,
  type Result,
  run,
  runCommand,
  testPrograms,
  testWithTools,
  type Way,
} from "../support/programs.ts";
import {
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "../support/std.ts";

const HOSTS = `
127.0.0.1 localhost
::1 localhost
127.0.0.2 several
127.0.0.3 several
::1 several
# In the first network of the script there is an address without a machine.
2001:db8::2 silent
127.0.0.1 silent
2001:db8::2 dead
2001:db8::3 dead
`;

/** Makes the network; then comes what a test does in it. */
const NETWORK = `
set -e
mount --bind "$FOLDER/hosts" /etc/hosts
ip link set lo up
ip link add one type veth peer name two
ip -6 addr add 2001:db8::1/64 dev one nodad
ip link set one up
ip link set two up
# Known, so that nobody is asked for it: what is sent there is lost.
ip -6 neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev one
ip -6 neigh add 2001:db8::3 lladdr 02:00:00:00:00:03 dev one

# Runs a server until the script ends.
serve() {
  mkfifo "$FOLDER/listening"
  server "$@" >"$FOLDER/listening" 2>/dev/null &
  trap "kill $!" EXIT
  while read -r line; do
    case $line in ready*) break ;; esac
  done <"$FOLDER/listening"
}
`;

const TOOLS = namespaceTools("unshare", "mount", "mkfifo", "ip", "sh");

/** Runs a shell script in a network of its own, with `server` and `client`. */
async function inNetwork(way: Way, script: string): Promise<Result> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/hosts`, HOSTS);
    await Deno.writeTextFile(`${folder}/cert`, ONE.cert);
    await Deno.writeTextFile(`${folder}/key`, ONE.key);
    await Deno.writeTextFile(`${folder}/ca`, ONE_CA);
    const programs = await Promise.all(
      (["server", "client"] as const).map(async (program) => {
        // Once outside, for inside nothing could be fetched any more.
        await run(way, program, ["--version"]);
        const words = commandLine(way, program).map(quoted).join(" ");
        // So that what runs in the background is the server itself.
        const exec = program === "server" ? "exec " : "";
        return `${program}() { ${exec}${words} "$@"; }\n`;
      }),
    );
    return await runCommand(
      ["unshare", "-m", "-n", "sh", "-c", programs.join("") + NETWORK + script],
      { env: { FOLDER: folder } },
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

for (const hostname of ["127.0.0.1", "::1", "127.0.0.3", "::"]) {
  const name = hostname === "127.0.0.3" ? "several" : "localhost";
  testPrograms(
    `client finds a server on ${hostname} by ${name}`,
    async (way) => {
      const result = await inNetwork(
        way,
        `
          serve --hostname=${hostname}
          client ${name} PING
          client bench -c 2 -n 10 --csv ${name} PING |
            { read -r names; cut -d, -f1; }
        `,
      );
      assertEquals(result, {
        code: 0,
        stdout: `PONG\n${name}:8080\n`,
        stderr: "",
      });
    },
    [...TOOLS, "cut"],
  );
}

testPrograms("client checks a certificate by the name", async (way) => {
  const result = await inNetwork(
    way,
    `
      serve --hostname=127.0.0.1 --tls-cert="$FOLDER/cert" --tls-key="$FOLDER/key"
      client --tls --tls-ca="$FOLDER/ca" localhost PING
      # The certificate is for the address too, but not for this name.
      client --tls --tls-ca="$FOLDER/ca" silent PING || echo "code $?"
    `,
  );
  assertEquals([result.code, result.stdout], [0, "PONG\ncode 1\n"]);
  assertMatch(
    result.stderr,
    /^client: Cannot connect to silent:8080: the server's certificate .*\n$/,
  );
}, TOOLS);

testPrograms("client finds localhost where IPv6 is off", async (way) => {
  const result = await inNetwork(
    way,
    `
      echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
      serve --hostname=127.0.0.1
      client localhost PING
    `,
  );
  assertEquals(result, { code: 0, stdout: "PONG\n", stderr: "" });
}, TOOLS);

testPrograms("client names each address and its reason", async (way) => {
  const { code, stdout, stderr } = await inNetwork(
    way,
    "client several PING",
  );
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /^client: Cannot connect to several:8080: .*\n$/);
  for (const address of ["127.0.0.2", "127.0.0.3", "::1"]) {
    assertStringIncludes(stderr, `connection refused (${address})`);
  }
}, TOOLS);

testPrograms("client goes past an address that is silent", async (way) => {
  const result = await inNetwork(
    way,
    `
      serve --hostname=127.0.0.1
      client --timeout=60s silent PING
    `,
  );
  assertEquals(result, { code: 0, stdout: "PONG\n", stderr: "" });
}, TOOLS);

testPrograms("client --timeout limits all attempts together", async (way) => {
  const result = await inNetwork(way, "client --timeout=600ms dead PING");
  assertEquals(result, {
    code: 1,
    stdout: "",
    stderr: "client: Cannot connect to dead:8080: no answer within 600 ms\n",
  });
}, TOOLS);

testPrograms("client reaches an address with a zone", async (way) => {
  const result = await inNetwork(
    way,
    `
      ip -6 addr add fe80::1/64 dev two nodad
      serve --hostname=::
      client '[fe80::1%two]:8080' PING
    `,
  );
  assertEquals(result, { code: 0, stdout: "PONG\n", stderr: "" });
}, TOOLS);

testWithTools(
  "connect needs no more permission than for the name",
  [],
  async () => {
    const lib = new URL("../../lib/mod.ts", import.meta.url).href;
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    const program = `
      import { connect } from ${JSON.stringify(lib)};
      const client = await connect({ hostname: "localhost", port: ${port} });
      client.close();
    `;
    const running = runCommand([
      Deno.execPath(),
      "run",
      "--no-check",
      "--no-prompt",
      `--allow-net=localhost:${port}`,
      "--config",
      fileURLToPath(new URL("../../deno.json", import.meta.url)),
      "data:application/typescript," + encodeURIComponent(program),
    ]);
    (await listener.accept()).close();
    assertEquals(await running, { code: 0, stdout: "", stderr: "" });
  },
);
