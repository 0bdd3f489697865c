// An echo that is plain text at first and encrypted after STARTTLS, with the
// commands of SMTP. Nothing is echoed before STARTTLS.
//
//   deno run --allow-net --allow-read examples/starttls.ts 7000 cert.pem key.pem
//   openssl s_client -connect 127.0.0.1:7000 -starttls smtp -quiet

import { formatAddr, serveConnections, TlsError } from "@parley/parley";

const [port, cert, key] = Deno.args;
const decoder = new TextDecoder();

serveConnections({
  hostname: "127.0.0.1",
  port: Number(port),
  cert: Deno.readTextFileSync(cert),
  key: Deno.readTextFileSync(key),
  startTls: true,
  onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
}, async (connection) => {
  await connection.send("220 ready");
  for await (const frame of connection) {
    if (connection.tls !== undefined) {
      await connection.send(frame);
      continue;
    }
    const [word] = decoder.decode(frame).toUpperCase().split(" ");
    if (word === "EHLO") await connection.send("250 STARTTLS");
    else if (word !== "STARTTLS") await connection.send("530 STARTTLS first");
    else {
      await connection.send("220 go ahead");
      try {
        // Bytes that came after the line, before the handshake, break it here.
        await connection.startTls();
      } catch (error) {
        if (error instanceof TlsError) return console.log(error.message);
        throw error;
      }
    }
  }
});
