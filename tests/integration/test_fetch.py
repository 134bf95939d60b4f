#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""proa-fetch against real nginx and against a server that lies."""
import array, hashlib, http.server, os, pathlib, random, shutil, socket, struct, subprocess
import tempfile, threading, time, unittest

BIN = pathlib.Path(os.environ["PROA_BIN"])
FETCH, CLI = str(BIN / "proa-fetch"), str(BIN / "fetch-cli")
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
MAX = 1 << 40
RETRY, REFUSED, INPUT = 1, 2, 3
ENV = {"PATH": os.environ["PATH"], "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")}


def sha(b):
    return hashlib.sha256(b).hexdigest()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def spec(url, offset=0, length=0, cap=MAX, flags=0, etag=""):
    return f"{offset},{length},{cap},{flags},{etag},{url}"


class Events(dict):
    """id -> {"head": {...}, "end": {...} or "fail": {...}, "notes": [...]}"""

    def __init__(self, text):
        super().__init__()
        for line in text.splitlines():
            n, kind, rest = (line.split(" ", 2) + [""])[:3]
            one = self.setdefault(int(n), {"notes": []})
            if kind == "note":
                one["notes"].append(rest)
            elif kind in ("exit", "error"):
                one[kind] = rest
            else:
                head, sep, text = rest.partition("text=")
                one[kind] = dict(f.split("=", 1) for f in head.split())
                if sep:
                    one[kind]["text"] = text


def cli(*specs, fetch=(), options=(), env=ENV):
    args = [CLI, FETCH, *options]
    for f in fetch:
        args += ["-a", f]
    p = subprocess.run(args + list(specs), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
                       timeout=120)
    assert p.returncode == 0, (args, p.stdout, p.stderr)
    ev = Events(p.stdout.decode())
    assert ev[0].get("exit") == "0" and "error" not in ev[0], (p.stdout, p.stderr)
    return ev


class Liar(threading.Thread):
    """Hands every request to the function named by its path: fn(server, connection, n, fields),
    n counting the requests of that path."""

    def __init__(self):
        super().__init__(daemon=True)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}"
        self.paths, self.count, self.seen = {}, {}, []
        self.lock = threading.Lock()

    def on(self, path, fn):
        self.paths[path] = fn
        self.count[path] = 0
        return self.url + path

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        try:
            with c:
                buf = b""
                while b"\r\n\r\n" not in buf:
                    got = c.recv(65536)
                    if not got:
                        return
                    buf += got
                lines = buf.decode("latin1").split("\r\n")
                path = lines[0].split(" ")[1]
                fields = {k.lower(): v.strip() for k, _, v in (l.partition(":") for l in lines[1:])}
                with self.lock:
                    self.seen.append((time.monotonic(), lines[0], fields))
                    n = self.count[path] = self.count.get(path, 0) + 1
                self.paths[path](c, n, fields)
        except (OSError, KeyError):
            pass

    def stop(self):
        self.sock.close()


def reply(c, status, body=b"", **fields):
    """Headers and body, then an end of the connection."""
    head = f"HTTP/1.1 {status} x\r\nConnection: close\r\n"
    if "Content_Length" not in fields:
        fields["Content_Length"] = len(body)
    for k, v in fields.items():
        if v is not None:
            head += f"{k.replace('_', '-')}: {v}\r\n"
    c.sendall(head.encode() + b"\r\n" + body)


def reset(c):
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


def first_byte(fields):
    return int(fields["range"].removeprefix("bytes=").split("-")[0]) if "range" in fields else 0


