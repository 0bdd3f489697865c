// deno-lint-ignore-file no-import-prefix -- what deno.json imports is fetched
// for every program, and only tests need this.

// The files in deploy/, each judged by the program or schema that reads it, and
// by the server's own flags.

import {
  assert,
  assertEquals,
  assertMatch,
  TextLineStream,
} from "../support/std.ts";
import { DockerfileParser } from "npm:dockerfile-ast@0.7.1";
import { validate as validateDockerfile } from "npm:dockerfile-utils@0.16.3";
import { parse as parseYaml } from "npm:yaml@2.9.1";

import { envName, parseFlags } from "../../lib/cli/flags/flags.ts";
import { serverFlags } from "../../lib/cli/server/flags.ts";
import { parseDuration } from "../../lib/core/units.ts";
import { meanings } from "../../lib/observe/numbers.ts";
import { connected, freePorts, localConfig } from "../support/cluster.ts";
import { ownAddress, Peer } from "../support/fixtures.ts";
import { faultsOf } from "../support/manifest.ts";
import {
  runCommand,
  RunningServer,
  testPrograms,
  testWithTools,
} from "../support/programs.ts";

const ROOT = new URL("../../", import.meta.url);

const MANIFESTS = [
  ...["deployment", "service", "poddisruptionbudget", "networkpolicy"] as const,
];

const FILES = [
  "Dockerfile",
  "haproxy.cfg",
  "parley.service",
  "prometheus/alerts.yml",
  ...MANIFESTS.map((name) => `kubernetes/${name}.yaml`),
];

function inRoot(path: string): string {
  return new URL(path, ROOT).href;
}

/** A file of deploy/. */
async function read(name: string): Promise<string> {
  return await Deno.readTextFile(new URL(`deploy/${name}`, ROOT));
}

