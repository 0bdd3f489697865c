// What a handler reaches beside its connection: nothing. The server's sources
// are copied, its handler `echo` is replaced by one that runs what it is sent,
// and the server is run in each of its ways. Whatever goes out to the network
// goes to a listener of the test, whatever is read is a file of the test.

import { assert, assertEquals, assertMatch } from "../support/std.ts";

import { Peer } from "../support/fixtures.ts";
import {
  ROOT,
  runCommand,
  RunningServer,
  testWithTools,
  type Way,
} from "../support/programs.ts";
import { Folder } from "../support/socket_files.ts";

/** Runs a request as JavaScript, and says in one line what came of it. */
const RUN_ALL = `
const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
export async function echo(request: Uint8Array<ArrayBuffer>) {
  let said: string;
  try {
    const code = new TextDecoder().decode(request);
    said = "done " + await AsyncFunction(code)();
  } catch (error) {
    said = (error as Error).name + ": " + (error as Error).message;
  }
  return said.replaceAll("\\n", " ");
}
export const handlers = { commands: echo, echo };
`;

const SECRET = "what is in the file";

/** Gives what a worker says first. */
const WORKER = `
  const said = (worker) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
  });
`.replaceAll("\n", " ");

/** Has a worker of Node's kind write into the cache. */
const NODE_WORKER = `new Worker(
  'caches.open("x").then(() => ' +
    'require("node:worker_threads").parentPort.postMessage("stored"))',
  { eval: true },
)`.replaceAll("\n", " ");

/** What is tried; none of it may be done. */
function forbidden(file: string, port: number): Record<string, string> {
  const url = JSON.stringify(`file://${file}`);
  const web = JSON.stringify(`http://127.0.0.1:${port}/x.js`);
  const text = `{ with: { type: "text" } }`;
  const module = (name: string) => `(await import("node:${name}"))`;
  return {
    "a module by HTTP": `await import(${web})`,
    "a module of JSR": `await import("jsr:@probe/module")`,
    "a package": `await import("npm:@probe/package@1.0.0")`,
    "a package of any version": `await import("npm:@probe/package")`,
    "a module": `return (await import(${url})).default`,
    "a text": `return (await import(${url}, ${text})).default`,
    "bytes": `return String.fromCharCode(...(await import(${url}, ` +
      `{ with: { type: "bytes" } })).default)`,
    "JSON": `return (await import("file://${file}.json", ` +
      `{ with: { type: "json" } })).default`,
    "a text by a path": `return (await import("${file}", ${text})).default`,
    "a text by a module of a URL": `return (await import("data:text/` +
      `javascript,export { default } from '" + ${url} + "' with ` +
      `{ type: 'text' }")).default`,
    "a text beside a package":
      `return (await import("npm:uplot@1.6.32/../../../../../../../..` +
      `/../../../..${file}", ${text})).default`,
    "a text by fetch": `return await (await fetch(${url})).text()`,
    "a text by require": `return ${module("module")}` +
      `.createRequire("file:///x.js")("${file}.json")`,
    "a text by Node": `return ${module("fs")}.readFileSync("${file}", "utf8")`,
    "a file": `Deno.writeTextFileSync("${file}.new", "")`,
    "a file by Node": `${module("fs")}.writeFileSync("${file}.new", "")`,
    "a file of the heap": `${module("v8")}.writeHeapSnapshot("${file}.new")`,
    "a database": `new (${module("sqlite")}.DatabaseSync)("${file}.new")`,
    "a database beside one": `new (${module("sqlite")}.DatabaseSync)` +
      `(":memory:").exec("ATTACH DATABASE '${file}.new' AS x")`,
    "a copy of a database": `await ${module("sqlite")}.backup(` +
      `new (${module("sqlite")}.DatabaseSync)(":memory:"), "${file}.new")`,
    "Deno's database": `await Deno.openKv("${file}.new")`,
    "the cache": `await caches.open("x")`,
    "the cache by its class":
      `const [brand] = Object.getOwnPropertySymbols(new Headers()); ` +
      `const storage = Object.create(CacheStorage.prototype); ` +
      `storage[brand] = brand; await storage.open("x")`,
    "the local storage": `localStorage.setItem("a", "b")`,
    "the session's storage": `sessionStorage.setItem("a", "b")`,
    "a worker with a cache": `${WORKER} return await said(new Worker(` +
      `"data:text/javascript,await caches.open('x'); postMessage('stored')", ` +
      `{ type: "module" }))`,
    "a worker by HTTP": `${WORKER} return await said(new Worker(${web}, ` +
      `{ type: "module" }))`,
    "a worker of another class":
      `return new (class extends Worker {})("data:text/javascript,", ` +
      `{ type: "module" })`,
    "a worker after a repair": `Object.setPrototypeOf(Worker, EventTarget); ` +
      `return new Worker("data:text/javascript,", { type: "module" })`,
    "a worker of Node's": `const { Worker } = ${module("worker_threads")}; ` +
      `return await new Promise((resolve, reject) => ${NODE_WORKER}` +
      `.on("message", resolve).on("error", reject))`,
    "a worker of Node's, at hand":
      `const { Worker } = process.getBuiltinModule("worker_threads"); ` +
      `return await new Promise((resolve, reject) => ${NODE_WORKER}` +
      `.on("message", resolve).on("error", reject))`,
    "fetch": `await fetch(${web})`,
    "a socket": `await Deno.connect({ port: ${port} })`,
    "a socket of the web": `await new WebSocketStream(` +
      `"ws://127.0.0.1:${port}/").opened`,
    "events": `await new Promise((resolve, reject) => { ` +
      `const source = new EventSource(${web}); source.onopen = resolve; ` +
      `source.onerror = (event) => { source.close(); reject(new Error()) } })`,
    "a socket of Node's": `const { connect } = ${module("net")}; ` +
      `await new Promise((resolve, reject) => connect(${port}, "127.0.0.1")` +
      `.on("connect", resolve).on("error", reject))`,
    "a listener": `Deno.listen({ port: 0 })`,
    "a name": `return ${module("dns/promises")}.lookup("localhost")`,
    "an inspector": `${module("inspector")}.open(0, "127.0.0.1")`,
    "a program": `new Deno.Command("true").outputSync()`,
    "a program by Node": `${module("child_process")}.execFileSync("true")`,
    "another's process": `process.kill(1, "SIGCONT")`,
    "a library": `Deno.dlopen("libc.so.6", {})`,
    "a variable": `return Deno.env.get("PARLEY_PORT")`,
    "the host's name": `return Deno.hostname()`,
  };
}