NGINX = """
daemon off; {user} pid {d}/nginx.pid; error_log {d}/error.log; events {{ }}
http {{
  access_log off; client_body_temp_path {d}/t; proxy_temp_path {d}/t; fastcgi_temp_path {d}/t;
  uwsgi_temp_path {d}/t; scgi_temp_path {d}/t;
  server {{
    listen 127.0.0.1:{http}; root {d}/www;
    location /norange/ {{ alias {d}/www/; max_ranges 0; }}
    location /slow/ {{ alias {d}/www/; limit_rate 4m; }}
    location /moved {{ return 302 /a.bin; }}
    location /forbidden {{ return 403; }}
  }}
  server {{
    listen 127.0.0.1:{https} ssl http2; root {d}/www;
    ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem;
    location /down {{ return 302 http://127.0.0.1:{http}/a.bin; }}
  }}
}}
"""


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="proa-fetch-"))
        www = cls.dir / "www"
        www.mkdir()
        rng = random.Random(SEED)
        cls.data = rng.randbytes(3_000_001)
        (www / "a.bin").write_bytes(cls.data)
        (www / "empty").write_bytes(b"")
        (www / "hello world").write_bytes(b"hello")
        with open(www / "big.bin", "wb") as f:
            f.truncate(1 << 30)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-keyout", cls.dir / "key.pem", "-out", cls.dir / "cert.pem",
                        "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True,
                       stderr=subprocess.DEVNULL)
        http, https = free_port(), free_port()
        (cls.dir / "nginx.conf").write_text(NGINX.format(
            d=cls.dir, http=http, https=https, user="user root;" if os.geteuid() == 0 else ""))
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        cls.nginx = subprocess.Popen([nginx, "-c", cls.dir / "nginx.conf", "-e",
                                      cls.dir / "error.log"], stderr=subprocess.DEVNULL)
        cls.http, cls.https = f"http://127.0.0.1:{http}", f"https://localhost:{https}"
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", https)).close()
                break
            except OSError:
                time.sleep(0.1)
        cls.liar = Liar()
        cls.liar.start()
        cls.sandboxed = "(seccomp)" in subprocess.run([FETCH, "--version"], check=True,
                                                      stdout=subprocess.PIPE, text=True).stdout

    @classmethod
    def tearDownClass(cls):
        cls.liar.stop()
        cls.nginx.terminate()
        cls.nginx.wait()
        shutil.rmtree(cls.dir)

    def whole(self, one, data=None):
        data = self.data if data is None else data
        self.assertIn("end", one, one)
        self.assertEqual(one["end"]["sha256"], sha(data))
        self.assertEqual(one["end"]["bytes"], str(len(data)))

    def failed(self, one, kind, text, status=None):
        self.assertIn("fail", one, one)
        self.assertEqual(one["fail"]["kind"], str(kind), one)
        self.assertIn(text, one["fail"]["text"])
        if status is not None:
            self.assertEqual(one["fail"]["status"], str(status))
        return one["fail"]