/** What a folder holds while a test runs. */
class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async make(): Promise<Folder> {
    return new Folder(await Deno.makeTempDir());
  }

  async write(name: string, text: string): Promise<string> {
    const file = `${this.path}/${name}`;
    await Deno.writeTextFile(file, text);
    return file;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

testWithTools(
  "haproxy.cfg is understood by haproxy, and a slip in it is not",
  ["haproxy"],
  async () => {
    const config = await read("haproxy.cfg");
    await using folder = await Folder.make();
    const good = await folder.write("good.cfg", config);
    assertEquals((await runCommand(["haproxy", "-c", "-f", good])).code, 0);
    const slip = config.replace("option httpchk", "option httpcheck");
    const bad = await folder.write("bad.cfg", slip);
    assertEquals((await runCommand(["haproxy", "-c", "-f", bad])).code, 1);
  },
);

testWithTools(
  "haproxy.cfg turns away who connects too often, whichever server it is for",
  ["haproxy"],
  async () => {
    await using folder = await Folder.make();
    const hostname = ownAddress();
    const [port, adminPort] = freePorts(hostname, 2);
    await using server = await RunningServer.start("deno run", [
      ...["--hostname", hostname, "--admin", `${hostname}:${adminPort}`],
      ...["--proxy-protocol", "v2", "--proxy-trust", "127.0.0.1"],
    ]);
    const here = `${hostname}:${server.addr.port}`;
    const file = await folder.write(
      "haproxy.cfg",
      await localConfig({
        "bind :8080": `bind ${hostname}:${port}`,
        "/run/haproxy/admin.sock": `${folder.path}/admin.sock`,
        "maxconn 30000": "maxconn 1000",
        "check port 9090": `check port ${adminPort}`,
        "sc_conn_rate(0) gt 200": "sc_conn_rate(0) gt 5",
        "192.0.2.11:8080": here,
        "192.0.2.12:8080": here,
        "192.0.2.13:8080": here,
      }),
    );
    const proxy = new Deno.Command("haproxy", {
      args: ["-db", "-f", file],
      ...{ stdin: "null", stdout: "null", stderr: "null" },
    }).spawn();
    try {
      const addr = { transport: "tcp", hostname, port } as const;
      // This is the first of five.
      (await connected(proxy, () => Deno.connect(addr))).close();
      for (let i = 2; i <= 5; i++) {
        using peer = await Peer.to({ addr });
        assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n", `${i}`);
      }
      const more = async () => {
        using peer = await Peer.to({ addr });
        return await peer.rest();
      };
      // It is reset, now or as it connects.
      assertEquals(await more().catch(() => ""), "");
    } finally {
      proxy.kill("SIGTERM");
      await proxy.status;
    }
  },
);

testWithTools(
  "alerts.yml is understood by promtool, and its alerts are given when they should",
  ["promtool"],
  async () => {
    const rules = "deploy/prometheus/alerts.yml";
    const test = "deploy/prometheus/alerts_test.yml";
    assertEquals(
      (await runCommand(["promtool", "check", "rules", rules])).code,
      0,
    );
    const { code, stdout, stderr } = await runCommand([
      "promtool",
      "test",
      "rules",
      test,
    ]);
    assertEquals(code, 0, stdout + stderr);
    // With a slip in each it is otherwise.
    await using folder = await Folder.make();
    const text = await read("prometheus/alerts.yml");
    await folder.write(
      "alerts_test.yml",
      await read("prometheus/alerts_test.yml"),
    );
    await folder.write("alerts.yml", text.replace("> 0.5", "> 5"));
    const slip = [
      "promtool",
      "test",
      "rules",
      `${folder.path}/alerts_test.yml`,
    ];
    assertEquals((await runCommand(slip)).code, 1);
    const bad = await folder.write("bad.yml", text.replace("sum by", "sumby"));
    assertEquals(
      (await runCommand(["promtool", "check", "rules", bad])).code,
      1,
    );
  },
);

testWithTools(
  "alerts.yml names metrics and words of the server, and the page each alert",
  [],
  async () => {
    const { groups } = parseYaml(await read("prometheus/alerts.yml"));
    const page = await Deno.readTextFile(new URL("docs/operations.md", ROOT));
    for (const { alert, expr } of groups[0].rules) {
      const names: string[] = expr.match(/\b(parley|process)_\w+/g) ?? [];
      for (const name of names) {
        assert(name.replace(/_bucket$/, "") in meanings, `${alert}: ${name}`);
      }
      for (const [, words] of expr.matchAll(/\{\w+[!=]=?~?"([\w|]+)"\}/g)) {
        for (const word of words.split("|")) {
          assert(word === "parley" || page.includes(`\`${word}\``), word);
        }
      }
      assert(page.includes(`\`${alert}\``), `${alert} is not on the page`);
    }
  },
);

testWithTools(
  "alerts.yml and parley.service have the same limit of descriptors",
  [],
  async () => {
    const [, limit] = /^LimitNOFILE=(\d+)$/m
      .exec(await read("parley.service")) ?? [];
    const { groups } = parseYaml(await read("prometheus/alerts.yml"));
    const { expr } = groups[0].rules.find((
      { alert }: { alert: string },
    ) => alert === "ParleyDescriptorsNearLimit");
    assertMatch(expr, new RegExp(` > 0\\.8 \\* ${limit}$`));
  },
);

/** What systemd says of a unit. */
async function verify(file: string): Promise<{ code: number; said: string[] }> {
  const { code, stdout, stderr } = await runCommand([
    "systemd-analyze",
    "verify",
    "--man=no",
    "--recursive-errors=no",
    file,
  ]);
  // It looks at what the unit depends on too, which is the machine's business.
  const lines = (stdout + stderr).split("\n");
  return { code, said: lines.filter((line) => line.includes("parley")) };
}

testWithTools(
  "parley.service is understood by systemd, and a slip in it is not",
  ["systemd-analyze"],
  async () => {
    const unit = (await read("parley.service"))
      .replaceAll("/opt/parley/server", Deno.execPath());
    await using folder = await Folder.make();
    const good = await folder.write("parley.service", unit);
    assertEquals(await verify(good), { code: 0, said: [] });
    const slip = unit.replace("LimitNOFILE=", "LimitNOFILES=");
    const bad = await folder.write("parley-slip.service", slip);
    assertMatch((await verify(bad)).said.join(), /Unknown key 'LimitNOFILES'/);
  },
);

testWithTools(
  "parley.service exposes little: at most 1.5 of systemd's 10 points",
  ["systemd-analyze"],
  async () => {
    await using folder = await Folder.make();
    const security = async (unit: string) => {
      const file = await folder.write("parley.service", unit);
      const command = "systemd-analyze security --offline=true --threshold=15";
      return (await runCommand([...command.split(" "), file])).code;
    };
    const unit = await read("parley.service");
    assertEquals(await security(unit), 0);
    assertEquals(await security(unit.replace("DynamicUser=yes\n", "")), 1);
  },
);

for (const name of MANIFESTS) {
  testWithTools(`${name}.yaml follows Kubernetes' schema`, [], async () => {
    const manifest = parseYaml(await read(`kubernetes/${name}.yaml`));
    assertEquals(await faultsOf(manifest), []);
  });
}

testWithTools(
  "a manifest with a wrong type, an unknown or a missing field is refused",
  [],
  async () => {
    const manifest = parseYaml(await read("kubernetes/deployment.yaml"));
    manifest.spec.replicas = "three";
    const { containers } = manifest.spec.template.spec;
    containers[0].redinessProbe = {};
    containers[0].resources.limits.memory = "lots";
    delete manifest.spec.selector;
    const faults = await faultsOf(manifest);
    const container = "/spec/template/spec/containers/0";
    assertEquals(
      [...new Set(faults.map((fault) => fault.split(" {")[0]))].sort(),
      [
        "/spec/replicas: type",
        `${container}/redinessProbe: unknown field`,
        `${container}/resources/limits/memory: format`,
        `${container}/resources/limits/memory: oneOf`,
        `${container}/resources/limits/memory: type`,
        "/spec: required",
      ].sort(),
    );
  },
);

testWithTools(
  "Kubernetes sets no variable that the server would take for a flag",
  [],
  async () => {
    const { spec } = parseYaml(await read("kubernetes/deployment.yaml"));
    const { metadata } = parseYaml(await read("kubernetes/service.yaml"));
    // Of a Service named so it would set PARLEY_PORT=tcp://10.0.0.1:8080.
    assertEquals(envName("port"), `${metadata.name.toUpperCase()}_PORT`);
    assertEquals(spec.template.spec.enableServiceLinks, false);
  },
);

testWithTools(
  "each flag that a file in deploy/ names is the server's",
  [],
  async () => {
    const flags = Object.keys(serverFlags);
    const names = new Set([
      ...flags.map((flag) => `--${flag}`),
      ...flags.map(envName),
    ]);
    let found = 0;
    for (const file of FILES) {
      const text = await read(file);
      // A command line of another program may stand where it is no comment.
      const comments = text.split("\n").filter((line) => /^\s*#/.test(line));
      const used = [
        ...text.match(/\bPARLEY_[A-Z_]+/g) ?? [],
        ...comments.join("\n").match(/(?<![\w-])--[a-z][a-z-]*/g) ?? [],
      ];
      assertEquals(used.filter((name) => !names.has(name)), [], file);
      found += used.length;
    }
    assert(found > 10);
  },
);

/** The settings that a file gives the server; each must be a value it takes. */
async function settings(file: string) {
  const pattern = /\b(PARLEY_[A-Z_]+)(?:=|, value: )"?([^"\s}]+)/g;
  const lines = (await read(file)).split("\n");
  const env = new Map(
    lines.filter((line) => !/^\s*#/.test(line))
      .flatMap((line) => [...line.matchAll(pattern)])
      .map(([, name, value]) => [name, value]),
  );
  assert(env.size > 0, file);
  return parseFlags(serverFlags, [], (name) => env.get(name)).flags;
}

