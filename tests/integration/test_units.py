#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `cmake --install` puts on a host, judged by systemd-analyze, systemd-sysusers, -tmpfiles and
dbus-daemon's own schema; on a copy below a temporary DESTDIR."""
import os, pathlib, re, shutil, subprocess, tempfile, unittest
import xml.etree.ElementTree as xml

BUILD = pathlib.Path(os.environ.get("PROA_BIN", "build/bin")).resolve().parent
SOURCE = pathlib.Path(__file__).resolve().parents[2]
UNITS = ["proad.service", "proa-fetch.socket", "proa-fetch@.service", "proa-hook.socket", "proa-hook@.service",
         "proa-reboot@.service", "proa-health.service",
         "proa-health-stuck.service", "proa-settle.service", "proa-update.service", "proa-update.timer",
         "proa-anchor.path", "proa-anchor.service",
         "proa-metrics.socket", "proa-metrics@.service"]


def run(*args, **kw):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)


class Units(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="proa-units-"))
        cls.addClassCleanup(shutil.rmtree, cls.root, True)
        # only this folder's rules: the programs are not needed, and may be half built
        p = run("cmake", "-DCMAKE_INSTALL_PREFIX=/usr", "-P", BUILD / "units/cmake_install.cmake",
                env=dict(os.environ, DESTDIR=str(cls.root)))
        assert p.returncode == 0, p.stdout + p.stderr
        cls.system = cls.root / "usr/lib/systemd/system"
        # the host's own units around them
        for f in pathlib.Path("/lib/systemd/system").iterdir():
            to = cls.system / f.name
            if not to.exists() and not f.is_dir():
                shutil.copy2(f, to, follow_symlinks=False)
        for name in ("usr/lib/proa/proad", "usr/lib/proa/proa-fetch", "usr/lib/proa/proa-hook", "usr/lib/proa/proa-health",
                     "usr/lib/proa/proa-metrics",
                     "usr/bin/proactl", "usr/bin/proa-audit", "usr/bin/false", "usr/sbin/false"):
            to = cls.root / name
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text("#!/bin/sh\n")
            to.chmod(0o755)
        for link in ("lib", "bin", "sbin"):
            (cls.root / link).symlink_to("usr/" + link)

    def text(self, unit):
        return (self.system / unit).read_text()

    def test_verify(self):
        # of the host's own units, which name programs that are not in this copy, nothing is asked
        p = run("systemd-analyze", "verify", "--man=no", f"--root={self.root}",
                *[u.replace("@.", "@1.") for u in UNITS], "boot-complete.target", "multi-user.target")
        ours = [l for l in p.stderr.splitlines() if re.search(r"proa|cycle|[Oo]rdering", l)]
        self.assertEqual(ours, [], p.stderr)

    def test_verify_sees_mistakes(self):
        bad = self.system / "proa-bad.service"
        bad.write_text("[Service]\nType=oneshot\nExecStart=/usr/lib/proa/nothing\nPrivateNetwrk=yes\n")
        self.addCleanup(bad.unlink)
        p = run("systemd-analyze", "verify", "--man=no", f"--root={self.root}", "proa-bad.service")
        self.assertIn("PrivateNetwrk", p.stderr)

    def test_security(self):
        """Every service, installed as on a host, is below 2.0; none is forgotten."""
        p = run("python3", "-B", SOURCE / "tests/lint/exposure.py", SOURCE / "units")
        print(p.stdout)
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        judged = set(re.findall(r"(\S+\.service)$", p.stdout, re.M))
        self.assertEqual(judged, {u for u in UNITS if u.endswith(".service")})
        for unit in judged:
            p = run("systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20",
                    f"--root={self.root}", unit.replace("@.", "@1."))
            self.assertEqual(p.returncode, 0, p.stdout[-300:] + p.stderr)

    def test_allow_lists(self):
        """System calls are allowed by name, never only forbidden; nobody gains rights or opens a shell."""
        for unit in [u for u in UNITS if u.endswith(".service")]:
            text = self.text(unit)
            first = re.search(r"^SystemCallFilter=(.*)$", text, re.M)
            self.assertTrue(first and not first[1].startswith("~"), unit)
            self.assertIn("\nNoNewPrivileges=yes\n", text)
            self.assertIn("\nSystemCallArchitectures=native\n", text)
            self.assertNotRegex(text, r"Exec\w*=.*\b(sh|bash)\b")

    def test_watchdog(self):
        conf = (self.root / "usr/lib/systemd/system.conf.d/50-proa-watchdog.conf").read_text()
        self.assertRegex(conf, r"(?m)^RuntimeWatchdogSec=1min$")
        p = run("systemd-analyze", "--root=" + str(self.root), "cat-config", "systemd/system.conf")
        self.assertIn("RuntimeWatchdogSec=1min", p.stdout)
        for s in re.findall(r"Sec=(\S+)", conf):
            self.assertEqual(run("systemd-analyze", "timespan", s).returncode, 0, s)

    def test_network_and_disk_never_meet(self):
        self.assertIn("\nPrivateNetwork=yes\n", self.text("proad.service"))
        fetch = self.text("proa-fetch@.service")
        for line in ("PrivateDevices=yes", "DynamicUser=yes", "CapabilityBoundingSet=",
                     "ProtectSystem=strict"):
            self.assertIn("\n" + line + "\n", fetch)
        self.assertNotIn("PrivateNetwork", fetch)
        self.assertNotRegex(fetch, "ReadWritePaths|StateDirectory|DeviceAllow")
        metrics = self.text("proa-metrics@.service")
        for line in ("PrivateNetwork=yes", "PrivateDevices=yes", "DynamicUser=yes", "CapabilityBoundingSet="):
            self.assertIn("\n" + line + "\n", metrics)

    def test_health_is_always_asked(self):
        for want in ("boot-complete.target.requires/proa-health.service",
                     "multi-user.target.wants/proa-health.service",
                     "multi-user.target.wants/proa-settle.service",
                     "sockets.target.wants/proa-fetch.socket",
                     "paths.target.wants/proa-anchor.path",
                     "multi-user.target.wants/proa-anchor.service"):
            link = self.system / want
            self.assertTrue(link.is_symlink(), want)
            self.assertTrue(link.exists(), f"{want} leads nowhere")

    def test_programs_are_installed_where_units_look(self):
        said = set()
        for u in UNITS:
            said |= set(re.findall(r"^Exec\w+=(/\S+)", self.text(u), re.M))
        rules = {"proad": "updater/agent", "proa-fetch": "updater/fetch", "proa-hook": "updater/hook", "proa-health": "updater/health",
                 "proa-metrics": "updater/metrics",
                 "proactl": "updater/cli", "proa-audit": "updater/audit"}
        for path in said:
            name = path.rsplit("/", 1)[1]
            rule = (BUILD / rules[name] / "cmake_install.cmake").read_text()
            self.assertIn('/' + path.rsplit("/", 1)[0].removeprefix("/usr/"),
                          "".join(re.findall(r'DESTINATION "([^"]*)"', rule)), path)

    def test_bus_files(self):
        top = xml.parse(self.root / "usr/share/dbus-1/system.d/org.proa.Host1.conf").getroot()
        policy = {p.get("user") or p.get("context"): p for p in top.findall("policy")}
        self.assertEqual(set(policy), {"root", "default"})
        self.assertEqual([a.get("own") for a in policy["default"] if a.get("own")], [])
        members = {a.get("send_member") for a in policy["default"]
                   if a.get("send_interface") == "org.proa.Host1"}
        self.assertEqual(members, {None})  # proad itself says who may call what: integration.bus
        self.assertNotIn("Set", {a.get("send_member") for a in policy["default"]})
        service = (self.root / "usr/share/dbus-1/system-services/org.proa.Host1.service").read_text()
        self.assertIn("\nName=org.proa.Host1\n", service)
        unit = re.search(r"SystemdService=(\S+)", service).group(1)
        self.assertIn("\nBusName=org.proa.Host1\n", self.text(unit))

    def test_bus_accepts_policy(self):
        """A real dbus-daemon reads it: a stranger may not own the name."""
        daemon = shutil.which("dbus-daemon")
        if not daemon:
            self.skipTest("no dbus-daemon here")
        conf = self.root / "bus.conf"
        policy = self.root / "usr/share/dbus-1/system.d/org.proa.Host1.conf"
        conf.write_text('<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"'
                        ' "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd"><busconfig>'
                        f'<type>custom</type><listen>unix:path={self.root}/bus</listen>'
                        '<auth>EXTERNAL</auth><policy context="default"><allow user="*"/>'
                        '<deny own="*"/><deny send_type="method_call"/>'
                        '<allow send_destination="org.freedesktop.DBus"/>'
                        '<allow receive_type="method_return"/><allow receive_type="error"/>'
                        '<allow receive_type="signal"/>'
                        f'</policy><include>{policy}</include></busconfig>')
        p = subprocess.Popen([daemon, f"--config-file={conf}", "--nofork", "--print-address=1"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            self.assertIn("unix:path=", p.stdout.readline())
            name = run("busctl", f"--address=unix:path={self.root}/bus", "call", "org.freedesktop.DBus",
                       "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su",
                       "org.proa.Host1", "0")
            if os.geteuid() == 0:
                self.assertEqual(name.returncode, 0, name.stderr)
            else:
                self.assertNotEqual(name.returncode, 0)
            other = run("busctl", f"--address=unix:path={self.root}/bus", "call", "org.freedesktop.DBus",
                        "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su",
                        "org.example.Other", "0")
            self.assertNotEqual(other.returncode, 0, "the bus of this test refuses nothing")
        finally:
            p.terminate()
            err = p.communicate(timeout=30)[1]
        self.assertNotIn("org.proa.Host1.conf", err)

    def test_sysusers_tmpfiles_catalog_preset(self):
        (self.root / "etc").mkdir(exist_ok=True)
        p = run("systemd-sysusers", f"--root={self.root}", "proa.conf")
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn("proa-fetch:", (self.root / "etc/passwd").read_text())
        if os.geteuid() == 0:
            p = run("systemd-tmpfiles", "--create", f"--root={self.root}",
                    self.root / "usr/lib/tmpfiles.d/proa.conf")
            self.assertEqual(p.returncode, 0, p.stderr)
            self.assertEqual((self.root / "var/lib/proa").stat().st_mode & 0o7777, 0o700)
        (self.root / "var/lib/systemd/catalog").mkdir(parents=True, exist_ok=True)
        p = run("journalctl", "--update-catalog", f"--root={self.root}")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        listed = run("journalctl", "--list-catalog", f"--root={self.root}").stdout
        ids = dict(re.findall(r'define (MSG_\w+)\s+"(\w{32})"', (SOURCE / "base/log.h").read_text()))
        self.assertGreater(len(ids), 8)
        self.assertEqual(len(set(ids.values())), len(ids), "two messages have one id")
        for name, i in ids.items():
            self.assertIn(i, listed, name + " has no entry in proa.catalog")
        catalog = (SOURCE / "units/proa.catalog").read_text()
        self.assertEqual(sorted(re.findall(r"^-- (\w{32})$", catalog, re.M)), sorted(ids.values()))
        said = "".join(f.read_text() for d in ("updater", "base") for f in (SOURCE / d).rglob("*.c"))
        for name in ids:
            self.assertIn(name, said, "a message that nobody says")
        # what it names is a field that is logged, or systemd's own
        logged = set(re.findall(r'"(PROA_[A-Z_]+)=', said))
        self.assertLessEqual(set(re.findall(r"@(\w+)@", catalog)), logged)
        p = run("systemctl", f"--root={self.root}", "preset", "proa-update.timer")
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertTrue((self.root / "etc/systemd/system/timers.target.wants/proa-update.timer").is_symlink())

    def complete(self, *words):
        script = ("source %s; COMP_WORDS=(proactl %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _proactl; "
                  'printf "%%s\\n" "${COMPREPLY[@]}"' % (
                      self.root / "usr/share/bash-completion/completions/proactl",
                      " ".join("'%s'" % w for w in words)))
        p = run("bash", "-c", script, env={"PATH": f"{self.fake}:/usr/bin:/bin"})
        self.assertEqual(p.stderr, "")
        return p.stdout.split()

    def test_completion_of_the_audit(self):
        """Every verb and option of --help is known, and nothing else."""
        if not (BUILD / "bin/proa-audit").exists():
            self.skipTest("not built")
        file = self.root / "usr/share/bash-completion/completions/proa-audit"
        known = set(re.findall(r"--[a-z-]+", file.read_text()))
        text = run(BUILD / "bin/proa-audit", "--help").stdout
        self.assertEqual(known, set(re.findall(r"--[a-z-]+", text)))
        for verb in re.findall(r"^  ([a-z]+) ", text, re.M):
            self.assertRegex(file.read_text(), r"\b%s\b" % verb)

    def test_completion(self):
        self.fake = self.root / "fake"
        self.fake.mkdir()
        prog = self.fake / "proactl"
        prog.write_text('#!/bin/sh\ncat <<E\n{\n  "failed": [\n    {\n      "version": "1.2.0",\n'
                        '      "cause": "health"\n    }\n  ],\n  "target": {\n "version": "9"\n}\n}\nE\n')
        prog.chmod(0o755)
        self.assertEqual(self.complete("st"), ["status", "stage"])
        self.assertEqual(self.complete("--config", "/x", "ro"), ["rollback"])
        self.assertEqual(self.complete("update", "--re"), ["--reboot"])
        self.assertEqual(self.complete("rollback", "--re"), ["--reason"])
        self.assertEqual(self.complete("forgive", ""), ["1.2.0"])
        # every verb of --help is known here
        if (BUILD / "bin/proactl").exists():
            text = run(BUILD / "bin/proactl", "--help").stdout
            verbs = set(re.findall(r"^  ([a-z]+) ", text, re.M))
            self.assertEqual(set(self.complete("")), verbs)
            # and every option, behind the verbs that take it
            options = set(re.findall(r"(?<![\w-])--[a-z-]+", text)) - {"--direct", "--config"}
            known = {o for v in verbs - {"audit"} for o in self.complete(v, "--")}
            self.assertEqual(options - known, set())
            self.assertEqual(self.complete("config", ""), ["check", "show"])
            self.assertEqual(self.complete("pin", "--n"), ["--none"])
            self.assertEqual(self.complete("pin", ""), ["1.2.0", "9"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
