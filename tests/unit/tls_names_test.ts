/** The names in certificates, as handlers and the log are given them. */

import { X509Certificate } from "node:crypto";

import { namesOf } from "../../lib/tls/names.ts";
import { CLIENT, HOSTILE, ODD, ONE } from "../support/certificates.ts";
import { assertEquals, assertThrows } from "../support/std.ts";

function der(pem: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new X509Certificate(pem).raw);
}

Deno.test("namesOf reads a subject and names of all kinds", () => {
  assertEquals(namesOf(der(CLIENT.cert)), {
    subject: "CN=ann,O=Example",
    names: [
      ...["DNS:ann.test", "email:ann@example.test"],
      ...["URI:spiffe://example.test/ann", "IP:192.0.2.7"],
    ],
  });
  assertEquals(namesOf(der(ONE.cert)), {
    subject: "CN=localhost",
    names: ["DNS:localhost", "DNS:one.test", "IP:127.0.0.1"],
  });
});

Deno.test("namesOf escapes what would look like another name", () => {
  assertEquals(namesOf(der(ODD.cert)), {
    // As `openssl x509 -nameopt RFC2253,-esc_msb,utf8` has it, but for the type
    // that has no name in RFC 4514.
    subject: "2.5.4.5=#130137,CN=eve\\0AO=admin,OU=\\ zwei=ü\\ ,OU=\\#one," +
      "O=Sheets\\, Towels \\+ more,C=XX",
    names: [
      ...["DNS:eve.test", "URI:http://x/, DNS:admin.test", "IP:fd00::1"],
      "dirName:CN=in\\, a dir",
    ],
  });
  assertEquals(namesOf(der(HOSTILE.cert)).names, [
    "DNS:\x1b]0;x\x07.test",
    "DNS:a\x9b1m\u202e.test",
  ]);
});

Deno.test("namesOf throws at bytes that end too early, and ends at any", () => {
  const whole = der(ODD.cert);
  for (let end = 0; end < whole.length; end++) {
    assertThrows(() => namesOf(whole.subarray(0, end)), Error);
  }
  for (let at = 0; at < whole.length; at++) {
    try {
      namesOf(whole.with(at, whole[at] ^ 0xff));
    } catch (error) {
      assertEquals(error instanceof Error, true);
    }
  }
});