class Nginx(Case):
    def test_whole(self):
        ev = cli(spec(self.http + "/a.bin"), spec(self.http + "/empty"), spec(self.http + "/moved"),
                 spec(self.http + "/hello%20world"))
        self.whole(ev[1])
        self.assertEqual(ev[1]["head"]["ranged"], "1")
        self.assertEqual(ev[1]["head"]["total"], str(len(self.data)))
        self.assertTrue(ev[1]["head"]["etag"].startswith('"'))
        self.whole(ev[2], b"")
        self.whole(ev[3])
        self.whole(ev[4], b"hello")

    def test_random_ranges(self):
        print("seed", SEED)
        rng = random.Random(SEED)
        for where in ("/a.bin", "/norange/a.bin"):
            for _ in range(4):
                asked = []
                for _ in range(24):
                    a = rng.randrange(len(self.data))
                    n = rng.choice([1, 7, 4096, 65536, rng.randrange(1, len(self.data))])
                    asked.append((a, min(n, len(self.data) - a) if rng.random() < 0.9 else 0))
                ev = cli(*(spec(self.http + where, a, n) for a, n in asked))
                for i, (a, n) in enumerate(asked):
                    start = a if where == "/a.bin" else 0
                    end = a + n if n else len(self.data)
                    self.assertEqual(ev[i + 1]["head"]["offset"], str(start))
                    self.whole(ev[i + 1], self.data[start:end])

    def test_range_refusals(self):
        n = len(self.data)
        ev = cli(spec(self.http + "/a.bin", n - 5, 6), spec(self.http + "/a.bin", n + 5, 6),
                 spec(self.http + "/a.bin", n, 0), spec(self.http + "/norange/a.bin", 5, 5, flags=1),
                 spec(self.http + "/a.bin", cap=n - 1), spec(self.http + "/a.bin", 0, 5, cap=n - 1))
        self.failed(ev[1], REFUSED, "before the end of what was asked for")
        self.failed(ev[2], REFUSED, "asked for, the file has", 416)
        self.failed(ev[3], REFUSED, "416")
        self.failed(ev[4], REFUSED, "does not serve byte ranges", 200)
        self.failed(ev[5], REFUSED, "are allowed")
        self.failed(ev[6], REFUSED, "are allowed")
        for i in range(1, 7):
            self.assertNotIn("head", ev[i])

    def test_errors(self):
        ev = cli(spec(self.http + "/nope"), spec(self.http + "/forbidden"),
                 spec("http://nosuchhost.invalid/x"), fetch=["--tries=2"])
        self.failed(ev[1], REFUSED, "404 Not Found", 404)
        self.failed(ev[2], REFUSED, "403 Forbidden", 403)
        self.failed(ev[3], RETRY, "gave up after 2 tries")

    def test_etag(self):
        etag = cli(spec(self.http + "/a.bin"))[1]["head"]["etag"]
        ev = cli(spec(self.http + "/a.bin", 9, 99, etag=etag), spec(self.http + "/a.bin", etag=etag),
                 spec(self.http + "/a.bin", 9, 99, etag='"other"'),
                 spec(self.http + "/a.bin", etag='"other"'))
        self.whole(ev[1], self.data[9:108])
        self.whole(ev[2])
        self.failed(ev[3], REFUSED, "another one")
        self.failed(ev[4], REFUSED, "another one")

    def test_tls(self):
        ca = f"--ca={self.dir}/cert.pem"
        ev = cli(spec(self.https + "/a.bin"), spec(self.https + "/a.bin", 100, 1000),
                 spec(self.https + "/down"), fetch=[ca])
        self.whole(ev[1])
        self.whole(ev[2], self.data[100:1100])
        self.failed(ev[3], REFUSED, "redirects to where it may not")
        ev = cli(spec(self.https + "/a.bin"))
        self.failed(ev[1], REFUSED, "certificate")

    def test_many_at_once_over_http2(self):
        step = len(self.data) // 30
        ev = cli(*(spec(self.https + "/a.bin", k * step, step) for k in range(30)),
                 fetch=[f"--ca={self.dir}/cert.pem"], options=["-s", "1"])
        for k in range(30):
            self.whole(ev[k + 1], self.data[k * step:(k + 1) * step])

    def test_slow_server_and_slow_agent(self):
        ev = cli(spec(self.http + "/slow/a.bin"))
        self.whole(ev[1])
        ev = cli(spec(self.http + "/a.bin"), options=["-s", "15"], fetch=["--min-time=1", "--min-rate=1M"])
        self.whole(ev[1])

    def test_bandwidth(self):
        for options, fetch in ((["-l", "1000000"], []), ([], ["--limit-rate=1000000"])):
            start = time.monotonic()
            ev = cli(spec(self.http + "/a.bin"), options=options, fetch=fetch)
            self.whole(ev[1])
            self.assertGreater(time.monotonic() - start, 2.5)  # never faster; three seconds in truth
            start = time.monotonic()
            ev = cli(spec(f"file://{self.dir}/www/a.bin"), options=options, fetch=fetch)
            self.whole(ev[1])
            self.assertGreater(time.monotonic() - start, 2.5)

    def test_cancel(self):
        ev = cli(spec(self.http + "/big.bin"), spec(self.http + "/slow/big.bin"), options=["-c", "100000"])
        for i in (1, 2):
            self.assertIn("cancelled", ev[i])
            self.assertNotIn("fail", ev[i])

    def test_memory(self):
        for url, fetch in ((self.http, []), (self.https, [f"--ca={self.dir}/cert.pem"])):
            ev = cli(spec(url + "/big.bin"), options=["-r"], fetch=fetch)
            self.assertEqual(ev[1]["end"]["bytes"], str(1 << 30))
            print("peak memory with 1 GiB over", url.split(":")[0], ev[0]["rss"]["kib"], "KiB")
            if self.sandboxed:  # else a sanitizer's shadow is measured
                self.assertLess(int(ev[0]["rss"]["kib"]), 16384)

    def test_memory_when_the_agent_sleeps(self):
        ev = cli(*(spec(self.https + "/big.bin", 0, 2 << 20) for _ in range(16)),
                 options=["-r", "-s", "3"], fetch=[f"--ca={self.dir}/cert.pem"])
        print("peak memory with 16 transfers and a slow agent", ev[0]["rss"]["kib"], "KiB")
        if self.sandboxed:
            self.assertLess(int(ev[0]["rss"]["kib"]), 24576)


