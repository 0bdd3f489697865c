/**
 * Certificates and keys as people have them in files: each is served whole, as
 * a handshake shows, or refused whole, with what is wrong and where.
 *
 * @module
 */

import { createPrivateKey, X509Certificate } from "node:crypto";

import { connect, echo, OptionError } from "../../lib/mod.ts";
import { startServer } from "../../lib/server/serve.ts";
import type { TlsKeyPair } from "../../lib/tls/pem.ts";
import {
  CLIENT,
  CLIENT_CA,
  CLIENT_MID,
  ED25519,
  ENCRYPTED_KEY,
  ONE,
  ONE_CA,
  RSA,
  TWO,
  TWO_CA,
} from "../support/certificates.ts";
import { bytes, serveTest, text } from "../support/fixtures.ts";
import {
  run,
  runCommand,
  RunningServer,
  testPrograms,
  testWithTools,
} from "../support/programs.ts";
import { assertEquals, assertRejects, assertThrows } from "../support/std.ts";

const CHAIN = ONE.cert + ONE_CA;

/** The block that openssl puts in front of a key on a curve. */
const EC_PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n" +
  "-----END EC PARAMETERS-----\n";

const LEGACY_ENCRYPTED = createPrivateKey(RSA.key).export({
  type: "pkcs1",
  format: "pem",
  cipher: "aes-128-cbc",
  passphrase: "x",
}) as string;

/** How a text may be laid out, and still be the same certificates or key. */
const layouts: Record<string, (pem: string) => string> = {
  "as it is": (pem) => pem,
  "a byte order mark in front": (pem) => "\ufeff" + pem,
  "CRLF": (pem) => pem.replaceAll("\n", "\r\n"),
  "CR": (pem) => pem.replaceAll("\n", "\r"),
  "no line break at the end": (pem) => pem.trimEnd(),
  "no line break between blocks": (pem) => pem.replaceAll("-\n-", "--"),
  "all in one line": (pem) => pem.replaceAll("\n", " "),
  "not a line break at all": (pem) => pem.replaceAll(/(?<!-)\n(?!-)/g, ""),
  "spaces around each line": (pem) => pem.replaceAll(/^|$/gm, "  \t"),
  "empty lines": (pem) => pem.replaceAll("\n", "\n\n"),
  "text around blocks": (pem) =>
    pem.replaceAll(
      "-----BEGIN",
      "Bag Attributes\n    friendlyName: front-end, Büro\n" +
        "    localKeyID: 54 69\nsubject=CN = localhost\n-----BEGIN",
    ),
  "text in front of blocks, on their lines": (pem) =>
    pem.replaceAll("-----BEGIN", "tls.crt: -----BEGIN"),
  "parameters in front": (pem) => EC_PARAMETERS + pem,
};

/** What an openssl client is shown in a handshake. */
async function shown(port: number): Promise<string[]> {
  const { stdout } = await runCommand([
    ..."openssl s_client -showcerts -connect".split(" "),
    `127.0.0.1:${port}`,
  ], { stdin: "" });
  return stdout.match(/-----BEGIN CERTIFICATE-----[^-]*-----END .*-----/g) ??
    [];
}

/** The certificates of a text, in the form that they are shown in. */
function each(...pems: string[]): string[] {
  return pems.map((pem) => new X509Certificate(pem).toString().trim());
}

async function assertServed(
  pair: TlsKeyPair,
  expected: string[],
  what: string,
): Promise<void> {
  await using running = serveTest(echo, pair);
  const { port } = running.addr as Deno.NetAddr;
  assertEquals(await shown(port), each(...expected), what);
}

testWithTools(
  "serve shows the whole chain, however it is laid out",
  ["openssl"],
  async () => {
    for (const [layout, lay] of Object.entries(layouts)) {
      const pair = { cert: lay(CHAIN), key: lay(ONE.key) };
      await assertServed(pair, [ONE.cert, ONE_CA], layout);
    }
  },
);

testWithTools("serve takes all forms of a key", ["openssl"], async () => {
  const sec1 = createPrivateKey(ONE.key).export({
    type: "sec1",
    format: "pem",
  }) as string;
  const pkcs1 = createPrivateKey(RSA.key).export({
    type: "pkcs1",
    format: "pem",
  }) as string;
  for (
    const [form, { cert }, key] of [
      ["PKCS #8, ECDSA", ONE, ONE.key],
      ["SEC 1", ONE, sec1],
      ["SEC 1 behind parameters", ONE, EC_PARAMETERS + sec1],
      ["PKCS #8, RSA", RSA, RSA.key],
      ["PKCS #1", RSA, pkcs1],
      ["Ed25519", ED25519, ED25519.key],
      ["with the certificate behind it", ONE, ONE.key + ONE.cert],
      ["behind the certificate", RSA, RSA.cert + pkcs1],
    ] as const
  ) await assertServed({ cert, key }, [cert], form);
});

