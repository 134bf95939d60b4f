# SPDX-License-Identifier: Apache-2.0
"""What every measurement needs: Proa's programs, a server that counts, one way to take a sample."""
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import time

import measure

TOP = pathlib.Path(__file__).resolve().parents[2]
MIB = 1 << 20
# /usr/sbin: not on every user's path. No proxy: the server is on this machine.
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "TZ": "UTC",
       "HOME": "/nonexistent"}
# small send buffer: what a client never read must not count as fetched when it is cut
NGINX = """
daemon off; worker_processes 1; pid {d}/nginx.pid; error_log {d}/nginx-error.log; {user}
events {{ }}
http {{
  log_format bytes '$status $body_bytes_sent $uri';
  access_log {d}/access.log bytes; sendfile on; keepalive_requests 100000;
  client_body_temp_path {d}/t; proxy_temp_path {d}/t; fastcgi_temp_path {d}/t;
  uwsgi_temp_path {d}/t; scgi_temp_path {d}/t;
  server {{ listen 127.0.0.1:{port} sndbuf=64k; root {root}; {locations} }}
}}
"""


def fail(text):
    sys.exit(f"bench: {text}")


def say(text):
    print(text, file=sys.stderr, flush=True)


def must(*command, **kw):
    env = ENV | kw.pop("env", {})
    r = subprocess.run([str(c) for c in command], env=env, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, check=False, **kw)
    if r.returncode != 0:
        fail(f"{shlex.join(str(c) for c in command)} failed:\n{r.stdout}")
    return r.stdout


def shell(command, **kw):
    return must("bash", "-c", f"set -o pipefail; {command}", **kw)


def stamp_of(*files):
    """Changes when one of them does."""
    return " ".join(f"{f.stat().st_size}.{f.stat().st_mtime_ns}" for f in files)


def build():
    say("building Proa")
    must(TOP / "tests/deps", "build", "check", "bench")
    must("cmake", "-G", "Ninja", "-S", TOP, "-B", TOP / "build", "-DCMAKE_BUILD_TYPE=Release",
         "-DSANITIZE=OFF")
    must("ninja", "-C", TOP / "build", "proad", "proactl", "proa-fetch", "proa-publish",
         "proa-verity", "proa-bootctl")
    return TOP / "build/bin"


class Server:
    """nginx on 127.0.0.1, plain files below `root`; missing: paths it says 404 to."""

    def __init__(self, folder, root, missing=()):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        (folder / "access.log").write_text("")
        conf = folder / "nginx.conf"
        conf.write_text(NGINX.format(
            d=folder, port=port, root=root, user="user root;" if os.geteuid() == 0 else "",
            locations=" ".join(f"location = /{m} {{ return 404; }}" for m in missing)))
        self.process = subprocess.Popen(["nginx", "-c", conf, "-e", folder / "nginx-error.log"],
                                        env=ENV)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                time.sleep(0.05)
        fail(f"nginx did not start, see {folder}/nginx-error.log")

    def sent(self):
        """Bytes its workers have written so far, by any system call."""
        total = 0
        for pid in pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children"
                                ).read_text().split():
            for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
                if line.startswith("wchar:"):
                    total += int(line.split()[1])
        return total

    def take(self):
        """Requests, bytes, and bytes by path since the last call, as the server saw them."""
        time.sleep(0.1)
        with open(self.folder / "access.log", "r+", encoding="utf-8") as f:
            lines = f.read().splitlines()
            f.truncate(0)
        by_path = {}
        for line in lines:
            _, n, path = line.split(" ", 2)
            by_path[path.lstrip("/")] = by_path.get(path.lstrip("/"), 0) + int(n)
        return len(lines), sum(by_path.values()), by_path

    def stop(self):
        self.process.terminate()
        self.process.wait()


def sample(command, server, folder, path, cut=None):
    """Runs a shell command; what it cost. `path`: Proa's programs. cut: see measure.run()."""
    server.take()
    s = measure.run(command, ENV | {"PATH": f"{path}:{ENV['PATH']}"}, folder / "log", cut)
    if s["rc"] != 0 and cut is None:
        fail(f"{command} failed ({s['rc']}):\n{(folder / 'log').read_text()}{s['stdout']}")
    s["requests"], s["fetched"], s["paths"] = server.take()
    s["rss_kib"] = sum(p["rss_kib"] for n, p in s["processes"].items()
                       if n not in measure.NOT_COUNTED)
    return s
