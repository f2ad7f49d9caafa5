import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { pack } from "tar-stream";

const runFile = promisify(execFile);
const busybox = "/bin/busybox";

/**
 * The images of the laboratory, all of one root file system: Debian's static busybox, a web root, `udpecho`, `catalina.sh` as stand-in for a Tomcat.
 *
 *     busybox   the engine's own (nothing is imported); no web root
 *     web       EXPOSE 80, serves /www: index.html and the CGI script /cgi-bin/peer, which tells the caller its address
 *     tomcat    EXPOSE 8080, the same on 8080
 *     tools     nothing exposed, CMD sh
 */
export const IMAGES = {
  web: ["EXPOSE 80", 'CMD ["httpd","-f","-p","80","-h","/www"]'],
  tomcat: ["EXPOSE 8080", 'CMD ["catalina.sh","run"]'],
  tools: ['CMD ["sh"]'],
} as const;
export type LabImage = keyof typeof IMAGES;

const peerScript = `#!/bin/sh
echo "Content-Type: text/plain"
echo
a=\${REMOTE_ADDR#[}
a=\${a%]}
echo "peer=\${a#::ffff:}"
`;

/** A tar archive for `docker import`. */
export async function labRootFilesystem(): Promise<Buffer> {
  const { stdout } = await runFile(busybox, ["--list"]);
  const applets = stdout.split("\n").filter((name) => name !== "" && name !== "busybox");
  const archive = pack();
  for (const name of ["bin", "etc", "proc", "sys", "dev", "root", "www", "www/cgi-bin"])
    archive.entry({ name, type: "directory", mode: 0o755 });
  archive.entry({ name: "tmp", type: "directory", mode: 0o1777 });
  archive.entry({ name: "bin/busybox", mode: 0o755 }, await readFile(busybox));
  for (const name of applets) archive.entry({ name: `bin/${name}`, type: "symlink", linkname: "busybox" });
  archive.entry({ name: "bin/udpecho", mode: 0o755 }, await udpecho());
  archive.entry({ name: "bin/catalina.sh", mode: 0o755 }, "#!/bin/sh\nexec httpd -f -p 8080 -h /www\n");
  archive.entry({ name: "etc/passwd" }, "root:x:0:0:root:/root:/bin/sh\n");
  archive.entry({ name: "etc/group" }, "root:x:0:\n");
  archive.entry({ name: "etc/nsswitch.conf" }, "hosts: files dns\n");
  archive.entry({ name: "www/index.html" }, "<!DOCTYPE html>\n<html>welcome</html>\n");
  archive.entry({ name: "www/cgi-bin/peer", mode: 0o755 }, peerScript);
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function udpecho(): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), "lst-cc-"));
  try {
    await runFile("gcc", ["-static", "-Os", "-s", "-o", join(directory, "udpecho"), resolve(import.meta.dirname, "udpecho.c")]);
    return await readFile(join(directory, "udpecho"));
  } finally {
    await rm(directory, { recursive: true });
  }
}