/** A duration as systemd and HAProxy write it too. */
function ms(text: string | undefined): number {
  const duration = parseDuration(text ?? "");
  assert(duration !== undefined, `expected a duration, got ${text}`);
  return duration;
}

testWithTools("a server is given the time that its end takes", [], async () => {
  const config = await read("haproxy.cfg");
  const [, inter, fall] = / inter (\w+) .*fall (\d+)/.exec(config) ?? [];
  const noticed = ms(inter) * Number(fall);

  const unit = await settings("parley.service");
  const [, stop] = /^TimeoutStopSec=(\w+)$/m
    .exec(await read("parley.service")) ?? [];
  assert(unit["pre-drain-delay"] > noticed);
  assert(ms(stop) > unit["pre-drain-delay"] + unit["drain-timeout"]);

  const pod = await settings("kubernetes/deployment.yaml");
  const { spec } = parseYaml(await read("kubernetes/deployment.yaml"));
  const { terminationGracePeriodSeconds, containers } = spec.template.spec;
  const { periodSeconds, failureThreshold } = containers[0].readinessProbe;
  assert(pod["pre-drain-delay"] > periodSeconds * failureThreshold * 1000);
  assert(
    terminationGracePeriodSeconds * 1000 >
      pod["pre-drain-delay"] + pod["drain-timeout"],
  );
  await settings("Dockerfile");
});