/** What executables have in them, and others would take from Deno's cache. */
const packages = {
  "a package in the cache": `await import("npm:uplot@1.6.32")`,
  "a package by the name it has here": `await import("@logtape/logtape")`,
  // It would be added to the lock file.
  "a package in the cache, of any version":
    `await import("npm:@logtape/logtape")`,
};

/** What touches nothing, and shows that the attempts are run at all. */
const allowed = {
  [`return (await import("data:text/javascript,export default 1")).default`]:
    "done 1",
  [
    `const { state } = await Deno.permissions.request({ name: "read" }); ` +
    `return state`
  ]: "done denied",
};

async function tryAll(way: Way, root: string, threads: number): Promise<void> {
  using outside = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  // The first one to come is one too many; closing the listener ends the wait.
  const reached = outside.accept().then((conn) => {
    conn.close();
    return true;
  }, () => false);
  const { port } = outside.addr;
  await Deno.writeTextFile(
    `${root}/.npmrc`,
    `@probe:registry=http://127.0.0.1:${port}/\n`,
  );
  await using server = await RunningServer.start(
    way,
    ["--handler=echo", `--threads=${threads}`, "--max-frame=64KiB"],
    { JSR_URL: `http://127.0.0.1:${port}/` },
    { root },
  );
  // Each has a connection of its own, so that all threads have some.
  const ask = async (code: string) => {
    using peer = await Peer.to(server);
    await peer.send(`${code}\n`);
    await peer.finish();
    return (await peer.rest()).trimEnd();
  };
  const file = `${root.slice(0, -1)}.secret`;
  try {
    for (const name of [file, `${file}.json`]) {
      await Deno.writeTextFile(name, JSON.stringify(SECRET));
    }
    const tries = {
      ...forbidden(file, port),
      ...way === "deno run" && packages,
    };
    for (const [what, code] of Object.entries(tries)) {
      const said = await ask(code);
      assertMatch(said, /^(NotCapable|TypeError|ReferenceError|Error):/, what);
      assert(!said.includes(SECRET), `${what}: ${said}`);
    }
    for (const [code, said] of Object.entries(allowed)) {
      assertEquals(await ask(code), said, code);
    }
    assertEquals(await exists(`${file}.new`), false);
    if (threads > 1) await assertReplaced(ask);
  } finally {
    await Deno.remove(file);
    await Deno.remove(`${file}.json`);
  }
  outside.close();
  assertEquals(await reached, false);
}

/** Ends a thread, and waits for a new one: it loads the modules anew. */
async function assertReplaced(
  ask: (code: string) => Promise<string>,
): Promise<void> {
  const threads = new Set<string>();
  const meet = async (count: number) => {
    const last = performance.now() + 20_000;
    while (threads.size < count) {
      assert(performance.now() < last, `${threads.size} threads, not ${count}`);
      // Whom the thread leaves behind is reset.
      const name = await ask("return globalThis.me ??= crypto.randomUUID()")
        .catch(() => "");
      if (name !== "") threads.add(name);
    }
  };
  await meet(2);
  await ask(`setTimeout(() => { throw new Error("the end") })`);
  await meet(3);
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

/** Copies what the server is made of, and gives it the handler. */
async function copySources(to: string): Promise<void> {
  const files = ["deno.json", "server.ts", "client.ts"];
  const command = ["cp", "-r", ...files, "lib", "tools", to];
  const { code, stderr } = await runCommand(command);
  assertEquals(code, 0, stderr);
  await Deno.writeTextFile(`${to}/lib/handlers/mod.ts`, RUN_ALL);
}

testWithTools(
  "server leaves a handler nothing but its connection (deno run)",
  ["cp"],
  async () => {
    await using folder = await Folder.make();
    const root = `${folder.name}/`;
    await copySources(root);
    for (const threads of [1, 2]) await tryAll("deno run", root, threads);
  },
);

testWithTools(
  "server leaves a handler nothing but its connection (executable)",
  ["cp", "./server"],
  async () => {
    await using folder = await Folder.make();
    const root = `${folder.name}/`;
    await copySources(root);
    // The types have been looked at where these files come from.
    const tool = `${root}tools/compile.ts`;
    const text = await Deno.readTextFile(tool);
    const unchecked = text.replace(
      '["check", "--quiet"',
      '["cache", "--quiet"',
    );
    assert(unchecked !== text);
    await Deno.writeTextFile(tool, unchecked);
    // The client is built beside it, and of no interest.
    await Deno.writeTextFile(`${root}client.ts`, `console.log("parley");`);
    if (await exists(`${ROOT}.denort`)) {
      await Deno.symlink(`${ROOT}.denort`, `${root}.denort`);
    }
    const compile = ["run", "-A", tool];
    const built = await runCommand([Deno.execPath(), ...compile]);
    assertEquals(built.code, 0, built.stderr);
    for (const threads of [1, 2]) await tryAll("executable", root, threads);
  },
);
