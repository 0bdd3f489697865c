/** Handshakes in memory, which show that the runtime heeds each option. */

import { Buffer } from "node:buffer";
import process from "node:process";
import { Duplex } from "node:stream";
import type { ConnectionOptions, TLSSocket } from "node:tls";

import { systemClock, within } from "../core/clock.ts";
import { OptionError, TlsError } from "../core/errors.ts";
import { messageOf } from "../core/text.ts";
import { tls, TlsContext } from "./context.ts";
import { certificatesOf } from "./pem.ts";

/** How long a handshake may take, in milliseconds; it waits for nobody. */
const LIMIT = 5000;

/** Throws if no handshake works, or one of the settings is not heeded. */
export async function prove(context: TlsContext): Promise<void> {
  const { settings } = context;
  const { cert, key, clientCa, tlsMinVersion, alpnProtocols } = settings;
  const chain = certificatesOf(cert).map(({ raw }) => raw);
  // With authorities of its own a client resumes no session of another's, which
  // would show no certificate.
  const client = { ca: cert, rejectUnauthorized: false };
  // In TLS 1.3 the certificates are encrypted.
  const older = new TlsContext({ ...settings, tlsMinVersion: "1.2" });
  const old = { ...client, maxVersion: "TLSv1.2" } as const;
  const { sent } = await shake(older, old);
  // A list of vectors, itself a vector (RFC 5246, section 7.4.2).
  const list = vector(Buffer.concat(chain.map(vector)));
  if (!payloads(sent).includes(list)) {
    throw unheeded("cert", `${chain.length} given, others shown`);
  }
  if (
    tlsMinVersion === "1.3" &&
    await shake(context, old).then(() => true, () => false)
  ) throw unheeded("tlsMinVersion", tlsMinVersion);
  const protocol = alpnProtocols.at(-1);
  const { alpn, peer } = await shake(context, {
    ...client,
    cert,
    key,
    ALPNProtocols: alpnProtocols.slice(-1),
  });
  if (alpn !== protocol) throw unheeded("alpnProtocols", alpnProtocols);
  if (clientCa !== undefined && !peer?.equals(chain[0])) {
    throw unheeded("clientAuth", settings.clientAuth);
  }
}

function unheeded(option: string, value: unknown): OptionError {
  const { deno } = Deno.version;
  return new OptionError(option, value, `a runtime that heeds it, not ${deno}`);
}

async function shake(context: TlsContext, options: ConnectionOptions) {
  const sent: Uint8Array[] = [];
  const near: Duplex = wire((bytes) => {
    sent.push(bytes);
    far.emit("data", bytes);
  });
  const far: Duplex = wire((bytes) => near.emit("data", bytes));
  const { promise, resolve, reject } = Promise.withResolvers<true>();
  const engine = context.engine(near);
  let client: TLSSocket | undefined;
  engine.on("error", reject);
  engine.once("secure", () => resolve(true));
  engine.once("close", () => reject(new Error("the client has left")));
  // The engine starts in the tick that its constructor has asked for.
  process.nextTick(() => {
    client = tls().connect({ ...options, socket: far });
    client.on("error", reject);
  });
  try {
    if (!await within(systemClock, LIMIT, promise)) {
      throw new Error("it does not end");
    }
    return {
      sent: Buffer.concat(sent),
      alpn: engine.alpnProtocol || undefined,
      peer: engine.getPeerX509Certificate()?.raw,
    };
  } catch (error) {
    throw new TlsError(`Cannot shake hands in memory: ${messageOf(error)}`);
  } finally {
    client?.destroy();
    engine.destroy();
  }
}

function wire(send: (bytes: Uint8Array) => void): Duplex {
  const end: Duplex = new Duplex({
    allowHalfOpen: true,
    read() {},
    write(chunk, _encoding, done) {
      queueMicrotask(() => {
        send(chunk);
        done();
        // See `#nudge` in `transport.ts`.
        end.emit("data", new Uint8Array());
      });
    },
  });
  end.on("error", () => {});
  return end;
}

/** What is in records, without their heads (RFC 5246, section 6.2). */
function payloads(records: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < records.length;) {
    const end = at + 5 + records.readUInt16BE(at + 3);
    parts.push(records.subarray(at + 5, end));
    at = end;
  }
  return Buffer.concat(parts);
}

function vector(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(3);
  length.writeUIntBE(bytes.length, 0, 3);
  return Buffer.concat([length, bytes]);
}
