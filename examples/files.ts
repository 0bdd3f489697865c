// A file server. A request is a path; the reply is the size, the file in
// several frames, and an empty frame. It reads the file only as fast as the
// client takes it, so a file may be larger than memory.
//
//   deno run --allow-net --allow-read examples/files.ts 7000 docs

import { formatAddr, serve } from "@parley/parley";

const [port, folder] = Deno.args;
const root = Deno.realPathSync(folder);
const decoder = new TextDecoder();

serve({
  hostname: "127.0.0.1",
  port: Number(port),
  framing: "length",
  maxFrame: 4096,
  onListen: (addr) => console.log(`listening on ${formatAddr(addr)}`),
}, async function* (request) {
  let file;
  let size;
  try {
    // Links and `..` may lead out of the folder; such files are refused.
    const path = await Deno.realPath(`${root}/${decoder.decode(request)}`);
    if (!path.startsWith(`${root}/`)) throw new Deno.errors.NotFound();
    ({ size } = await Deno.stat(path));
    if (!(await Deno.stat(path)).isFile) throw new Deno.errors.NotFound();
    file = await Deno.open(path);
  } catch {
    yield "ERR there is no such file";
    return;
  }
  yield `${size}`;
  // The file is closed at its end, or when the client is gone.
  yield* file.readable;
  yield "";
});
