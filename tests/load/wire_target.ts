/**
 * A server's process, as `deno task fuzz:wire` plays against it.
 *
 * @module
 */

import type { Stats } from "../../lib/admin/stats.ts";
import { ONE } from "../support/certificates.ts";
import { RunningServer, type Way } from "../support/programs.ts";
import { Difference, type Target } from "./wire_play.ts";
import type { Setting } from "./wire_sent.ts";

/** See the module's text. */
export class ServerTarget implements Target, AsyncDisposable {
  readonly setting: Setting;
  readonly ids = new Set<string>();
  readonly #server: RunningServer;
  /** Lines of its log that no client should bring about. */
  readonly #faults: string[] = [];
  /** How many descriptors it had when it was started. */
  #descriptors = 0;

  private constructor(setting: Setting, server: RunningServer) {
    this.setting = setting;
    this.#server = server;
    this.#watch();
  }

  /** Starts a server, and waits until it is ready. */
  static async start(way: Way, setting: Setting): Promise<ServerTarget> {
    const { framing, handler, maxFrame, maxReply, requestTimeout } = setting;
    const { tls, proxy, threads, places, tight } = setting;
    const flags: Record<string, string | number | undefined> = {
      framing,
      handler,
      "max-frame": maxFrame,
      "max-reply": maxReply,
      "request-timeout": `${requestTimeout}ms`,
      admin: "127.0.0.1:0",
      "log-level": "error",
      "proxy-protocol": proxy,
      "proxy-trust": proxy && "127.0.0.1",
      threads,
      "max-connections": places,
      "max-memory": tight ? "300KiB" : undefined,
    };
    const folder = tls ? await Deno.makeTempDir() : undefined;
    if (folder !== undefined) {
      flags["tls-cert"] = `${folder}/cert.pem`;
      flags["tls-key"] = `${folder}/key.pem`;
      await Deno.writeTextFile(`${folder}/cert.pem`, ONE.cert);
      await Deno.writeTextFile(`${folder}/key.pem`, ONE.key);
    }
    try {
      const args = Object.entries(flags)
        .filter(([, value]) => value !== undefined)
        .flatMap(([name, value]) => [`--${name}`, String(value)]);
      const server = await RunningServer.start(way, args);
      const target = new ServerTarget(setting, server);
      await target.#stats();
      // That question had a descriptor, too.
      await new Promise((go) => setTimeout(go, 100));
      target.#descriptors = await target.#countDescriptors();
      return target;
    } finally {
      if (folder) await Deno.remove(folder, { recursive: true });
    }
  }

  get port(): number {
    return this.#server.addr.port;
  }

  freeze(frozen: boolean): void {
    this.#server.kill(frozen ? "SIGSTOP" : "SIGCONT");
  }

  async atRest(patience: number): Promise<void> {
    const deadline = performance.now() + patience;
    for (let pause = 1;; pause = Math.min(pause * 2, 100)) {
      const { connections, requests, memory } = await this.#stats();
      const { active, opening, closed } = connections;
      const descriptors = await this.#countDescriptors() - this.#descriptors;
      const { inFlight } = requests;
      const { heldBytes } = memory;
      const left = { active, opening, heldBytes, inFlight, descriptors };
      if (closed.error > 0) this.#faults.push("a connection closed as error");
      if (this.#faults.length > 0) throw new Difference(this.#faults[0]);
      if (Object.values(left).every((count) => count <= 0)) return;
      if (performance.now() > deadline) {
        throw new Difference(`left when all is over: ${JSON.stringify(left)}`);
      }
      await new Promise((go) => setTimeout(go, pause));
    }
  }

  /** What its log says that no client should bring about, if anything. */
  get fault(): string | undefined {
    return this.#faults[0];
  }

  /** Its resident memory, in MiB. */
  resident(): number {
    const status = Deno.readTextFileSync(`/proc/${this.#server.pid}/status`);
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
  }

  /** Ends it, with its exit code. */
  async end(): Promise<number> {
    this.#server.kill("SIGTERM");
    return await this.#server.code();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
  }

  async #countDescriptors(): Promise<number> {
    let count = 0;
    const folder = `/proc/${this.#server.pid}/fd`;
    for await (const _ of Deno.readDir(folder)) count++;
    return count;
  }

  async #stats(): Promise<Stats> {
    try {
      return await (await fetch(`${this.#server.admin}/stats.json`)).json();
    } catch (error) {
      const [fault = "the server does not answer"] = this.#faults;
      throw new Difference(fault, { cause: error });
    }
  }

  async #watch(): Promise<void> {
    try {
      while (true) {
        const line = await this.#server.stderr.next();
        // A reply that a line cannot hold is in the scripts.
        if (!line.includes('"handler failed"')) this.#faults.push(line);
      }
    } catch {
      // It has ended.
    }
  }
}
