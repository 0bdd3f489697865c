/**
 * Builds what the benchmark measures with and against.
 *
 * @module
 */

import { at, BUILD, CERT, exists, KEY } from "./paths.ts";
import { type Command, run } from "./processes.ts";

const LIMIT_MS = 60_000;

/** Tokio and what it stands on, optimized as one. */
const CARGO_LIMIT_MS = 300_000;

const FLAGS = ["-O2", "-Wall", "-Wextra"];

/**
 * Builds the programs in C and C++ with `cc` and `c++`, and makes a certificate.
 *
 * @returns Whether the load generator speaks TLS, and there is a certificate.
 * @throws {Error} There is no compiler, or it failed.
 */
export async function buildPrograms(): Promise<{ tls: boolean }> {
  await Deno.mkdir(at(BUILD), { recursive: true });
  const tls = await hasOpenSsl() && await makeCertificate();
  const withTls = tls ? ["-DWITH_TLS", "-lssl", "-lcrypto"] : [];
  const programs = [
    ["cc", "load", "bench/load.c", ...withTls],
    ["cc", "fair", "bench/fair.c", ...withTls, "-pthread"],
    ["cc", "epoll_echo", "bench/peers/epoll_echo.c"],
    ["cc", "epoll_lines", "bench/peers/epoll_lines.c"],
    ["c++", "threads", "bench/peers/threads.cpp", "-pthread"],
  ];
  await Promise.all(programs.map(async ([compiler, name, source, ...more]) => {
    const out = at(BUILD + name);
    await run(
      // Libraries stand behind what needs them.
      [compiler, ...FLAGS, at(source), ...more, "-o", out],
      LIMIT_MS,
      { quiet: false },
    );
  }));
  return { tls };
}

/**
 * Builds the peer in Go, with what its distribution has. Where it cannot be
 * built, the peer is left out as one whose file is missing.
 */
export async function buildGo(): Promise<void> {
  await succeeds([
    ...["go", "build", "-o", at(`${BUILD}go_lines`)] as const,
    at("bench/peers/go_lines.go"),
  ]);
}

/**
 * Builds the peer in Rust, from the crates that Debian has installed, or else
 * from those of the registry. Where it cannot be built, it is left out.
 */
export async function buildRust(): Promise<void> {
  const cargo = [
    ...["cargo", "build", "--quiet", "--release"] as const,
    `--manifest-path=${at("bench/peers/rust_lines/Cargo.toml")}`,
    `--target-dir=${at(`${BUILD}rust`)}`,
  ] as const;
  const debian = [
    "--offline",
    '--config=source.crates-io.replace-with="debian"',
    '--config=source.debian.directory="/usr/share/cargo/registry"',
  ];
  if (await succeeds([...cargo, ...debian], CARGO_LIMIT_MS)) return;
  await succeeds(cargo, CARGO_LIMIT_MS);
}

/** Whether the compiler finds the headers of OpenSSL. */
function hasOpenSsl(): Promise<boolean> {
  const header = ["-include", "openssl/ssl.h", "-x", "c", "/dev/null"];
  return succeeds(["cc", "-fsyntax-only", ...header]);
}

/** Makes a key and a certificate of its own, once for all servers of a run. */
function makeCertificate(): Promise<boolean> {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
  return succeeds([
    ...["openssl", "req", "-x509", ...key, "-nodes"] as const,
    ...["-days", "30", "-subj", "/CN=127.0.0.1"],
    ...["-keyout", at(KEY), "-out", at(CERT)],
  ]);
}

async function succeeds(
  command: Command,
  limit = LIMIT_MS,
): Promise<boolean> {
  try {
    await run(command, limit);
    return true;
  } catch {
    return false;
  }
}

/**
 * Compiles the program that only says hello, on the same runtime as `./server`:
 * the time it takes is what an executable cannot go below.
 *
 * @returns Whether it is there.
 */
export async function buildHello(): Promise<boolean> {
  if (!await exists("server")) return false;
  const out = at(`${BUILD}hello`);
  if (await newer(out, at("server"))) return true;
  const older = await olderRuntime();
  const flags = ["--quiet", "--no-check", "--no-config", "--no-lock"];
  try {
    await run(
      [
        older?.deno ?? Deno.execPath(),
        "compile",
        ...flags,
        "--output",
        out,
        at("bench/peers/hello.ts"),
      ],
      LIMIT_MS,
      older === undefined ? {} : { env: { DENORT_BIN: older.denort } },
    );
  } catch {
    return false;
  }
  return true;
}

async function newer(one: string, other: string): Promise<boolean> {
  try {
    const [a, b] = await Promise.all([Deno.stat(one), Deno.stat(other)]);
    return a.mtime !== null && b.mtime !== null && a.mtime > b.mtime;
  } catch {
    return false;
  }
}

/** What `deno task compile` has left where it built on an older runtime. */
async function olderRuntime(): Promise<
  { deno: string; denort: string } | undefined
> {
  if (!await exists(".denort")) return undefined;
  for await (const { name } of Deno.readDir(at(".denort"))) {
    if (!name.startsWith("deno-")) continue;
    const denort = name.replace("deno-", "denort-");
    if (!await exists(`.denort/${denort}`)) continue;
    return { deno: at(`.denort/${name}`), denort: at(`.denort/${denort}`) };
  }
}
