#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Metrics: what proad writes and proa-metrics serves, judged by promtool; alert rules and dashboard
name only metrics that there are."""
import http.client, json, os, pathlib, re, socket, stat, subprocess, tempfile, threading, unittest

import test_agent as agent

setUpModule, tearDownModule = agent.setUpModule, agent.tearDownModule
SOURCE = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = SOURCE / "docs/examples"
PROG = agent.BIN / "proa-metrics"


def promtool(*args, want=0, **kw):
    p = subprocess.run(["promtool", *map(str, args)], capture_output=True, text=True, timeout=60, **kw)
    assert p.returncode == want, p.stdout + p.stderr
    return p.stdout + p.stderr


def values(text):
    return {m[1]: float(m[2]) for m in re.finditer(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.M)}


class Written(agent.Case):
    def host(self, **conf):
        h = agent.Host()
        self.file, self.message = h.dir / "proa.prom", h.dir / "motd"
        h.set(Host_Metrics=self.file, Host_Message=self.message, **conf)
        return h

    def read(self):
        text = self.file.read_text()
        self.assertEqual(promtool("check", "metrics", input=text), "")
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o644)
        self.assertEqual([p.name for p in self.file.parent.iterdir() if p.name.startswith(".proa")], [])
        return values(text)

    def test_life(self):
        h = self.host()
        old = os.umask(0o077)
        self.addCleanup(os.umask, old)
        h.install()
        v = self.read()
        self.assertEqual(v['proa_state{state="idle"}'], 1)
        self.assertEqual(v["proa_reboot_wanted"], 0)
        self.assertFalse(self.message.exists())
        before = v["proa_checks_total"]
        h.ctl("update")
        v = self.read()
        self.assertEqual(v['proa_state{state="applied"}'], 1)
        self.assertEqual(sum(n for k, n in v.items() if k.startswith("proa_state{")), 1)
        self.assertGreater(v["proa_fetched_bytes_total"], 0)
        self.assertGreater(v["proa_last_staging_written_bytes"], 0)
        self.assertEqual(v['proa_events_total{event="staged"}'], 2)
        self.assertEqual(v["proa_checks_total"], before + 1)
        self.assertIn('proa_newest_release_info{version="1.1.0",channel="stable"}', v)
        self.assertEqual(v["proa_halted"], 0)
        # an image file: nothing runs from it, so what boots next stands for that
        self.assertFalse(self.message.exists())

    def test_failures(self):
        h = self.host().install()
        h.set(Source_URL="http://127.0.0.1:9/")
        h.ctl("check", want=agent.FAILED)
        h.ctl("why", want=agent.FAILED)
        v = self.read()
        self.assertEqual(v['proa_failures_total{kind="retry"}'], 2)
        h.ctl("forgive", "9.9.9", want=agent.FAILED)
        self.assertEqual(self.read()['proa_failures_total{kind="input"}'], 1)
        self.assertLess(v["proa_last_successful_check_timestamp_seconds"], v["proa_last_check_timestamp_seconds"] + 1)

    def record(self, h):
        return max((json.loads(f.read_text().split("\n", 1)[1]) for f in h.state.glob("record.?")),
                   key=lambda j: j["seq"])

    def fell_back(self, h, *versions):
        """As two bad releases would leave the record."""
        import hashlib
        j = self.record(h)
        for v in versions:
            for kind, of, was in (("failed", v, ""), ("fell-back", "1.0.0", v)):
                j["events"].append({"id": j["next_event"], "when": 1795114800, "event": kind, "version": of,
                                    "from": was, "root_hash": "ab" * 32, "fetched": 0, "written": 0, "seconds": 0,
                                    "text": "", "boot_id": ""})
                j["next_event"] += 1
            j["failures"].append({"version": v, "root_hash": "ab" * 32, "when": 1795114800, "cause": "health",
                                  "reason": "20-x.sh, exit 1"})
        j["seq"] += 1
        body = json.dumps(j).encode()
        (h.state / f"record.{j['seq'] % 2}").write_bytes(
            b"proa-record 1 %d %s\n" % (j["seq"], hashlib.sha256(body).hexdigest().encode()) + body)

    def test_second_fallback_in_a_row(self):
        h = self.host().install()
        self.fell_back(h, "0.8.0")
        h.ctl("check")
        self.assertIn("0.8.0 did not stay; this host fell back to 1.0.0", self.message.read_text())
        self.assertNotIn("forgive", self.message.read_text())
        v = self.read()
        self.assertEqual((v["proa_consecutive_fallbacks"], v["proa_halted"]), (1, 0))
        self.fell_back(h, "0.9.0")
        p = h.ctl("update", want=agent.WAITING)
        self.assertEqual(h.json("check", want=agent.WAITING)["verdict"], "blocked")
        self.assertIn("proactl forgive 0.9.0", " ".join(h.ctl("why").stdout.split()))
        self.assertEqual(h.json("why")["decision"]["reasons"][0]["code"], "halted")
        v = self.read()
        self.assertEqual((v["proa_consecutive_fallbacks"], v["proa_halted"]), (2, 1))
        self.assertEqual(v["proa_failed_releases"], 2)
        text = self.message.read_text()
        self.assertIn("Nothing new is installed before `proactl forgive 0.9.0`", text)
        self.assertEqual(h.json("status")["state"], "idle")
        h.set(Update_FallbackLimit=0)
        self.assertEqual(h.json("check")["verdict"], "update")
        h.set(Update_FallbackLimit=2)
        h.ctl("forgive", "0.9.0")
        self.assertFalse(self.message.exists())
        h.ctl("update")
        self.assertEqual(h.json("status")["state"], "applied")

    def test_health(self):
        h = self.host().install()
        self.assertEqual(h.json("health")["last"], None)
        self.assertIn("No health checks", h.ctl("health").stdout)
        result = {"version": "1.0.0", "boot_id": "", "when": "2026-11-21T10:00:00Z", "verdict": "stays",
                  "reason": "10-a.sh, exit 1", "stays": "no other release", "took": 3, "deadline": 300,
                  "checks": [{"name": 'a"b\\c', "source": "script", "required": True, "end": "failed",
                              "reason": 'a"b\\c, exit 1', "exit": 1, "took_ms": 2, "says": None, "output": "x\n"}]}
        (h.state / "health.json").write_text(json.dumps(result))
        h.ctl("check")
        v = self.read()
        self.assertEqual(v["proa_healthy"], 0)
        self.assertEqual(v['proa_health_check_passed{check="a\\"b\\\\c",required="true"}'], 0)
        self.assertIn("not healthy: 10-a.sh, exit 1", self.message.read_text())
        self.assertIn("| x", h.ctl("health", want=agent.FAILED).stdout)
        self.assertEqual(h.json("health", want=agent.FAILED)["last"], result)
        for bad in ("", "[]", "{", '{"checks": 7}', '{"verdict": [], "checks": [1, {}]}', "[" * 5000):
            (h.state / "health.json").write_text(bad)
            h.ctl("check")
            self.read()
            h.ctl("health", want=None if bad.startswith("{\"verd") else agent.DONE)

    def test_dead_end(self):
        pub = agent.base.copy("dead-end")
        h = agent.Host(pub)
        self.message = h.dir / "motd"
        h.set(Host_Message=self.message)
        h.install()
        said = "1.1.0 is a dead end: the next one needs another disk layout"
        agent.sh(agent.BIN / "proa-publish", "channel", "set", pub.repo, "stable", "1.1.0", "--keys", pub.keys,
                 "--dead-end", said.split(": ")[1])
        h.ctl("update")
        h.ctl("check", want=agent.WAITING)
        self.assertIn(said, self.message.read_text())
        self.assertIn(said, " ".join(h.ctl("why").stdout.split()))
        agent.sh(agent.BIN / "proa-publish", "channel", "set", pub.repo, "stable", "1.1.0", "--keys", pub.keys,
                 "--dead-end", "none")
        h.ctl("check", want=agent.NOTHING)
        self.assertFalse(self.message.exists())

    def test_off_and_nowhere(self):
        h = self.host()
        h.set(Host_Metrics="no", Host_Message=h.dir / "none/motd")
        h.install()
        self.assertFalse(self.file.exists())
        h.set(Host_Metrics="relative")
        self.assertIn("absolute", h.ctl("status", want=agent.FAILED).stderr)


class Served(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=agent.work))
        self.file = self.dir / "proa.prom"
        self.file.write_text("# HELP a_x A.\n# TYPE a_x gauge\na_x 1\n" + "# é\n" * 30000)

    def talk(self, send, shut=True, file=None):
        """proa-metrics with one end of a socket pair as systemd's Accept=yes gives it."""
        a, b = socket.socketpair()
        p = subprocess.Popen([PROG, "--file", file or self.file], stdin=b, stdout=b, stderr=subprocess.PIPE)
        b.close()
        a.settimeout(30)
        got = b""
        try:
            a.sendall(send)
            if shut:
                a.shutdown(socket.SHUT_WR)
            while chunk := a.recv(65536):
                got += chunk
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            a.close()
        err = p.communicate(timeout=30)[1].decode()
        self.assertNotIn("Sanitizer", err)
        return p.returncode, got

    def test_plain(self):
        text = self.file.read_bytes()
        for send, shut in ((b"", True), (b"", False), (b"hello\n", False), (b"\xff\0\xff\n", True)):
            self.assertEqual(self.talk(send, shut), (0, text), send)

    def test_http(self):
        rc, got = self.talk(b"GET /metrics HTTP/1.1\r\nHost: proa\r\n\r\n", shut=False)
        head, body = got.split(b"\r\n\r\n", 1)
        self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\n"), head)
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertEqual(body, self.file.read_bytes())
        self.assertTrue(self.talk(b"HEAD / HTTP/1.1\r\n\r\n")[1].endswith(b"\r\n\r\n"))
        self.assertIn(b" 404 ", self.talk(b"GET /../../etc/passwd HTTP/1.1\r\n\r\n")[1])
        self.assertIn(b" 405 ", self.talk(b"POST /metrics HTTP/1.1\r\n\r\n")[1])
        self.assertIn(b" 405 ", self.talk(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3000)[1])

    def test_real_client(self):
        """curl through a listening socket, as on a host."""
        path = self.dir / "sock"
        s = socket.socket(socket.AF_UNIX)
        s.bind(str(path))
        s.listen()

        def one():
            c = s.accept()[0]
            subprocess.run([PROG, "--file", self.file], stdin=c, stdout=c, timeout=30)
            c.close()

        t = threading.Thread(target=one)
        t.start()
        p = subprocess.run(["curl", "-sS", "-f", "--unix-socket", path, "http://proa/metrics"],
                           capture_output=True, timeout=30)
        t.join()
        s.close()
        self.assertEqual((p.returncode, p.stdout), (0, self.file.read_bytes()), p.stderr)

    def test_not_there_yet(self):
        self.assertEqual(self.talk(b"", file=self.dir / "none"), (0, b""))
        p = subprocess.run([PROG, "--file", self.dir / "none"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(p.returncode, 1)
        self.assertIn("none", p.stderr)
        self.assertEqual(subprocess.run([PROG, "x"], capture_output=True).returncode, 2)
        p = subprocess.run([PROG, "--help"], capture_output=True, text=True)
        self.assertEqual((p.returncode, p.stderr), (0, ""))


class Examples(unittest.TestCase):
    def names(self):
        """Every metric that the source knows."""
        text = (SOURCE / "updater/metrics/metrics.c").read_text()
        return set(re.findall(r'"(proa_\w+)"', text))

    def test_alerts(self):
        promtool("check", "rules", EXAMPLES / "proa-alerts.yml")
        self.assertIn("SUCCESS", promtool("test", "rules", "proa-alerts-test.yml", cwd=EXAMPLES))
        text = (EXAMPLES / "proa-alerts.yml").read_text()
        said = set(re.findall(r"\bproa_\w+", text))
        self.assertTrue(said)
        self.assertLessEqual(said, self.names())
        tested = (EXAMPLES / "proa-alerts-test.yml").read_text()
        for alert in re.findall(r"alert: (\w+)", text):
            self.assertIn(alert, tested)

    def test_dashboard(self):
        board = json.loads((EXAMPLES / "proa-dashboard.json").read_text())
        exprs = [t["expr"] for p in board["panels"] for t in p["targets"]]
        said = set(re.findall(r"\bproa_\w+", " ".join(exprs)))
        self.assertLessEqual(said, self.names())
        self.assertEqual(len({p["id"] for p in board["panels"]}), len(board["panels"]))
        # Grafana puts its variables in before Prometheus sees the expression
        rules = "groups:\n- name: g\n  rules:\n" + "".join(
            "  - record: x%d\n    expr: %s\n" % (i, json.dumps(e.replace("$instance", ".*").replace("$__range", "7d")))
            for i, e in enumerate(exprs))
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as f:
            f.write(rules)
            f.flush()
            promtool("check", "rules", f.name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