class Lies(Case):
    """Each path of the lying server is one lie."""

    body = random.Random(SEED + 1).randbytes(200_000)

    def one(self, path, fn, fetch=(), **kw):
        url = self.liar.on(path, fn)
        return cli(spec(url, **kw), fetch=["--tries=3", *fetch])[1]

    def test_cut_and_resumed(self):
        def cut(c, n, fields):
            at = first_byte(fields)
            if n == 1:
                reply(c, 200, self.body[:70_000], Content_Length=len(self.body), ETag='"v1"')
            else:
                assert fields["if-range"] == '"v1"', fields
                reply(c, 206, self.body[at:], ETag='"v1"', Content_Range=f"bytes {at}-199999/200000")
        ev = self.one("/cut", cut)
        self.whole(ev, self.body)
        self.assertEqual((ev["end"]["requests"], ev["end"]["retries"]), ("2", "1"))
        self.assertEqual(len(ev["notes"]), 1)

    def test_cut_inside_a_range(self):
        def cut(c, n, fields):
            a, b = map(int, fields["range"].removeprefix("bytes=").split("-"))
            part = self.body[a:b + 1]
            reply(c, 206, part[:len(part) * 9 // 10 + 1], Content_Length=len(part),
                  Content_Range=f"bytes {a}-{b}/200000")
        ev = self.one("/cutrange", cut, ["--tries=30"], offset=50_000, length=100_000)
        self.whole(ev, self.body[50_000:150_000])
        self.assertGreater(int(ev["end"]["retries"]), 3)

    def test_cut_by_a_server_without_ranges(self):
        def cut(c, n, fields):
            if n == 1:
                reply(c, 200, self.body[:70_000], Content_Length=len(self.body))
            else:
                reply(c, 200, self.body)
        self.whole(self.one("/cutplain", cut), self.body)

    def test_changed_meanwhile(self):
        def change(c, n, fields):
            reply(c, 200, self.body[:70_000] if n == 1 else self.body, Content_Length=200_000, ETag=f'"v{n}"')
        f = self.failed(self.one("/change", change), RETRY, "changed on the server")
        self.assertLessEqual(int(f["bytes"]), 70_000)

        def shrink(c, n, fields):
            reply(c, 200, self.body[:70_000], Content_Length=200_000 - n)
        self.failed(self.one("/shrink", shrink), RETRY, "changed on the server")

    def test_reset_for_ever(self):
        ev = self.one("/reset", lambda c, n, f: reset(c))
        self.failed(ev, RETRY, "gave up after 3 tries")
        self.assertEqual(self.liar.count["/reset"], 3)

    def test_wrong_range(self):
        def wrong(c, n, f):
            reply(c, 206, self.body[:10], Content_Range="bytes 0-9/200000")
        self.failed(self.one("/wrong", wrong, offset=5, length=10), REFUSED, "another range")
        self.assertEqual(self.liar.count["/wrong"], 1)

    def test_multipart(self):
        def multi(c, n, f):
            reply(c, 206, b"--x\r\n", Content_Type="multipart/byteranges; boundary=x")
        self.failed(self.one("/multi", multi, offset=5, length=10), REFUSED, "multipart")

    def test_compressed(self):
        self.failed(self.one("/gzip", lambda c, n, f: reply(c, 200, b"x", Content_Encoding="gzip")), REFUSED,
                    "compressed")

    def endless(self, c, n, f):
        c.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            c.sendall(b"x" * 65536)

    def test_endless(self):
        f = self.failed(self.one("/endless", self.endless, cap=1_000_000), REFUSED, "past the 1000000 bytes")
        self.assertEqual(f["bytes"], "1000000")

    def test_endless_but_enough(self):
        self.whole(self.one("/endless2", self.endless, length=5_000_000), b"x" * 5_000_000)

    def test_endless_chunks(self):
        def chunks(c, n, f):
            c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                c.sendall(b"8000\r\n" + b"y" * 0x8000 + b"\r\n")
        f = self.failed(self.one("/chunks", chunks, cap=1_000_000), REFUSED, "past the 1000000 bytes")
        self.assertEqual(f["bytes"], "1000000")

    def test_errors_that_pass(self):
        def sick(c, n, f):
            reply(c, 500 if n == 1 else 200, self.body)
        ev = self.one("/sick", sick)
        self.whole(ev, self.body)
        self.assertEqual(ev["end"]["retries"], "1")
        self.failed(self.one("/dead", lambda c, n, f: reply(c, 502)), RETRY, "502 Bad Gateway", 502)
        self.assertEqual(self.liar.count["/dead"], 3)

    def test_retry_after(self):
        def busy(c, n, f):
            if n == 1:
                reply(c, 503, Retry_After=1)
            else:
                reply(c, 200, b"now")
        self.whole(self.one("/busy", busy), b"now")
        times = [t for t, line, _ in self.liar.seen if " /busy " in line]
        self.assertGreaterEqual(times[1] - times[0], 1)
        self.failed(self.one("/away", lambda c, n, f: reply(c, 429, Retry_After=3600)), RETRY, "3600 s", 429)

    def test_redirects(self):
        self.liar.on("/ok", lambda c, n, f: reply(c, 200, b"ok"))
        self.whole(self.one("/to", lambda c, n, f: reply(c, 307, Location="/ok")), b"ok")
        self.failed(self.one("/loop", lambda c, n, f: reply(c, 302, Location="/loop")), REFUSED, "redirects")
        self.assertEqual(self.liar.count["/loop"], 6)
        for to in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "dict://127.0.0.1/x"):
            self.failed(self.one("/out", lambda c, n, f, to=to: reply(c, 302, Location=to)), REFUSED, "redirects")
        for to in ("http://[::1/x", "http://a:port/", "http://", "http://a b/", "https://[zz]/", "http://:0/"):
            self.failed(self.one("/out", lambda c, n, f, to=to: reply(c, 302, Location=to)), REFUSED, "redirects")
        self.failed(self.one("/nowhere", lambda c, n, f: reply(c, 302)), REFUSED, "unexpected answer 302")

    def test_slow_drip(self):
        def drip(c, n, f):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                c.sendall(b"x")
                time.sleep(0.05)
        ev = self.one("/drip", drip, ["--min-rate=1000", "--min-time=1", "--tries=2"])
        self.failed(ev, RETRY, "gave up after 2 tries")

    def test_silence(self):
        ev = self.one("/silent", lambda c, n, f: time.sleep(60), ["--deadline=1"])
        self.failed(ev, RETRY, "deadline")
        ev = self.one("/silent", lambda c, n, f: time.sleep(60), ["--min-time=1", "--tries=1"])
        self.failed(ev, RETRY, "gave up after 1 tries")

    def test_header_bombs(self):
        def many(c, n, f):
            c.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                c.sendall(b"X-Bomb: " + b"b" * 1000 + b"\r\n")

        def long(c, n, f):
            c.sendall(b"HTTP/1.1 200 OK\r\nX-Bomb: ")
            while True:
                c.sendall(b"b" * 65536)
        self.failed(self.one("/many", many), REFUSED, "header")
        self.failed(self.one("/long", long), REFUSED, "header")

    def test_no_http(self):
        self.failed(self.one("/ssh", lambda c, n, f: c.sendall(b"SSH-2.0-OpenSSH_9\r\n")), REFUSED, "")

    def test_error_page_without_end(self):
        def page(c, n, f):
            c.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")
            while True:
                c.sendall(b"no " * 10000)
        self.failed(self.one("/page", page), REFUSED, "404", 404)

    def test_terminal_escapes(self):
        def esc(c, n, f):
            reply(c, 200, self.body, ETag='"\x1b[31m"')
        ev = self.one("/esc", esc, etag='"a"')
        self.assertNotIn("\x1b", str(ev))
        self.failed(ev, REFUSED, "missing")

    def test_what_is_sent(self):
        self.liar.on("/polite", lambda c, n, f: reply(c, 200, b"x"))
        cli(spec(self.liar.url + "/polite"))
        fields = [f for _, line, f in self.liar.seen if " /polite " in line][0]
        self.assertTrue(fields["user-agent"].startswith("proa/"))
        self.assertNotIn("accept-encoding", fields)
        self.assertNotIn("range", fields)

    def test_proxy(self):
        self.liar.on("http://updates.example/x", lambda c, n, f: reply(c, 200, b"by proxy"))
        ev = cli(spec("http://updates.example/x"), env=ENV | {"http_proxy": self.liar.url})
        self.whole(ev[1], b"by proxy")