testWithTools(
  "serve takes key and certificates out of one text",
  ["openssl"],
  async () => {
    for (
      const both of [
        ONE.key + CHAIN,
        CHAIN + ONE.key,
        ONE.cert + ONE.key + ONE_CA,
        `\ufeff${ONE.cert}${ONE.key}${ONE_CA}`.replaceAll("-\n-", "--"),
      ]
    ) {
      await assertServed({ cert: both, key: both }, [ONE.cert, ONE_CA], both);
    }
    const old = ONE.cert.replaceAll(" CERTIFICATE", " X509 CERTIFICATE");
    await assertServed({ cert: old, key: ONE.key }, [ONE.cert], "X509");
  },
);

/** A text with other words in its first BEGIN or END. */
function marked(pem: string, kind: "BEGIN" | "END", marker: string): string {
  return pem.replace(RegExp(`-----${kind} [A-Z ]+-----`), marker);
}

/** A block of bytes that are no certificate, whatever it says. */
function block(label: string, bytes: Uint8Array<ArrayBuffer>): string {
  return `-----BEGIN ${label}-----\n${bytes.toBase64()}\n-----END ${label}-----\n`;
}

function relabelled(pem: string, label: string): string {
  return pem.replaceAll(/ [A-Z ]+-----/g, ` ${label}-----`);
}

const der = new Uint8Array(new X509Certificate(ONE.cert).raw);
/** The bytes of a certificate with another for the one at a place. */
function changed(at: number): Uint8Array<ArrayBuffer> {
  return der.with(at, der[at] ^ 0x55);
}

/** Texts in which not all that is meant to be a certificate is one. */
const badCertificates: [text: string, found: string][] = [
  ["", "nothing"],
  ["\ufeff \r\n\n", "nothing"],
  ["cert.pem", "text without PEM"],
  [
    text(new Uint8Array([255, 254, ...bytes([...ONE.cert].join("\0"))])),
    "no text in UTF-8",
  ],
  [[...ONE.cert].join("\0"), "no text in UTF-8"],
  [text(der), "no text in UTF-8"],
  [ONE.key, "PRIVATE KEY at line 1"],
  [
    relabelled(ONE.cert, "TRUSTED CERTIFICATE"),
    "TRUSTED CERTIFICATE at line 1",
  ],
  [
    relabelled(ONE.cert, "CERTIFICATE REQUEST"),
    "CERTIFICATE REQUEST at line 1",
  ],
  [relabelled(ONE.cert, "PKCS7"), "PKCS7 at line 1"],
  [ONE.cert + relabelled(ONE_CA, "X509 CRL"), "X509 CRL at line 12"],
  [
    relabelled(ONE_CA, "CERTIFICATE REQUEST") + ONE.cert,
    "CERTIFICATE REQUEST at line 1",
  ],
  [
    ONE.cert.replace(/-----END.*\n/, ""),
    "CERTIFICATE at line 1 without its END",
  ],
  [
    ONE.cert.replace(/-----END.*\n/, "") + ONE_CA,
    "CERTIFICATE at line 1 without its END",
  ],
  [
    `${ONE.cert}# the authority\r\n${ONE_CA.replace(/-----END.*\n/, "")}`,
    "CERTIFICATE at line 13 without its END",
  ],
  [
    ONE.cert.replace(/-----BEGIN.*\n/, ""),
    "END CERTIFICATE at line 10 without its BEGIN",
  ],
  [
    marked(ONE.cert, "END", "-----END PRIVATE KEY-----"),
    "CERTIFICATE at line 1 that ends as PRIVATE KEY",
  ],
  [
    ONE.cert + marked(ONE_CA, "BEGIN", "----BEGIN CERTIFICATE-----"),
    "BEGIN CERTIFICATE at line 12 without its five dashes",
  ],
  [
    ONE.cert + ONE_CA.replaceAll("-----", "–––––"),
    "BEGIN CERTIFICATE at line 12 without its five dashes",
  ],
  [
    marked(ONE.cert, "END", "-----END CERTIFICATE"),
    "END CERTIFICATE at line 11 without its five dashes",
  ],
  [block("CERTIFICATE", new Uint8Array()), "empty CERTIFICATE at line 1"],
  [
    ONE.cert + block("CERTIFICATE", new Uint8Array()),
    "empty CERTIFICATE at line 12",
  ],
  [ONE.cert.replace("M", "*"), "CERTIFICATE at line 1 that is not base64"],
  [
    CHAIN.replace("MIIBiT", "MII\ufeffBiT"),
    "CERTIFICATE at line 12 that is not base64",
  ],
  [
    block("CERTIFICATE", bytes("hello")),
    "CERTIFICATE at line 1 that cannot be read",
  ],
  [
    CHAIN.replace("\nMIIBiT", "\nMIIBjT"),
    "CERTIFICATE at line 12 that cannot be read",
  ],
  [
    block("CERTIFICATE", der.slice(0, 200)),
    "CERTIFICATE at line 1 that cannot be read",
  ],
  [
    block("CERTIFICATE", new Uint8Array([...der, 0])),
    "CERTIFICATE at line 1 that cannot be read",
  ],
  // The algorithm that it is signed with, said twice and not the same.
  [
    block("CERTIFICATE", changed(42)),
    "CERTIFICATE at line 1 that cannot be read",
  ],
];