testWithTools("a pod has the memory that its flags ask for", [], async () => {
  const { "max-memory": held, "max-connections": connections } = await settings(
    "kubernetes/deployment.yaml",
  );
  const { spec } = parseYaml(await read("kubernetes/deployment.yaml"));
  const { limits } = spec.template.spec.containers[0].resources;
  const [, mib] = /^(\d+)Mi$/.exec(limits.memory) ?? [];
  const needed = held / 2 ** 20 + 150 + connections * 8 / 1024;
  assert(Number(mib) >= needed, `${limits.memory}, expected ${needed} MiB`);
});

testPrograms(
  "server tells systemd when it is ready, and when it drains",
  async (way) => {
    await using folder = await Folder.make();
    const path = `${folder.path}/notify`;
    // Node and Deno have no socket that receives such datagrams but this.
    const script = `import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("${path}")
print("bound", flush=True)
for _ in range(2): print(s.recv(100).decode(), flush=True)`;
    const systemd = new Deno.Command("python3", {
      args: ["-c", script],
      stdout: "piped",
    }).spawn();
    const said = systemd.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream()).getReader();
    try {
      assertEquals((await said.read()).value, "bound");
      {
        const env = { NOTIFY_SOCKET: path, TMPDIR: folder.path };
        await using server = await RunningServer.start(way, [], env);
        assertEquals((await said.read()).value, "READY=1");
        using peer = await Peer.to(server);
        assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
        server.kill("SIGTERM");
        assertEquals((await said.read()).value, "STOPPING=1");
        assertEquals(await server.code(), 0);
      }
      const left = Array.from(
        Deno.readDirSync(folder.path),
        ({ name }) => name,
      );
      assertEquals(left.filter((name) => name.startsWith(".")), []);
    } finally {
      await said.cancel();
      // It waits for a second word that may not have come.
      try {
        systemd.kill();
      } catch {
        // It has ended.
      }
      await systemd.status;
    }
  },
  ["python3"],
);

testPrograms(
  "server serves where nobody can be told that it is ready",
  async (way) => {
    const env = { NOTIFY_SOCKET: "/nowhere/notify" };
    await using server = await RunningServer.start(way, [], env);
    const { level, state } = await server.logged("systemd not told");
    assertEquals([level, state], ["warn", "READY=1"]);
    using peer = await Peer.to(server);
    assertEquals(await peer.ask("PING\n", "PONG\n"), "PONG\n");
  },
);

