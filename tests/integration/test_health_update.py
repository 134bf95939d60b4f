#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""proa-health's can-update with the real proactl, proad, proa-fetch and nginx: what lies outside of
the host does not condemn a release, what lies in it does."""
import fcntl, http.server, json, os, pathlib, shutil, socket, struct, subprocess, threading, unittest

import test_agent as agent
import test_health as health

setUpModule, tearDownModule = agent.setUpModule, agent.tearDownModule


class NoURL(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "http://[::1/x")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


class CanUpdate(health.Health):
    def setUp(self):
        super().setUp()
        self.host = agent.Host()
        self.web = agent.Nginx(agent.base.repo)
        self.addCleanup(self.web.stop)
        self.conf(Source_URL=self.web.url())

    def conf(self, health_section="", deadlines="Deadline=9s\nUpdateDeadline=5s\n", **more):
        """The same file for proactl --direct and for proa-health, whose ESP and record are elsewhere."""
        self.host.set(**more)
        f = self.root / "etc/proa/proa.conf"
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_text(self.host.conf.read_text() + "[Health]\n" + deadlines + health_section)

    def ask(self, want):
        out = self.run_health("--esp", self.root / "efi", "--state", self.state, want=want)
        j = json.loads((self.state / "health.json").read_text())
        self.assertEqual([c["name"] for c in j["checks"]], ["can-update"])
        return out, j["checks"][0]

    def good(self):
        return self.ask(0)[1]

    def test_passes(self):
        c = self.good()
        self.assertEqual((c["end"], c["required"]), ("passed", True))
        self.assertEqual(c["says"], "metadata was fetched and verified")

    def test_repository_is_down(self):
        self.conf(Source_URL="http://127.0.0.1:9/")
        c = self.good()
        self.assertEqual((c["end"], c["required"]), ("failed", False))
        self.assertIn("repository does not answer", c["says"])
        self.conf("CanUpdate=required\n")
        out, c = self.ask(1)
        self.assertEqual((c["end"], c["required"]), ("failed", True))

    def test_repository_lies(self):
        """A mirror in wrong hands must not take a good release from every host."""
        pub = agent.base.copy("liar")
        for f in (pub.repo / "metadata").iterdir():
            if "root" not in f.name:
                f.write_bytes(f.read_bytes().replace(b'"sig"', b'"gis"', 1) if f.name == "timestamp.json" else b"{}")
        self.conf(Source_URL=f"file://{pub.repo}/")
        c = self.good()
        self.assertEqual((c["end"], c["required"]), ("failed", False))
        self.conf(Source_URL=self.web.url(), Update_Channel="nothing")
        self.assertEqual(self.good()["required"], False)

    def test_server_errors(self):
        shutil.rmtree(self.web.dir / "empty", True)
        (self.web.dir / "empty").mkdir()
        web = agent.Nginx(self.web.dir / "empty")
        self.addCleanup(web.stop)
        self.conf(Source_URL=web.url())
        self.assertEqual(self.good()["required"], False)

    def test_redirect_to_no_url(self):
        """One word from a mirror, or from anybody on the way to it."""
        srv = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NoURL)
        threading.Thread(target=srv.serve_forever, daemon=True).start()
        self.addCleanup(srv.server_close)
        self.addCleanup(srv.shutdown)
        self.conf(Source_URL=f"http://127.0.0.1:{srv.server_port}/")
        c = self.good()
        self.assertEqual((c["end"], c["required"]), ("failed", False))
        self.assertIn("no URL", c["says"])

    def test_silence_after_a_slow_start(self):
        """What was wrong here has passed; what remains is a network that says nothing."""
        with socket.create_server(("127.0.0.1", 0), backlog=50) as quiet:
            late = self.root / "late.json"
            self.conf(deadlines="Deadline=26s\nUpdateDeadline=1s\n", Source_Root=late,
                      Source_URL=f"http://127.0.0.1:{quiet.getsockname()[1]}/")
            t = threading.Timer(2, shutil.copy, (agent.base.repo / "metadata/1.root.json", late))
            t.start()
            self.addCleanup(t.join)
            c = self.good()
        self.assertEqual((c["end"], c["required"]), ("failed", False))
        self.assertIn("repository does not answer", c["says"])

    def test_busy(self):
        """Another proad works on this host for all of that time."""
        self.conf(deadlines="Deadline=40s\nUpdateDeadline=12s\n")
        with open(self.host.state / "agent.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            c = self.good()
        self.assertEqual((c["end"], c["required"]), ("failed", False))
        self.assertIn("another proad works on this host", c["says"])

    def test_no_first_root(self):
        """The image forgot it: this release could never be left again."""
        self.conf(Source_Root=self.root / "none.json")
        out, c = self.ask(1)
        self.assertIn("no trusted root", c["says"])
        self.assertEqual(self.record()["failures"][0]["version"], "1.1.0")
        self.assertIn("can-update: cannot update: no trusted root", self.record()["failures"][0]["reason"])

    def test_late(self):
        """What would count against the release passes, but later than UpdateDeadline=."""
        late = self.root / "late.json"
        self.conf(deadlines="Deadline=30s\nUpdateDeadline=1s\n", Source_Root=late)
        t = threading.Timer(4, shutil.copy, (agent.base.repo / "metadata/1.root.json", late))
        t.start()
        self.addCleanup(t.join)
        self.assertEqual(self.good()["end"], "passed")

    def test_no_disk(self):
        self.host.disk.unlink()
        out, c = self.ask(1)
        self.assertTrue(c["required"])
        self.assertIn("cannot update", c["says"])

    def test_off(self):
        self.conf("CanUpdate=no\n", Source_Root=self.root / "none.json")
        self.assertIn("0 of 0", self.run_health("--esp", self.root / "efi", "--state", self.state, want=0))


# its own tests are not run again here
del health
if __name__ == "__main__":
    unittest.main(verbosity=2)