/** Texts that have no key, or not one that can be used. */
const badKeys: [text: string, found: string][] = [
  ["", "nothing"],
  ["key.pem", "text without PEM"],
  [ONE.cert, "CERTIFICATE at line 1"],
  [EC_PARAMETERS, "EC PARAMETERS at line 1"],
  [
    ONE.cert + ONE.key + TWO.key,
    "PRIVATE KEY at line 12 and PRIVATE KEY at line 17",
  ],
  [ENCRYPTED_KEY, "ENCRYPTED PRIVATE KEY at line 1"],
  [LEGACY_ENCRYPTED, "encrypted RSA PRIVATE KEY at line 1"],
  [relabelled(ONE.key, "DSA PRIVATE KEY"), "DSA PRIVATE KEY at line 1"],
  [relabelled(ONE.key, "OPENSSH PRIVATE KEY"), "OPENSSH PRIVATE KEY at line 1"],
  [relabelled(ONE.key, "PUBLIC KEY"), "PUBLIC KEY at line 1"],
  [
    relabelled(ONE.key, "RSA PRIVATE KEY"),
    "RSA PRIVATE KEY at line 1 that cannot be read",
  ],
  [ONE.key.replace("M", "*"), "PRIVATE KEY at line 1 that is not base64"],
  [ONE.key.replace("MIG", "MIH"), "PRIVATE KEY at line 1 that cannot be read"],
  [
    block("PRIVATE KEY", new Uint8Array()),
    "empty PRIVATE KEY at line 1",
  ],
  [ONE.key.replace(/-----END.*/, ""), "PRIVATE KEY at line 1 without its END"],
  [
    marked(ONE.key, "END", "-----END RSA PRIVATE KEY-----"),
    "PRIVATE KEY at line 1 that ends as RSA PRIVATE KEY",
  ],
  [TWO.key, "PRIVATE KEY at line 1"],
];

/** What `serve` has to say against a certificate and key; nothing is bound. */
function refusal(pair: TlsKeyPair): OptionError {
  const listen = () => {
    throw new Error("It is bound");
  };
  const error = assertThrows(
    () => startServer(pair, echo, { listen }),
    OptionError,
  );
  for (const line of [...ONE.key.split("\n"), ...TWO.key.split("\n")]) {
    if (line.startsWith("-----") || line === "") continue;
    assertEquals(error.message.includes(line), false);
  }
  return error;
}

Deno.test("serve refuses a cert that is not whole, and says what and where", () => {
  for (const [cert, found] of badCertificates) {
    assertEquals(
      refusal({ cert, key: ONE.key }).message,
      `Cannot use cert "${found}": expected a certificate in PEM`,
    );
  }
});

Deno.test("connect refuses caCerts that are not whole, and says what and where", async () => {
  for (const [ca, found] of badCertificates) {
    const { message } = await assertRejects(
      () => connect({ tls: { caCerts: [TWO_CA, ca] } }),
      OptionError,
    );
    assertEquals(
      message,
      `Cannot use caCerts "${found}": expected a certificate in PEM`,
    );
  }
});

Deno.test("serve refuses a key that it cannot use, and says what and where", () => {
  for (const [key, found] of badKeys) {
    const { option, value } = refusal({ cert: ONE.cert, key });
    assertEquals([option, value], ["key", found]);
  }
});

Deno.test("serve refuses a cert that is behind those that vouch for it", () => {
  assertEquals(
    refusal({ cert: ONE_CA + ONE.cert, key: ONE.key }).message,
    'Cannot use cert "CERTIFICATE at line 12, that of the key, behind 1 more": ' +
      "expected it in front of those",
  );
});

Deno.test("serve refuses a chain that is not in its order, and says where", () => {
  const leaf = CLIENT.cert.replace(CLIENT_MID, "");
  for (
    const [name, before, stray] of [
      ["the root in the middle", leaf, CLIENT_CA + CLIENT_MID],
      ["one of another chain", CLIENT.cert, ONE_CA],
      ["the certificate twice", leaf, leaf],
    ]
  ) {
    const line = before.split("\n").length;
    assertEquals(
      refusal({ cert: before + stray, key: CLIENT.key }).message,
      `Cannot use cert "CERTIFICATE at line ${line}, which vouches for none in ` +
        'front of it": expected each behind the one it vouches for',
      name,
    );
  }
});

