# SPDX-License-Identifier: Apache-2.0
"""nginx, a rogue server, and tuf-client with its store, for the tests of hostile repositories."""
import os, pathlib, shutil, socket, socketserver, subprocess, tempfile, threading, time
import unittest, urllib.parse

from hostile import CHANNEL, recover
from tuf_repo import Key, Repo

BIN = os.environ.get("PROA_BIN", "build/bin")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
TARGET = CHANNEL + "/web_1.json"


def start():
    global work, web
    work = pathlib.Path(tempfile.mkdtemp(prefix="hostile.", dir=MEMORY))
    web = Nginx(work / "www")


def stop():
    web.stop()
    shutil.rmtree(work)


class Nginx:
    """Serves a directory; knows what was asked for."""

    def __init__(self, root):
        self.dir, self.root = pathlib.Path(tempfile.mkdtemp(dir=work)), root
        root.mkdir(exist_ok=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        (self.dir / "conf").write_text(
            f"daemon off; pid {self.dir}/pid; error_log {self.dir}/error.log; events {{}}\n"
            + ("user root;\n" if os.geteuid() == 0 else "")
            + f"http {{ log_format short '$request_uri'; access_log {self.dir}/access.log short;\n"
            + "".join(f"{k}_temp_path {self.dir}/{k};\n"
                      for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            + f"server {{ listen 127.0.0.1:{self.port}; root {root}; }} }}\n")
        self.p = subprocess.Popen(["nginx", "-c", str(self.dir / "conf")], stderr=subprocess.DEVNULL)
        self.url = "http://127.0.0.1:%d/" % self.port
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("nginx does not answer")

    def requests(self):
        """nginx writes a line when it has answered, which may be a moment after the client has it."""
        log = self.dir / "access.log"
        return log.read_text().split("\n")[:-1] if log.exists() else []

    def stop(self):
        self.p.terminate()
        self.p.wait()


def served_as(name):
    """Where a server that decodes names looks for the file."""
    return os.path.normpath(urllib.parse.unquote(name))


class Site:
    """One repository below nginx, one client with its store."""
    count = 0

    def __init__(self, repo):
        Site.count += 1
        self.repo, self.name = repo, str(Site.count)
        self.www = web.root / self.name
        self.dir = work / ("client-" + self.name)
        for d in (self.www, self.dir / "md", self.dir / "out"):
            d.mkdir(parents=True)
        self.there = {}
        self.url = web.url + self.name + "/"
        self.serve()

    def serve(self):
        new = {served_as(n): d for n, d in self.repo.files.items()}
        for n in self.there:
            if n not in new:
                (self.www / n).unlink()
        for n, d in new.items():
            if self.there.get(n) != d:
                f = self.www / n
                f.parent.mkdir(parents=True, exist_ok=True)
                f.write_bytes(d)
        self.there = new

    def call(self, *args, prefix=(), env=None):
        p = subprocess.run([*prefix, BIN + "/tuf-client", *args], capture_output=True, text=True, timeout=120,
                           env={**os.environ, **(env or {})}, errors="replace")
        self.err = p.stderr
        assert p.returncode in (0, 1) and "Sanitizer" not in p.stderr, p.stderr
        return p.returncode

    def init(self, root):
        (self.dir / "root").write_bytes(root)
        return self.call("--metadata-dir", str(self.dir / "md"), "init", str(self.dir / "root"))

    def args(self, url=None):
        url = url or self.url
        return ["--metadata-url", url + "metadata/", "--metadata-dir", str(self.dir / "md"),
                "--target-name", TARGET, "--target-dir", str(self.dir / "out"),
                "--target-base-url", url + "targets/"]

    def download(self, url=None, **kw):
        return self.call(*self.args(url), "download", **kw)

    def store(self):
        return {p.name: p.read_bytes() for p in (self.dir / "md").iterdir()}

    def outputs(self):
        return [p.read_bytes() for p in (self.dir / "out").iterdir()]

    def asked(self):
        return [r for r in web.requests() if r.startswith("/%s/" % self.name)]

    def end(self):
        shutil.rmtree(self.www)
        shutil.rmtree(self.dir)


def shop(consistent=True, kind="ed25519", listed=False):
    repo = Repo(consistent, kind, listed)
    repo.delegate("targets", CHANNEL, [CHANNEL + "/*"], keys=[Key(kind)])
    repo.add_target(TARGET, b"the manifest", CHANNEL, custom={"version": "1"})
    repo.publish_all()
    return repo


class Rogue:
    """A server that is honest but for the file of one role."""

    def __init__(self, files, role, mode):
        self.sent = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                path = self.rfile.readline().split()[1].decode().lstrip("/")
                while self.rfile.readline().strip():
                    pass
                data = files.get(path)
                end = "." + role + ".json" if role == "root" else role + ".json"
                try:
                    if path.endswith(end):
                        getattr(self, mode)(data if data is not None else b" " * 1000)
                    elif data is None:
                        self.head("404 Not Found", 0)
                    else:
                        self.head("200 OK", len(data))
                        self.wfile.write(data)
                except OSError:
                    pass  # the client hung up

            def head(self, status, length=None, more=""):
                size = "" if length is None else "Content-Length: %d\r\n" % length
                self.wfile.write(("HTTP/1.1 %s\r\nConnection: close\r\n%s%s\r\n" % (
                    status, size, more)).encode())

            def forever(self):
                n = 0
                try:
                    while n < 64 << 20:
                        self.wfile.write(b" " * 65536)
                        n += 65536
                finally:
                    outer.sent.append(n)

            def endless(self, data):
                self.head("200 OK")
                self.forever()

            def endless_declared(self, data):
                self.head("200 OK", 2**60)
                self.forever()

            def endless_chunks(self, data):
                self.head("200 OK", more="Transfer-Encoding: chunked\r\n")
                n = 0
                try:
                    while n < 64 << 20:
                        self.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
                        n += 65536
                finally:
                    outer.sent.append(n)

            def slow(self, data):
                self.head("200 OK", len(data))
                for b in data:
                    self.wfile.write(bytes([b]))
                    time.sleep(0.5)

            def silent(self, data):
                self.head("200 OK", len(data))
                time.sleep(300)

            def cut(self, data):
                self.head("200 OK", len(data))
                self.wfile.write(data[:len(data) // 2])

            def hangs_up(self, data):
                pass

            def fails(self, data):
                self.head("500 Internal Server Error", len(data))
                self.wfile.write(data)

            def redirects(self, data):
                self.head("302 Found", 0, "Location: file:///etc/passwd\r\n")

            def babbles(self, data):
                self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n" + data)

        class Quiet(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Case(unittest.TestCase):
    def site(self, *args):
        s = Site(shop(*args))
        self.assertEqual(s.init(s.repo.files["metadata/1.root.json"]), 0, s.err)
        return s

    def good(self, s):
        s.serve()
        self.assertEqual(s.download(), 0, s.err)
        self.assertEqual(s.outputs(), [b"the manifest"])
        shutil.rmtree(s.dir / "out")
        (s.dir / "out").mkdir()

    def refused(self, s, reasons, changed=(), url=None):
        """One sentence and its reason; only the files named changed; nothing was installed."""
        before = s.store()
        self.assertEqual(s.download(url), 1, "accepted")
        self.assertRegex(s.err, r"\[(%s)\]\n$" % "|".join(map(str, reasons)))
        self.assertEqual(s.err.count("\n"), 1, s.err)
        after = s.store()
        self.assertLessEqual({n for n in {*before, *after} if before.get(n) != after.get(n)},
                             set(changed), s.err)
        self.assertEqual(s.outputs(), [])
        return after

    def honest_again(self, s, saved, root=False):
        recover(s.repo, saved, s.store(), root)
        self.good(s)