class Files(Case):
    def test_file_that_cannot_be_read(self):
        """A repository on a medium that goes bad is no fault of this host."""
        bad = pathlib.Path("/sys/class/net/lo/speed")  # opens, and has nothing to say
        if not bad.exists():
            self.skipTest("no sysfs")
        self.failed(cli(spec(bad.as_uri()))[1], REFUSED, "cannot read it")

    def test_files(self):
        www, n = self.dir / "www", len(self.data)
        os.mkfifo(www / "fifo")
        base = f"file://{www}"
        ev = cli(spec(base + "/a.bin"), spec(base + "/a.bin", 77, 1000), spec(base + "/a.bin", 77, 0),
                 spec(base + "/empty"), spec(base + "/hello%20world"), spec(base + "/nope"),
                 spec(base + "/fifo"), spec("file:///dev/zero"), spec(base + "/"),
                 spec(base + "/a.bin", cap=n - 1), spec(base + "/a.bin", n - 1, 2),
                 spec(base + "/a.bin", etag='"x"'), spec(base + "/big.bin"), spec(base + "/a%00.bin"))
        for i, want in enumerate((self.data, self.data[77:1077], self.data[77:], b"", b"hello")):
            self.whole(ev[i + 1], want)
        self.failed(ev[6], REFUSED, "No such file", 404)
        for i in (7, 8, 9):
            self.failed(ev[i], REFUSED, "not a regular file")
        self.failed(ev[10], REFUSED, "are allowed")
        self.failed(ev[11], REFUSED, "ends before")
        self.failed(ev[12], REFUSED, "another one")
        self.assertEqual(ev[13]["end"]["bytes"], str(1 << 30))
        self.failed(ev[14], INPUT, "URL")


