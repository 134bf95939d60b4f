# SPDX-License-Identifier: Apache-2.0
"""Servers for the scenarios: real nginx, honest or not, a proxy that dies half-way, a real etcd."""
import base64
import json
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request

CONFIG = """
daemon off; master_process off; worker_processes 1; user root;
error_log {dir}/error.log; pid {dir}/pid;
events {{ worker_connections 256; }}
http {{
  log_format plain '$status $body_bytes_sent "$http_range" $request_uri';
  access_log {dir}/access.log plain;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  sendfile on; keepalive_timeout 60; keepalive_requests 100000;
  server {{ listen 127.0.0.1:{port}{tls}; root {root}; {extra} }}
}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Nginx:
    """Serves a folder. ranges=False answers every request whole; rate is in bytes per second; tls
    is a file with certificate and key: the server then speaks https."""

    def __init__(self, work, root, ranges=True, rate=0, tls=None):
        self.dir = pathlib.Path(work)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.port = free_port()
        extra = ("" if ranges else "max_ranges 0; ") + ("limit_rate %d; " % rate if rate else "")
        (self.dir / "nginx.conf").write_text(CONFIG.format(
            dir=self.dir, port=self.port, root=pathlib.Path(root).resolve(), extra=extra,
            tls=" ssl; ssl_certificate {0}; ssl_certificate_key {0}".format(tls) if tls else ""))
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "nginx", "-p", self.dir, "-e", "error.log", "-c",
             self.dir / "nginx.conf"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_port(self.port, self.process, self.dir / "error.log")

    def requests(self):
        """What was asked so far: (status, body bytes, range, path) each."""
        log = self.dir / "access.log"
        found = re.findall(r'^(\d+) (\d+) "(.*)" (.*)$', log.read_text() if log.exists() else "",
                           re.M)
        return [(int(s), int(n), rng, path) for s, n, rng, path in found]

    def blob_bytes(self):
        """Bytes of blobs sent so far: the bulk of an update."""
        return sum(n for _, n, _, path in self.requests() if path.startswith("/blobs/"))

    def close(self):
        self.process.kill()
        self.process.wait()


class Cutter:
    """A TCP proxy in front of a server. After cut_after bytes it drops every connection and
    refuses new ones until revive(). cut_after None: passes everything."""

    def __init__(self, target, cut_after=None):
        self.target, self.cut_after = target, cut_after
        self.passed, self.dead = 0, False
        self.open = set()
        self.lock = threading.Lock()
        self.port = free_port()
        self.listener = None
        self.listen()

    def listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with self.lock:
                self.open |= {client, server}
            for a, b, counts in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.pump, args=(a, b, counts), daemon=True).start()

    def pump(self, source, sink, counts):
        try:
            while data := source.recv(65536):
                if counts:
                    with self.lock:
                        self.passed += len(data)
                        die = self.cut_after is not None and self.passed >= self.cut_after
                    if die:
                        self.die()
                        return
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def die(self):
        with self.lock:
            self.dead, self.cut_after = True, None
            mine, self.open = self.open, set()
        # shutdown, not only close: it wakes the thread that sits in accept or recv
        for s in {self.listener} | mine:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def wait_dead(self, seconds=120):
        end = time.monotonic() + seconds
        while not self.dead:
            if time.monotonic() > end:
                raise AssertionError("only %d bytes passed, nothing to cut" % self.passed)
            time.sleep(0.1)

    def revive(self):
        self.dead = False
        self.listen()

    def close(self):
        self.die()


class Etcd:
    """One etcd of Debian's on loopback, which is 10.0.2.2 in a guest; it may be stopped and started
    again with what it held."""

    def __init__(self, work):
        self.dir = pathlib.Path(work)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.port, self.peer = free_port(), free_port()
        self.process = None
        self.start()

    def start(self):
        client, peer = ("http://127.0.0.1:%d" % p for p in (self.port, self.peer))
        with open(self.dir / "log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "etcd", "--data-dir", self.dir / "data",
                 "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", "default=" + peer],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        wait_port(self.port, self.process, self.dir / "log")

    def call(self, path, **body):
        with urllib.request.urlopen("http://127.0.0.1:%d/v3/%s" % (self.port, path),
                                    json.dumps(body).encode(), timeout=20) as r:
            return json.load(r)

    def values(self):
        """Everything it holds, as text by key."""
        found = self.call("kv/range", key="AA==", range_end="AA==")
        return {base64.b64decode(kv["key"]).decode(): base64.b64decode(kv["value"]).decode()
                for kv in found.get("kvs", [])}

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def close(self):
        self.process.kill()
        self.process.wait()


def wait_port(port, process, log):
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("no server: " + (log.read_text() if log.exists() else ""))