testWithTools("serve shows a chain of three", ["openssl"], async () => {
  const leaf = CLIENT.cert.replace(CLIENT_MID, "");
  const cert = CLIENT.cert + CLIENT_CA;
  const all = [leaf, CLIENT_MID, CLIENT_CA];
  await assertServed({ cert, key: CLIENT.key }, all, "in order");
});

Deno.test("serve refuses keys that the runtime cannot sign with", async (t) => {
  const { generateKeyPairSync } = await import("node:crypto");
  for (
    const [name, { privateKey }] of [
      ["RSA, 1024 bits", generateKeyPairSync("rsa", { modulusLength: 1024 })],
      ["secp256k1", generateKeyPairSync("ec", { namedCurve: "secp256k1" })],
      ["X25519", generateKeyPairSync("x25519")],
    ] as const
  ) {
    await t.step(name, () => {
      const key = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
      const { value, expected } = refusal({ cert: ONE.cert, key });
      assertEquals(value, "PRIVATE KEY at line 1");
      assertEquals(expected.startsWith("one private key in PEM"), true);
    });
  }
});

Deno.test("connect trusts authorities, however they are laid out", async () => {
  await using running = serveTest(echo, ONE);
  const { port } = running.addr as Deno.NetAddr;
  for (const [layout, lay] of Object.entries(layouts)) {
    await using client = await connect({
      port,
      tls: { caCerts: [lay(TWO_CA + ONE_CA)] },
    });
    assertEquals(text(await client.request("x")), "x", layout);
  }
});

testPrograms(
  "server shows what is in its files at SIGHUP, or keeps what it has",
  async (way) => {
    const folder = await Deno.makeTempDir();
    try {
      const file = `${folder}/both.pem`;
      await Deno.writeTextFile(file, CHAIN + ONE.key);
      await using server = await RunningServer.start(
        way,
        ["--tls-cert", file, "--tls-key", file],
      );
      const { port } = server.addr;
      assertEquals(await shown(port), each(ONE.cert, ONE_CA));
      const two = TWO.key + TWO.cert + TWO_CA;
      for (
        const [content, expected] of [
          ["\ufeff" + RSA.cert + RSA.key, [RSA.cert]],
          ["\ufeff", 'it has "nothing", expected a certificate in PEM'],
          [
            two + relabelled(ONE_CA, "X509 CRL"),
            'it has "X509 CRL at line 28", expected a certificate in PEM',
          ],
          [
            ONE.key + TWO.cert,
            'it has "PRIVATE KEY at line 1", ' +
            "expected the key of the certificate",
          ],
          [two.replaceAll("-\n-", "--"), [TWO.cert, TWO_CA]],
          [ED25519.key + ED25519.cert, [ED25519.cert]],
          [two.replaceAll("\n", "\r"), [TWO.cert, TWO_CA]],
          [EC_PARAMETERS + RSA.key + RSA.cert, [RSA.cert]],
        ] as const
      ) {
        const before = await shown(port);
        await Deno.writeTextFile(file, content);
        server.kill("SIGHUP");
        if (typeof expected === "string") {
          const { error } = await server.logged("certificate not reloaded");
          assertEquals(String(error).endsWith(expected), true, String(error));
          assertEquals(String(error).includes(file), true, String(error));
          assertEquals(await shown(port), before);
        } else {
          await server.logged("certificate reloaded");
          assertEquals(await shown(port), each(...expected));
        }
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
  ["openssl"],
);

testPrograms("client --tls-ca takes a file whole, or not", async (way) => {
  const folder = await Deno.makeTempDir();
  await using running = serveTest(echo, ONE);
  const place = `127.0.0.1:${(running.addr as Deno.NetAddr).port}`;
  const file = `${folder}/ca.pem`;
  const ask = ["--tls", "--tls-ca", file, place, "hello"];
  try {
    for (const glued of ["\ufeff" + ONE_CA, TWO_CA.trimEnd() + ONE_CA]) {
      await Deno.writeTextFile(file, glued);
      assertEquals(await run(way, "client", ask), {
        code: 0,
        stdout: "hello\n",
        stderr: "",
      });
    }
    // What a shell of Windows writes to a file.
    const utf16 = new Uint16Array([0xfeff, ...bytes(ONE_CA)]);
    await Deno.writeFile(file, new Uint8Array(utf16.buffer));
    assertEquals(await run(way, "client", ask), {
      code: 1,
      stdout: "",
      stderr: `client: cannot use --tls-ca "${file}": ` +
        'it has "no text in UTF-8", expected a certificate in PEM\n',
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
