# SPDX-License-Identifier: Apache-2.0
"""updater/lock against a real etcd (one, then a cluster that loses its leader), and FleetLock
against a server written from its description."""
import base64
import http.client
import http.server
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

BIN = pathlib.Path(os.environ["PROA_BIN"])
SEED = int(os.environ.get("PROA_SEED", "20261121"))
PREFIX = "com.coreos.airlock/groups/"


def ports(n):
    held = [socket.socket() for _ in range(n)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    got = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return got


def post(port, path, body, headers=None, timeout=10):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        c.request("POST", "/" + path, body, {"Content-Type": "application/json"} | (headers or {}))
        r = c.getresponse()
        return r.status, r.read().decode(errors="replace").replace("\n", " ")
    finally:
        c.close()


class Etcd:
    """n members on loopback."""

    def __init__(self, n=1):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="proa-etcd-"))
        self.client, peer = ports(n), ports(n)
        cluster = ",".join(f"m{i}=http://127.0.0.1:{peer[i]}" for i in range(n))
        self.members = [subprocess.Popen(
            ["etcd", "--name", f"m{i}", "--data-dir", self.dir / f"m{i}",
             "--listen-client-urls", f"http://127.0.0.1:{self.client[i]}",
             "--advertise-client-urls", f"http://127.0.0.1:{self.client[i]}",
             "--listen-peer-urls", f"http://127.0.0.1:{peer[i]}",
             "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer[i]}",
             "--initial-cluster", cluster],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for i in range(n)]
        for port in self.client:
            self.until_healthy(port)

    def until_healthy(self, port):
        for _ in range(300):
            try:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
                c.request("GET", "/health")
                if json.loads(c.getresponse().read()).get("health") == "true":
                    return
            except (OSError, ValueError, http.client.HTTPException):
                pass
            time.sleep(0.1)
        raise AssertionError("etcd did not become healthy")

    def leader(self):
        for i, port in enumerate(self.client):
            if self.members[i].poll() is None:
                status = json.loads(post(port, "v3/maintenance/status", "{}")[1])
                if status["leader"] == status["header"]["member_id"]:
                    return i
        raise AssertionError("no leader")

    def value(self, group, port=None):
        key = base64.b64encode(f"{PREFIX}{group}/v1/semaphore".encode()).decode()
        got = json.loads(post(port or self.client[0], "v3/kv/range", json.dumps({"key": key}))[1])
        return json.loads(base64.b64decode(got["kvs"][0]["value"])) if "kvs" in got else None

    def put(self, group, value):
        key = base64.b64encode(f"{PREFIX}{group}/v1/semaphore".encode()).decode()
        post(self.client[0], "v3/kv/put", json.dumps(
            {"key": key, "value": base64.b64encode(value.encode()).decode()}))

    def stop(self):
        for m in self.members:
            if m.poll() is None:
                m.send_signal(signal.SIGKILL)
            m.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def run(verb, kind, group, who, ports_, places=2, between=None):
    """One attempt of lock-cli; its calls go to the first server that answers."""
    p = subprocess.Popen([BIN / "lock-cli", verb, kind, group, who, str(places)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        for line in p.stdout:
            word, *rest = line.rstrip("\n").split("\t")
            if word in ("got", "full", "error"):
                return (word, *rest)
            if between:
                between()
            headers = {"fleet-lock-protocol": "true"} if rest[0] == "1" else {}
            for port in ports_:
                try:
                    status, body = post(port, word, rest[1], headers)
                    break
                except (OSError, http.client.HTTPException):
                    status, body = 503, "{}"
            p.stdin.write(f"{status}\t{body}\n")
            p.stdin.flush()
        raise AssertionError("lock-cli ended without a verdict")
    finally:
        p.stdin.close()
        p.stdout.close()
        p.wait()


class One(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.etcd = Etcd()
        cls.at = cls.etcd.client

    @classmethod
    def tearDownClass(cls):
        cls.etcd.stop()

    def etcd_run(self, verb, group, who, places=2, **kw):
        return run(verb, "etcd", group, who, self.at, places, **kw)

    def test_take_and_release(self):
        self.assertEqual(self.etcd_run("release", "g1", "a"), ("got",))  # nothing to give back
        self.assertIsNone(self.etcd.value("g1"))
        for who in ("b", "a", "b"):  # twice is fine
            self.assertEqual(self.etcd_run("take", "g1", who), ("got",))
        self.assertEqual(self.etcd.value("g1"), {"total_slots": 2, "holders": ["a", "b"]})
        word, text = self.etcd_run("take", "g1", "c")
        self.assertEqual((word, text), ("full", "group g1 has 2 of 2 places taken by a, b"))
        self.assertEqual(self.etcd_run("release", "g1", "b"), ("got",))
        self.assertEqual(self.etcd_run("take", "g1", "c"), ("got",))
        self.assertEqual(self.etcd.value("g1"), {"total_slots": 2, "holders": ["a", "c"]})

    def test_places_of_the_store_rule(self):
        self.etcd.put("g2", '{"total_slots": 1, "holders": []}')
        self.assertEqual(self.etcd_run("take", "g2", "a", places=9), ("got",))
        self.assertEqual(self.etcd_run("take", "g2", "b", places=9)[0], "full")

    def test_foreign_value(self):
        for text in ("hello", '{"semaphore":1,"max":1,"holders":[]}', "",
                     '{"total_slots":1,"holders":["z","a"]}'):
            self.etcd.put("g3", text)
            word, kind, sentence = self.etcd_run("take", "g3", "a")
            self.assertEqual(word, "error")
            self.assertIn("is no semaphore", sentence)

    def test_last_place(self):
        """Somebody takes the last place between our reading and our writing."""
        self.etcd.put("g4", '{"total_slots":1,"holders":[]}')
        calls = []

        def meddle():
            calls.append(1)
            if len(calls) == 2:
                self.etcd.put("g4", '{"total_slots":1,"holders":["quick"]}')
        self.assertEqual(self.etcd_run("take", "g4", "slow", between=meddle)[0], "full")
        self.assertEqual(self.etcd.value("g4")["holders"], ["quick"])

    def test_crowd(self):
        """Thirty at once: never more holders than places, and everybody gets in at last."""
        rng, errors, inside, most = random.Random(SEED), [], set(), [0]
        guard = threading.Lock()

        def host(name, pause):
            try:
                while True:
                    word, *rest = self.etcd_run("take", "crowd", name, places=3)
                    if word == "got":
                        break
                    if word == "error" and "all the time" not in rest[1]:
                        raise AssertionError(rest)
                    time.sleep(pause)
                with guard:
                    inside.add(name)
                    most[0] = max(most[0], len(inside))
                time.sleep(pause)
                with guard:
                    inside.discard(name)
                while self.etcd_run("release", "crowd", name, places=3) != ("got",):
                    pass
            except Exception as e:  # noqa: BLE001  (told to the test)
                errors.append(e)
        threads = [threading.Thread(target=host, args=(f"h{i}", rng.uniform(0.01, 0.1)))
                   for i in range(30)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(errors, [])
        self.assertTrue(1 <= most[0] <= 3, most)
        self.assertEqual(self.etcd.value("crowd"), {"total_slots": 3, "holders": []})


class Cluster(unittest.TestCase):
    def test_lost_leader(self):
        etcd = Etcd(3)
        self.addCleanup(etcd.stop)
        at = etcd.client
        self.assertEqual(run("take", "etcd", "g", "a", at), ("got",))
        lost = etcd.leader()
        calls = []

        def kill():
            calls.append(1)
            if len(calls) == 2:  # read, not yet written
                etcd.members[lost].kill()
                etcd.members[lost].wait()
        left = [p for i, p in enumerate(at) if i != lost]
        deadline = time.monotonic() + 60
        got = run("take", "etcd", "g", "b", left, between=kill)
        while got[0] == "error" and time.monotonic() < deadline:
            self.assertEqual(got[1], "1", got)  # ERR_RETRY: as proad, we try again
            time.sleep(0.2)
            got = run("take", "etcd", "g", "b", left)
        self.assertEqual(got, ("got",))
        self.assertEqual(etcd.value("g", left[0]), {"total_slots": 2, "holders": ["a", "b"]})
        self.assertEqual(run("take", "etcd", "g", "c", left)[0], "full")


class FleetLock(http.server.BaseHTTPRequestHandler):
    """From the protocol's description: POST pre-reboot and
    steady-state"""
    places, holders, guard = 1, set(), threading.Lock()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        who, group = body["client_params"]["id"], body["client_params"]["group"]
        if self.headers.get("fleet-lock-protocol") != "true":
            return self.answer(400, "bad_header", "no fleet-lock-protocol")
        if group != "web":
            return self.answer(400, "unknown_group", f"unknown group {group}")
        with self.guard:
            if self.path == "/v1/steady-state":
                self.holders.discard(who)
            elif who not in self.holders and len(self.holders) >= self.places:
                return self.answer(500, "failed_lock",
                                   f"all {self.places} semaphore slots currently locked")
            else:
                self.holders.add(who)
        return self.answer(200, None, None)

    def answer(self, status, kind, value):
        text = json.dumps({"kind": kind, "value": value}).encode() if kind else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


class Fleet(unittest.TestCase):
    def test_protocol(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FleetLock)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        at = [server.server_port]
        self.assertEqual(run("take", "fleetlock", "web", "a", at), ("got",))
        self.assertEqual(run("take", "fleetlock", "web", "a", at), ("got",))
        self.assertEqual(run("take", "fleetlock", "web", "b", at),
                         ("full", "group web: all 1 semaphore slots currently locked"))
        self.assertEqual(run("release", "fleetlock", "web", "a", at), ("got",))
        self.assertEqual(run("take", "fleetlock", "web", "b", at), ("got",))
        word, _, text = run("take", "fleetlock", "db", "b", at)
        self.assertEqual((word, text), ("error", "FleetLock answers 400: unknown group db"))
        word, kind, _ = run("take", "fleetlock", "web", "b", ports(1))
        self.assertEqual(word, "error")


if __name__ == "__main__":
    unittest.main()
