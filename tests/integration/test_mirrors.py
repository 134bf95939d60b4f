#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several mirrors and several ranges: the agent's fetcher and proa-fetch against real nginx, a line
with latency, and servers that are away, slow, stale or lying."""
import http.client as http_client, json, os, pathlib, queue, random, shutil, socket, ssl, subprocess
import tempfile, threading, time, unittest

import test_agent as agent
import test_fetch as fetch

BIN = pathlib.Path(os.environ["PROA_BIN"])
SEED = int(os.environ.get("PROA_SEED", "20261121"), 0)
ONE_WAY = 0.025
SIZE = 9_000_001
NGINX = """
daemon off; {user} pid {d}/nginx.pid; error_log {d}/error.log; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log {d}/access.log; client_body_temp_path {d}/t; proxy_temp_path {d}/t;
  fastcgi_temp_path {d}/t; uwsgi_temp_path {d}/t; scgi_temp_path {d}/t; keepalive_requests 100000;
  server {{
    listen 127.0.0.1:{http}; root {d}/www;
    location /norange/ {{ alias {d}/www/; max_ranges 0; }}
    location /slow/ {{ alias {d}/www/; limit_rate 300; }}
    location /busy/ {{ add_header Retry-After 1 always; return 503; }}
    location /later/ {{ add_header Retry-After 20 always; return 503; }}
    location /away/ {{ add_header Retry-After 3600 always; return 503; }}
    location /loop/ {{ return 302 $uri; }}
    location /empty/ {{ return 404; }}
  }}
  server {{
    listen 127.0.0.1:{https} ssl http2; root {d}/www;
    ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem;
    location /plain/ {{ return 302 http://127.0.0.1:{http}/blob; }}
  }}
  server {{
    listen 127.0.0.1:{mtls} ssl http2; root {d}/www;
    ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem;
    ssl_verify_client on; ssl_client_certificate {d}/cert.pem;
  }}
}}
"""


class Line(threading.Thread):
    """TCP with latency in front of a port."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.to = port
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.connections, self.ends, self.frozen = 0, [], set()
        self.start()

    def run(self):
        while True:
            try:
                a, _ = self.sock.accept()
                b = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            self.connections += 1
            self.ends += [a, b]
            for x, y in ((a, b), (b, a)):
                x.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                q = queue.Queue()
                threading.Thread(target=self.take, args=(x, q), daemon=True).start()
                threading.Thread(target=self.give, args=(y, q, self.connections), daemon=True).start()

    def stop(self):
        for s in [self.sock, *self.ends]:
            s.close()

    @staticmethod
    def take(s, q):
        try:
            while data := s.recv(65536):
                q.put((time.monotonic() + ONE_WAY, data))
        except OSError:
            pass
        q.put((0, b""))

    def freeze(self):
        """From now on nothing comes through what is connected, as when an address has changed."""
        self.frozen = set(range(self.connections + 1))

    def give(self, s, q, n):
        try:
            while True:
                due, data = q.get()
                if not data:
                    break
                time.sleep(max(0, due - time.monotonic()))
                if n not in self.frozen:
                    s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def setUpModule():
    global base, nginx, http, https, mtls, data, liar, env, sandboxed
    print(f"PROA_SEED={SEED}")
    base = pathlib.Path(tempfile.mkdtemp(prefix="proa-mirrors-"))
    (base / "www").mkdir()
    data = random.Random(SEED).randbytes(SIZE)
    (base / "www/blob").write_bytes(data)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", base / "key.pem", "-out", base / "cert.pem", "-days", "2",
                    "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
    ports = [fetch.free_port() for _ in range(3)]
    (base / "conf").write_text(NGINX.format(d=base, http=ports[0], https=ports[1], mtls=ports[2],
                                            user="user root;" if os.geteuid() == 0 else ""))
    nginx = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", base / "conf", "-e",
                              base / "error.log"], stderr=subprocess.DEVNULL)
    http, https, mtls = (f"{s}://localhost:{p}/" for s, p in zip(("http", "https", "https"), ports))
    http = http.replace("localhost", "127.0.0.1")
    for p in ports:
        agent.wait_for(lambda p=p: answers(p))
    (base / "creds").mkdir()
    shutil.copy(base / "cert.pem", base / "creds/ca.pem")
    env = fetch.ENV | {"CREDENTIALS_DIRECTORY": str(base / "creds")}
    liar = fetch.Liar()
    liar.start()
    sandboxed = "(seccomp)" in subprocess.run([BIN / "proa-fetch", "--version"], check=True,
                                              stdout=subprocess.PIPE, text=True).stdout
    agent.setUpModule()