class Wire(Case):
    """proa-fetch takes the agent for hostile too."""

    def talk(self, *frames, env=ENV):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = "import os,sys;os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid()));" \
               "os.dup2(int(sys.argv[1]),3);os.execv(sys.argv[2],sys.argv[2:])"
        p = subprocess.Popen(["/usr/bin/python3", "-c", code, str(theirs.fileno()), FETCH],
                             pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, env=env)
        theirs.close()
        for f in frames:
            try:
                ours.send(f)
            except BrokenPipeError:
                break
        return p, ours

    @staticmethod
    def frame(kind, n, body=b""):
        return struct.pack("<HHI", 0x5750, kind, n) + body

    def get(self, n, url=b"http://127.0.0.1:1/x", offset=0, length=0, cap=100, flags=0):
        return self.frame(2, n, struct.pack("<QQQIIIHH", offset, length, cap, flags, 0, 0, len(url), 0) + url)

    def post(self, n, url=b"http://127.0.0.1:1/x", body=b"{}", deadline=30, flags=0):
        return self.frame(5, n, struct.pack("<IIHH", deadline, flags, len(url), 0) + url + body)

    def tls(self, ca, cert, key):
        return self.frame(6, 0, struct.pack("<HHHH", len(ca), len(cert), len(key), 0) + ca + cert + key)

    def test_post(self):
        """Sent once, as it is; whatever the server says is the answer, but not too much of it."""
        seen = []

        class Server(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                seen.append((self.path, body, self.headers.get("fleet-lock-protocol"),
                             self.headers["Content-Type"]))
                answer = {"/big": b"y" * 65536, "/bigger": b"y" * 65537}.get(self.path, b"said " + body[:9])
                if self.path == "/cut":
                    return self.connection.shutdown(socket.SHUT_RDWR)
                self.send_response({"/moved": 307, "/bad": 500}.get(self.path, 200))
                if self.path == "/moved":
                    self.send_header("Location", "/other")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        at = f"http://127.0.0.1:{server.server_port}".encode()
        p, s = self.talk(self.frame(1, 0, struct.pack("<I", 3)))
        s.recv(70000)

        def ask(n, path, body=b"{}", flags=0, url=at):
            s.send(self.post(n, url + path, body, flags=flags))
            f = s.recv(70000)
            kind, number = struct.unpack("<HI", f[2:8])
            self.assertEqual(number, n)
            return kind, (struct.unpack("<I", f[8:12])[0], f[12:])
        self.assertEqual(ask(1, b"/a", b"hello", 1), (21, (200, b"said hello")))
        self.assertEqual(seen[-1], ("/a", b"hello", "true", "application/json"))
        self.assertEqual(ask(2, b"/bad"), (21, (500, b"said {}")))
        self.assertEqual(seen[-1][2], None)
        self.assertEqual(ask(3, b"/moved")[1][0], 307)
        self.assertEqual(seen[-1][0], "/moved")
        self.assertEqual(ask(4, b"/big"), (21, (200, b"y" * 65536)))
        kind, (why, _) = ask(5, b"/bigger")
        self.assertEqual((kind, why), (19, REFUSED))
        kind, (why, _) = ask(6, b"/cut")
        self.assertEqual((kind, why), (19, RETRY))
        kind, (why, _) = ask(7, b"/x", url=b"http://127.0.0.1:1")
        self.assertEqual((kind, why), (19, RETRY))
        self.assertEqual(ask(8, b"/a", b"z" * 65536), (21, (200, b"said zzzzzzzzz")))
        self.assertEqual(len(seen[-1][1]), 65536)
        # given up: one answer all the same, and then room for the next
        s.send(self.post(9, b"http://10.255.255.1/x"))
        s.send(self.frame(3, 9))
        self.assertEqual(struct.unpack("<HI", s.recv(70000)[2:8]), (19, 9))
        self.assertEqual(ask(10, b"/a")[0], 21)
        s.close()
        self.assertEqual((p.communicate(timeout=60)[1], p.returncode), (b"", 0))

    def test_hostile_agent(self):
        hello = self.frame(1, 0, struct.pack("<I", 3))
        for name, frames in {
            "no greeting": [self.get(1)],
            "other version": [self.frame(1, 0, struct.pack("<I", 9))],
            "greets twice": [hello, hello],
            "noise": [hello, b"\xa5" * 100],
            "one byte": [hello, b"x"],
            "huge": [hello, b"\xa5" * 80_000],
            "id twice": [hello, self.get(1), self.get(1)],
            "id 0": [hello, self.get(0)],
            "too many": [hello] + [self.get(k, b"http://10.255.255.1/x") for k in range(1, 35)],
            "no cap": [hello, self.get(1, cap=0)],
            "bad scheme": [hello, self.get(1, b"ftp://x/y")],
            "control character": [hello, self.get(1, b"http://x/y\r\nz")],
            "speaks for fetch": [hello, self.frame(18, 1, struct.pack("<QII", 0, 0, 0))],
            "overflow": [hello, self.get(1, offset=2**64 - 1, length=2)],
            "two posts": [hello, self.post(1, b"http://10.255.255.1/x"), self.post(2)],
            "post to a file": [hello, self.post(1, b"file:///etc/passwd")],
            "post for ever": [hello, self.post(1, deadline=0)],
            "post, id twice": [hello, self.get(1), self.post(1)],
            "key alone": [hello, self.tls(b"", b"", b"key")],
            "TLS cut short": [hello, self.tls(b"ca", b"cert", b"key")[:-1]],
            "long TLS": [hello, self.tls(b"x" * 20481, b"", b"")],
            "replies": [hello, self.frame(21, 1, struct.pack("<I", 200))],
        }.items():
            with self.subTest(name):
                p, s = self.talk(*frames)
                err = p.communicate(timeout=60)[1].decode()
                s.close()
                self.assertEqual(p.returncode, 1, err)
                self.assertIn("agent", err)
                self.assertEqual(err.count("\n"), 1, err)

    def test_hang_up_and_unknown_cancel(self):
        hello = self.frame(1, 0, struct.pack("<I", 3))
        p, s = self.talk(hello, self.frame(3, 77), self.get(1, f"{self.http}/big.bin".encode(), cap=MAX))
        self.assertEqual(s.recv(70000), hello)
        s.close()
        self.assertEqual((p.communicate(timeout=60)[1], p.returncode), (b"", 0))

    def test_descriptors_are_dropped(self):
        p, s = self.talk(self.frame(1, 0, struct.pack("<I", 3)))
        self.assertTrue(s.recv(70000))
        for k in range(20):
            s.sendmsg([self.frame(4, 0, struct.pack("<QQI", 0, 0, 0))],
                      [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno()]))])
        s.send(self.get(1, b"file:///dev/zero"))
        self.assertTrue(s.recv(70000))
        self.assertLess(len(os.listdir(f"/proc/{p.pid}/fd")), 16)
        s.close()
        self.assertEqual((p.communicate(timeout=60)[1], p.returncode), (b"", 0))

    def test_sandbox(self):
        p, s = self.talk(self.frame(1, 0, struct.pack("<I", 3)))
        self.assertTrue(s.recv(70000))
        with open(f"/proc/{p.pid}/status") as f:
            status = dict(l.split(":", 1) for l in f)
        self.assertEqual(status["NoNewPrivs"].strip(), "1")
        for k in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            self.assertEqual(int(status[k], 16), 0)
        if self.sandboxed:
            self.assertEqual(status["Seccomp"].strip(), "2")
        s.close()
        p.communicate(timeout=60)

    def test_no_socket(self):
        p = subprocess.run([FETCH], stderr=subprocess.PIPE, env=ENV, text=True)
        self.assertEqual(p.returncode, 1)
        self.assertIn("no socket was handed over", p.stderr)