testWithTools(
  "parley.service leaves room for each connection",
  [],
  async () => {
    const unit = await read("parley.service");
    const [, descriptors] = /^LimitNOFILE=(\d+)$/m.exec(unit) ?? [];
    const { flags } = parseFlags(serverFlags, [], () => undefined);
    assert(Number(descriptors) > 2 * flags["max-connections"]);
  },
);

testWithTools(
  "Dockerfile is understood, and a slip in it is not",
  [],
  async () => {
    const dockerfile = await read("Dockerfile");
    assertEquals(validateDockerfile(dockerfile), []);
    const slip = dockerfile.replace("STOPSIGNAL", "STOPSIGNL");
    assertEquals(validateDockerfile(slip).length, 1);
  },
);

testWithTools("Dockerfile copies all that the build needs", [], async () => {
  const dockerfile = DockerfileParser.parse(await read("Dockerfile"));
  const copied = dockerfile.getCOPYs()
    .filter((copy) => copy.getFlags().length === 0)
    .flatMap((copy) => copy.getArguments().slice(0, -1))
    .map((path) => inRoot(path.getValue()));
  const needed = new Set([inRoot("deno.json")]);
  for (const program of ["server.ts", "client.ts", "tools/compile.ts"]) {
    const command = [Deno.execPath(), "info", "--json", program];
    const { modules } = JSON.parse((await runCommand(command)).stdout);
    for (const { specifier } of modules as { specifier: string }[]) {
      if (specifier.startsWith("file:")) needed.add(specifier);
    }
  }
  assert(needed.size > 20);
  const missing = [...needed].filter((file) =>
    !copied.some((path) => file === path || file.startsWith(`${path}/`))
  );
  assertEquals(missing, []);
});

testWithTools(
  "what the Dockerfile copies is compiled by its own command",
  ["./server"],
  async () => {
    const dockerfile = DockerfileParser.parse(await read("Dockerfile"));
    await using folder = await Folder.make();
    for (const copy of dockerfile.getCOPYs()) {
      if (copy.getFlags().length > 0) continue;
      const paths = copy.getArguments().map((path) => path.getValue());
      for (const path of paths.slice(0, -1)) {
        const command = ["cp", "-r", path, folder.path];
        assertEquals((await runCommand(command)).code, 0, path);
      }
    }
    // The runtime is here already.
    await runCommand(["cp", "-r", ".denort", folder.path]);
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "compile"],
      cwd: folder.path,
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const { stdout } = await runCommand([`${folder.path}/server`, "--version"]);
    assertMatch(stdout, /^parley \d/);
  },
);

testWithTools("Dockerfile's user is not root", [], async () => {
  const user = /^USER (\d+):(\d+)$/m.exec(await read("Dockerfile"));
  assert(Number(user?.[1]) > 0 && Number(user?.[2]) > 0);
});

testWithTools("Dockerfile's Deno is the one that is tested", [], async () => {
  const version = /deno@([\d.]+)/;
  const ci = await Deno.readTextFile(new URL(".ci/run", ROOT));
  assertEquals(
    version.exec(await read("Dockerfile"))?.[1],
    version.exec(ci)?.[1],
  );
});

testWithTools(
  "Dockerfile's health check passes while the server lives, and only then",
  ["bash"],
  async () => {
    const hostname = ownAddress();
    const [port] = freePorts(hostname, 1);
    const dockerfile = DockerfileParser.parse(await read("Dockerfile"));
    const [check] = dockerfile.getHEALTHCHECKs();
    const [, argv] = /^CMD (.*)$/s.exec(check.getRawArgumentsContent() ?? "") ??
      [];
    const command: string[] = JSON.parse(argv).map((word: string) =>
      word.replace("/127.0.0.1/9090", `/${hostname}/${port}`)
    );
    const server = await RunningServer.start("deno run", [
      "--admin",
      `${hostname}:${port}`,
    ]);
    try {
      assertEquals((await runCommand(command)).code, 0);
    } finally {
      await server[Symbol.asyncDispose]();
    }
    assertEquals((await runCommand(command)).code, 1);
  },
);