def tearDownModule():
    agent.tearDownModule()
    liar.stop()
    nginx.terminate()
    nginx.wait()
    shutil.rmtree(base)


def blob(urls, runs=None, options=(), path="blob", size=None, creds=True):
    """What the agent's fetcher got: a dict, with notes and mirrors."""
    runs = runs or [(0, len(data))]
    p = subprocess.run([BIN / "blob-cli", *options, BIN / "proa-fetch", urls, path,
                        str(size or len(data))], input="".join(f"{a} {n}\n" for a, n in runs),
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120,
                       env=env if creds else fetch.ENV)
    assert p.returncode == 0, (p.stdout, p.stderr)
    out = {"notes": [], "mirrors": []}
    for line in p.stdout.splitlines():
        j = json.loads(line)
        if "note" in j:
            out["notes"].append(j["note"])
        elif "mirror" in j:
            out["mirrors"].append(j)
        else:
            out |= j
    return out


def want(runs):
    return fetch.sha(b"".join(data[a:a + n] for a, n in runs))


def scattered(n, size, gap=70_000):
    step = size + gap
    return [(i * step, size) for i in range(n) if i * step + size <= SIZE]


class Ranges(unittest.TestCase):
    def right(self, j, runs):
        self.assertNotIn("error", j, j)
        self.assertEqual(j["sha256"], want(runs), j["notes"])

    def test_random_runs(self):
        rng = random.Random(SEED + 1)
        for where in (http, https, http + "norange/"):
            for _ in range(3):
                runs, at = [], rng.randrange(200_000)
                while at < len(data) and len(runs) < 150:
                    n = min(rng.choice((1, 4096, 30_000, 400_000, 2_000_000)), len(data) - at)
                    runs.append((at, n))
                    at += n + rng.randrange(1, 200_000)
                j = blob(where, runs)
                self.right(j, runs)
                if "norange" in where:
                    self.assertLessEqual(j["received"], len(data) + (2 << 20))
                else:
                    self.assertEqual(j["received"], sum(n for _, n in runs))
                    # a part of the pass each, so that a cut takes little of it
                    step = max(32 << 10, sum(n for _, n in runs) // 96)
                    self.assertEqual(j["requests"], sum(-(-n // step) for _, n in runs))

    def test_one_range_a_request(self):
        """The server's own log: no request has two ranges, and no range is asked for twice."""
        (base / "access.log").write_text("")
        runs = scattered(100, 5000)
        self.right(blob(https, runs), runs)
        time.sleep(0.2)
        lines = (base / "access.log").read_text().splitlines()
        self.assertEqual(len(lines), len(runs))
        for line in lines:
            self.assertIn('HTTP/2.0" 206 5000', line)

    def test_small_runs_share_round_trips(self):
        runs = scattered(100, 4000)
        for url in (http, https):
            line = Line(int(url.rstrip("/").rsplit(":", 1)[1]))
            far = url.rsplit(":", 1)[0] + f":{line.port}/"
            each = self.serial(line.port, url.startswith("https"))
            line.connections = 0
            j = blob(far, runs)
            self.right(j, runs)
            ratio = j["ms"] / 1000 / (each * len(runs))
            print(f"{len(runs)} runs of 4000 bytes over {2000 * ONE_WAY:.0f} ms, {url[:5].rstrip(':')}: "
                  f"{j['ms']} ms, {ratio:.2f} of one after the other; {line.connections} connections")
            self.assertLessEqual(line.connections, 4)
            line.stop()

    @staticmethod
    def serial(port, tls):
        if tls:
            context = ssl.create_default_context(cafile=base / "cert.pem")
            c = http_client.HTTPSConnection("127.0.0.1", port, context=context)
        else:
            c = http_client.HTTPConnection("127.0.0.1", port)
        c.request("GET", "/blob", headers={"Range": "bytes=0-9"})
        c.getresponse().read()
        start = time.monotonic()
        for i in range(10):
            c.request("GET", "/blob", headers={"Range": f"bytes={i * 9000}-{i * 9000 + 3999}"})
            c.getresponse().read()
        c.close()
        return (time.monotonic() - start) / 10

    def test_memory(self):
        for url in (http, https, http + "norange/"):
            for runs in (scattered(120, 5000), scattered(20, 300_000), [(0, len(data))]):
                j = blob(url, runs)
                self.right(j, runs)
                print(f"{url.split(':')[0]}{' without ranges' if 'norange' in url else ''}, {len(runs)} runs: "
                      f"proa-fetch {j['rss']} KiB, agent {j['own']} KiB")
                if sandboxed:  # else a sanitizer's shadow is measured
                    self.assertLess(j["rss"], 16384)
                    self.assertLess(j["own"], 16384)

    def test_bandwidth_of_all_flights_together(self):
        runs = scattered(60, 20_000)
        start = time.monotonic()
        j = blob(https, runs, ["-l", "600000", "-m", "500000", "-t", "1"])
        self.right(j, runs)
        # never faster; and to be held back is not to be slow
        self.assertGreater(time.monotonic() - start, 1.2 / 0.6 * 0.8)
        self.assertEqual(j["notes"], [])

    def test_another_bandwidth_meanwhile(self):
        # 9 MB, 1 MiB of them slowly: at the old rate it would take 22 s
        j = blob(https, None, ["-l", "400000", "-L", "0"])
        self.right(j, [(0, len(data))])
        self.assertGreater(j["ms"], 2000)
        self.assertLess(j["ms"], 20000)
        j = blob(https, scattered(100, 20_000), ["-L", "1000000"])
        self.right(j, scattered(100, 20_000))
        self.assertGreater(j["ms"], 500)

    def test_held_for_a_while(self):
        runs = scattered(100, 20_000)
        for url in (http, https, http + "norange/"):
            j = blob(url, runs, ["-p", "2200", "-m", "1000", "-t", "1"])
            self.right(j, runs)
            self.assertGreaterEqual(j["ms"], 2200)
            self.assertEqual(j["notes"], [], "nothing times out meanwhile")


    def test_dead_connection(self):
        """One that nothing comes through is not used again, whatever may share it."""
        runs = scattered(100, 20_000)
        for url in (http, https):
            line = Line(int(url.rstrip("/").rsplit(":", 1)[1]))
            timer = threading.Timer(0.7, line.freeze)
            timer.start()
            j = blob(url.rsplit(":", 1)[0] + f":{line.port}/", runs, ["-m", "1000", "-t", "1", "-l", "1000000"])
            timer.cancel()
            self.right(j, runs)
            slow = [n for n in j["notes"] if "slower than" in n]
            self.assertTrue(slow)
            self.assertFalse([n for n in slow if "try 3" in n], slow)
            line.stop()


class Mirrors(unittest.TestCase):
    runs = scattered(40, 20_000)

    def falls_over(self, *bad, runs=None, options=(), words=(), size=None):
        """Whatever the others do, the good one at the end gives the bytes."""
        runs = runs or self.runs
        j = blob(" ".join([*bad, http]), runs, options)
        self.assertNotIn("error", j, j)
        self.assertEqual(j["sha256"], want(runs), j)
        self.assertEqual([m["bad"] for m in j["mirrors"]], [True] * len(bad) + [False], j)
        for w in words:
            self.assertIn(w, " ".join(j["notes"]))
        return j

    def lie(self, name, fn):
        def serve(c, n, fields):
            a, _, b = fields.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
            fn(c, n, int(a), int(b or len(data) - 1))
        liar.on(f"/{name}/blob", serve)
        return f"{liar.url}/{name}/"

    def part(self, c, a, b, body=None, span=None, **more):
        fetch.reply(c, 206, data[a:b + 1] if body is None else body,
                    Content_Range=span or f"bytes {a}-{b}/{len(data)}", **more)

    def test_away(self):
        self.falls_over(f"http://127.0.0.1:{fetch.free_port()}/", "http://nosuchhost.invalid/",
                        f"file://{base}/nowhere/", http + "empty/")

    def test_busy_and_loops(self):
        self.falls_over(http + "busy/", words=["503"])
        self.falls_over(http + "away/", http + "loop/", words=["3600 s", "redirects"])
        self.falls_over(http + "later/", words=["to come back in 20 s"])

    def test_untrusted_tls(self):
        j = blob(f"{https} {http}", self.runs, creds=False)
        self.assertEqual(j["sha256"], want(self.runs))
        self.assertIn("certificate", " ".join(j["notes"]))
        self.falls_over(https + "plain/", words=["may not"])

    def test_slow(self):
        self.falls_over(http + "slow/", options=["-m", "2000", "-t", "1"], words=["slower than 2000 bytes"])

    def test_truncating(self):
        def cut(c, n, a, b):
            part = data[a:b + 1]
            self.part(c, a, b, part[:len(part) // 2], Content_Length=len(part))
        # goes on where it was cut, but gives up: half of half of half
        self.falls_over(self.lie("cut", cut))

    def test_wrong_range(self):
        self.falls_over(self.lie("range", lambda c, n, a, b: self.part(c, a, b, span=f"bytes {a + 1}-{b + 1}/{len(data)}")),
                        words=["another range"])

    def test_other_length(self):
        self.falls_over(self.lie("length", lambda c, n, a, b: self.part(c, a, b, span=f"bytes {a}-{b}/{len(data) - 1}")),
                        words=["the signed manifest says"])

    def test_wrong_bytes(self):
        wrong = self.lie("wrong", lambda c, n, a, b: self.part(c, a, b, bytes(b + 1 - a)))
        j = self.falls_over(wrong, options=["-w", want(self.runs)], words=["gave wrong bytes of blob"])
        self.assertEqual(j["mirrors"][0]["received"], sum(n for _, n in self.runs))

    def test_all_lie(self):
        wrong = [self.lie(f"wrong{i}", lambda c, n, a, b: self.part(c, a, b, bytes(b + 1 - a))) for i in range(3)]
        j = blob(" ".join(wrong), self.runs, ["-w", want(self.runs)])
        self.assertNotEqual(j["sha256"], want(self.runs))
        self.assertEqual([m["bad"] for m in j["mirrors"]], [True] * 3)

    def test_none(self):
        j = blob(f"{http}empty/ file://{base}/nowhere/", self.runs)
        self.assertIn("none of the 2 mirrors", j["error"])
        self.assertTrue(j["error"].startswith(str(fetch.REFUSED)))
        j = blob(f"{http}empty/ {http}away/", self.runs)
        self.assertTrue(j["error"].startswith(str(fetch.RETRY)), "one of them may come back")
        self.assertIn("503", j["error"])

    def test_changing_tag(self):
        """The proof decides, not the tag: servers behind one name may tag a file differently."""
        url = self.lie("tags", lambda c, n, a, b: self.part(c, a, b, ETag=f'"v{n}"'))
        j = blob(url, self.runs)
        self.assertEqual(j["sha256"], want(self.runs))
        self.assertIn("changed on the server", " ".join(j["notes"]))

    def test_if_range(self):
        """Every range but the first ones insists on the file that these were of."""
        seen = []

        def serve(c, n, fields):
            a, b = map(int, fields["range"].removeprefix("bytes=").split("-"))
            seen.append(fields.get("if-range"))
            self.part(c, a, b, ETag='"v1"')
        liar.on("/tagged/blob", serve)
        j = blob(f"{liar.url}/tagged/", self.runs)
        self.assertEqual(j["sha256"], want(self.runs))
        self.assertEqual(set(seen), {None, '"v1"'})
        self.assertLessEqual(seen.count(None), 8)

    def test_files(self):
        j = blob(f"file://{base}/www/", self.runs)
        self.assertEqual(j["sha256"], want(self.runs))
        self.assertEqual(j["received"], sum(n for _, n in self.runs))

    def test_client_certificate(self):
        runs = scattered(30, 1000)
        j = blob(mtls, runs)
        self.assertIn("400", j["error"])
        for k, v in (("client.pem", "cert.pem"), ("client.key", "key.pem")):
            shutil.copy(base / v, base / "creds" / k)
        try:
            self.assertEqual(blob(mtls, runs)["sha256"], want(runs))
            get = [BIN / "proa-fetch", "-q", "--ca", base / "cert.pem"]
            p = subprocess.run([*get, "--cert", base / "cert.pem", "--key", base / "key.pem", "get", mtls + "blob"],
                               stdout=subprocess.PIPE, env=fetch.ENV, check=True)
            self.assertEqual(p.stdout, data)
            p = subprocess.run([*get, "--key", base / "key.pem", "get", mtls + "blob"],
                               stderr=subprocess.PIPE, env=fetch.ENV)
            self.assertEqual((p.returncode, b"--key needs --cert" in p.stderr), (2, True))
        finally:
            for k in ("client.pem", "client.key"):
                (base / "creds" / k).unlink()


class Hosts(unittest.TestCase):
    """proad with several mirrors of one repository, `old` from before 1.1.0 and `new`."""

    @classmethod
    def setUpClass(cls):
        cls.pub = agent.Publisher(agent.work / "mirrors")
        cls.pub.init()
        cls.pub.release("1.0.0")
        cls.old, cls.new = agent.work / "mirrors.old", cls.pub.repo
        shutil.copytree(cls.pub.repo, cls.old)
        cls.pub.release("1.1.0")

    def host(self, *urls, **conf):
        """It runs 1.0.0 and has seen no newer metadata."""
        h = agent.Host(self.pub, url=f"file://{self.old}/")
        h.ctl("update")
        agent.sh(BIN / "proa-bootctl", "--esp", h.esp, "bless", "web_1.0.0")
        h.ctl("status")
        h.set(Source_URL=" ".join(urls), **conf)
        return h

    def spoilt(self, name, change):
        """A copy of the new repository, changed."""
        root = agent.work / f"mirrors.{name}"
        shutil.copytree(self.new, root)
        change(root)
        return f"file://{root}/"

    def spoil(self, pattern, data=b"{}"):
        def change(root):
            found = list(root.glob(pattern))
            self.assertTrue(found, pattern)
            for f in found:
                f.unlink() if data is None else f.write_bytes(data)
        return change

    def test_a_stale_mirror_does_not_freeze(self):
        old, new = f"file://{self.old}/", f"file://{self.new}/"
        for urls in ((old, new), (new, old), (old, old, new)):
            h = self.host(*urls)
            j = h.json("check")
            self.assertEqual((j["verdict"], j["chosen"]), ("update", "1.1.0"), urls)
            h.set(Source_URL=old)  # alone it is refused now: rollback
            self.assertIn("timestamp", h.ctl("check", want=agent.FAILED).stderr)
            h.set(Source_URL=f"{old} {new}")
            self.assertIn("1.1.0", h.json("update")["stage"]["version"])

    def test_away_and_wrong(self):
        new = f"file://{self.new}/"
        bad = [f"http://127.0.0.1:{fetch.free_port()}/", "file:///nowhere/",
               self.spoilt("timestamp", self.spoil("metadata/timestamp.json")),
               self.spoilt("snapshot", self.spoil("metadata/*.snapshot.json")),
               self.spoilt("channel", self.spoil("metadata/*.stable.json", None))]
        h = self.host(*bad, new)
        p = h.ctl("check")
        for word in ("127.0.0.1", "/nowhere/", "mirrors.timestamp", "mirrors.snapshot", "mirrors.channel"):
            self.assertIn(word, p.stderr)
        failed = [line for line in p.stderr.splitlines() if "one of the mirrors failed: " in line]
        self.assertEqual(len(failed), len(bad), p.stderr)
        self.assertEqual(p.stderr.count(bad[0]), 1, p.stderr)
        self.assertEqual(h.json("update")["stage"]["version"], "1.1.0")
        h = self.host(*bad)
        h.ctl("check", want=agent.FAILED)
        self.assertEqual(h.json("status")["running"]["version"], "1.0.0")

    def test_manifest_and_blobs_from_the_next(self):
        new = f"file://{self.new}/"
        h = self.host(self.spoilt("manifest", self.spoil("targets/stable/*1.1.0.json")), new)
        self.assertEqual(h.json("update")["stage"]["version"], "1.1.0")
        h = self.host(self.spoilt("noblobs", self.spoil("blobs/sha256/*", None)), new)
        self.assertEqual(h.json("update")["stage"]["version"], "1.1.0")
        h = self.host(self.spoilt("short", self.spoil("blobs/sha256/*", b"short")), new)
        self.assertEqual(h.json("update")["stage"]["version"], "1.1.0")

    def test_blobs_that_lie(self):
        """Bytes of the right length that are not the image: noticed before they are written."""
        def garble(root):
            for f in root.glob("blobs/sha256/*"):
                b = bytearray(f.read_bytes())
                for i in range(len(b) // 3, len(b), 5000):
                    b[i] ^= 0xFF
                f.write_bytes(b)
        lying, new = self.spoilt("garbled", garble), f"file://{self.new}/"
        h = self.host(lying, new)
        p = h.ctl("update")
        self.assertIn("gave wrong bytes of blobs/sha256/", p.stderr)
        self.assertEqual(h.json("status")["boots_next"]["version"], "1.1.0")
        h = self.host(lying, lying)
        h.ctl("update", want=agent.FAILED)
        self.assertEqual(h.json("status")["boots_next"]["version"], "1.0.0")
        h.set(Source_URL=new)
        h.ctl("update")

    def test_slow_retrieval(self):
        def drip(c, n, fields):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
            while True:
                c.sendall(b" ")
                time.sleep(0.05)
        for path in ("2.root.json", "timestamp.json"):
            liar.on(f"/drip/metadata/{path}", drip)
        slow, new = f"{liar.url}/drip/", f"file://{self.new}/"
        h = self.host(slow, Fetch_MinimumRate="1K", Fetch_MinimumTime="1s")
        before = agent.tree_hash(h.state / "trust")
        h.set(Source_URL=f"{slow} {slow}", Fetch_Deadline="3s")
        p = h.ctl("check", want=agent.FAILED)
        self.assertRegex(p.stderr, "slower than 1024 bytes a second|deadline")
        self.assertEqual(agent.tree_hash(h.state / "trust"), before)
        # a rate that would do, were it not for the time it takes in all
        h.set(Source_URL=slow, Fetch_MinimumRate="1", Fetch_Deadline="2s")
        self.assertIn("deadline", h.ctl("check", want=agent.FAILED).stderr)
        self.assertEqual(agent.tree_hash(h.state / "trust"), before)
        h.set(Source_URL=f"{slow} {new}")
        self.assertEqual(h.json("check")["chosen"], "1.1.0")


if __name__ == "__main__":
    unittest.main()