class Get(Case):
    def run_get(self, *args):
        return subprocess.run([FETCH, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV, timeout=60)

    def test_get(self):
        p = self.run_get("get", self.http + "/a.bin")
        self.assertEqual((p.returncode, p.stdout), (0, self.data), p.stderr)
        for where in ("/a.bin", "/norange/a.bin"):
            p = self.run_get("-q", "get", "--range", "100-299", self.http + where)
            self.assertEqual((p.returncode, p.stdout, p.stderr), (0, self.data[100:300], b""))
        p = self.run_get("get", "--range=2999999-", self.http + "/a.bin")
        self.assertEqual(p.stdout, self.data[2999999:])

    def test_output(self):
        out = self.dir / "out"
        p = self.run_get("get", "-o", str(out), self.http + "/a.bin")
        self.assertEqual((p.returncode, out.read_bytes()), (0, self.data))
        p = self.run_get("get", "-o", str(out), self.http + "/nope")
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"404", p.stderr)
        self.assertEqual(out.read_bytes(), self.data)
        self.assertFalse((self.dir / "out.part").exists())
        p = self.run_get("get", "-o", "/nosuchdir/x", self.http + "/a.bin")
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"/nosuchdir/x", p.stderr)

    def test_usage(self):
        for args in (["get"], ["put", "http://x"], ["get", "ftp://x"], ["get", "a", "b"], ["--nope"],
                     ["--tries=0"], ["--tries=x"], ["--min-rate=-1"], ["get", "--range=5", "http://x/"],
                     ["get", "--range=5-4", "http://x/"], ["get", "--etag=W/\"x\"", "http://x/"], ["-q"],
                     ["--ca=/nosuch", "get", "https://x/"], ["--deadline=0", "get", "http://x/"]):
            p = self.run_get(*args)
            self.assertEqual(p.returncode, 2, (args, p.stderr))
            self.assertIn(b"proa-fetch", p.stderr)
        p = self.run_get("--help")
        self.assertEqual(p.returncode, 0)
        for word in (b"Usage", b"Exit status", b"Example"):
            self.assertIn(word, p.stdout)


if __name__ == "__main__":
    unittest.main()
