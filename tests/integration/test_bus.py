#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""org.proa.Host1 on a real bus with Debian's polkitd: who may call what, what is refused, what
`busctl` sees, and what changes are told. Runs in a mount namespace of its own, where polkitd finds
the action file of units/ and the rules of this test."""
import json, os, pathlib, random, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time, unittest
import xml.etree.ElementTree as xml

if __name__ == "__main__" and os.environ.get("PROA_TEST_NS") is None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        print("skipped: needs root and a mount namespace")
        sys.exit(0)
    os.environ["PROA_TEST_NS"] = "1"
    os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, "-B", __file__])

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import test_agent as lab
from test_agent import DONE, FAILED, NOTHING, WAITING, BIN, Host, sh, wait_for

SOURCE = pathlib.Path(__file__).resolve().parents[2]
POLKITD = next((p for p in ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd") if os.path.exists(p)), None)
NOBODY, POWERLESS, CHECKER = 65534, 61001, 61002
METHODS = {"Check": "check", "Why": "check", "Plan": "check", "GetConfiguration": "check",
           "Stage": "stage", "StageAnySize": "stage", "Pause": "stage", "Continue": "stage",
           "SetBandwidthLimit": "stage", "Cancel": "stage", "Apply": "reboot", "Reboot": "reboot", "RebootNow": "reboot",
           "RebootWhenAllowed": "reboot",
           "Rollback": "policy", "Forgive": "policy", "Pin": "policy", "Hold": "policy", "Unhold": "policy"}
ARGS = {"SetBandwidthLimit": ["s", "1M"], "Rollback": ["ss", "", ""], "Forgive": ["s", "9.9.9"],
        "Pin": ["s", "1.0"], "Hold": ["s", "no"]}


def setUpModule():
    assert os.environ.get("PROA_TEST_NS"), "the mounts of this test are for a namespace of its own: start the file"
    lab.setUpModule()
    for d in ("/usr/share/polkit-1/actions", "/etc/polkit-1/rules.d"):
        pathlib.Path(d).mkdir(parents=True, exist_ok=True)
        own = lab.work / d.strip("/").replace("/", "-")
        own.mkdir()
        own.chmod(0o755)
        sh("mount", "--bind", own, d)
    shutil.copy(SOURCE / "units/org.proa.host1.policy", "/usr/share/polkit-1/actions")
    pathlib.Path("/etc/polkit-1/rules.d/10-test.rules").write_text(
        'polkit.addRule(function(action, subject) {\n'
        f'    if (action.id == "org.proa.host1.check" && subject.user == "checker") return polkit.Result.YES;\n'
        '});\n')
    # a user to write rules about, and tools that everyone may start wherever the build lies
    passwd = lab.work / "passwd"
    passwd.write_text(pathlib.Path("/etc/passwd").read_text() +
                      f"powerless:x:{POWERLESS}:65534::/:/bin/false\nchecker:x:{CHECKER}:65534::/:/bin/false\n")
    passwd.chmod(0o644)
    sh("mount", "--bind", passwd, "/etc/passwd")
    lab.work.chmod(0o755)
    (lab.work / "bin").mkdir()
    shutil.copy(BIN / "proactl", lab.work / "bin")


def tearDownModule():
    lab.tearDownModule()


class Bus(lab.Case):
    polkit = True

    def setUp(self):
        self.h = Host(Fetch_Socket=lab.work / "fetch.sock").install()
        self.h.dir.chmod(0o755)
        d = self.h.dir
        include = "".join(f"<include ignore_missing='yes'>{f}</include>" for f in (
            SOURCE / "units/org.proa.Host1.conf", "/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf"))
        (d / "bus.conf").write_text(f"""<busconfig><type>system</type><listen>unix:path={d}/bus</listen>
            <policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/>
            <allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>
            <allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>
            <allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
            <allow send_destination="org.freedesktop.DBus"/></policy>
            <policy user="root"><allow own="org.freedesktop.PolicyKit1"/></policy>{include}</busconfig>""")
        self.env = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={d}/bus")
        self.procs = []
        self.addCleanup(self.stop)
        self.spawn("dbus-daemon", f"--config-file={d}/bus.conf", "--nofork", "--nopidfile")
        wait_for((d / "bus").exists)
        if self.polkit:
            self.spawn(POLKITD, "--no-debug")
            wait_for(lambda: "org.freedesktop.PolicyKit1" in self.busctl("list", "--acquired", "--no-pager").stdout)
        self.spawn("systemd-socket-activate", "--seqpacket", "--accept", f"--listen={lab.work}/fetch.sock",
                   BIN / "proa-fetch")
        wait_for((lab.work / "fetch.sock").exists)
        self.proad = self.spawn(BIN / "proad", "--config", self.h.conf)
        wait_for(lambda: self.ctl("status", want=None).returncode == DONE)

    def spawn(self, *args, **kw):
        p = subprocess.Popen([str(a) for a in args], env=self.env, **{"stdout": subprocess.DEVNULL,
                                                                      "stderr": subprocess.DEVNULL, **kw})
        self.procs.append(p)
        return p

    def stop(self):
        for p in reversed(self.procs):
            if p.poll() is None:
                p.terminate()
            p.wait()
            for f in (p.stdout, p.stderr):
                if f:
                    f.close()
        (lab.work / "fetch.sock").unlink(missing_ok=True)

    def as_user(self, uid):
        return [] if uid == 0 else ["setpriv", f"--reuid={uid}", "--regid=65534", "--clear-groups"]

    def busctl(self, *args, uid=0, want=DONE):
        return sh(*self.as_user(uid), "busctl", "--system", "--allow-interactive-authorization=no", *args,
                  want=want, env=self.env)

    def call(self, method, *args, uid=0, want=DONE):
        return self.busctl("call", "org.proa.Host1", "/org/proa/Host1", "org.proa.Host1", method, *args, uid=uid,
                           want=want)

    def ctl(self, *verb, uid=0, want=DONE):
        return sh(*self.as_user(uid), lab.work / "bin/proactl", *verb, want=want, env=self.env)

    def json(self, *verb, **kw):
        return json.loads(self.ctl("--json", *verb, **kw).stdout)

    def prop(self, name):
        return self.busctl("get-property", "org.proa.Host1", "/org/proa/Host1", "org.proa.Host1",
                           name).stdout.split(" ", 1)[1].strip()


@unittest.skipUnless(POLKITD, "no polkitd")
class Powers(Bus):
    def test_every_method(self):
        """Who has no power reads, and changes nothing; a rule gives one power and no more."""
        before = self.h.seen()
        for m in ("Describe", "GetHistory", "GetHealth"):
            self.call(m, uid=POWERLESS)
        for m, power in METHODS.items():
            with self.subTest(method=m):
                p = self.call(m, *ARGS.get(m, []), uid=POWERLESS, want=1)
                self.assertIn(f"org.proa.host1.{power}", p.stderr)
                if power == "check":
                    self.call(m, *ARGS.get(m, []), uid=CHECKER)
                else:
                    self.assertIn(power, self.call(m, *ARGS.get(m, []), uid=CHECKER, want=1).stderr)
        self.assertEqual(self.h.seen(), before)
        self.assertFalse((self.h.state / "proactl.conf").exists())
        # none was forgotten
        x = xml.fromstring(self.busctl("introspect", "--xml-interface", "org.proa.Host1", "/org/proa/Host1").stdout)
        host = [i for i in x.iter("interface") if i.get("name") == "org.proa.Host1"][0]
        self.assertEqual({m.get("name") for m in host.iter("method")},
                         set(METHODS) | {"Describe", "GetHistory", "GetHealth", "Explain"})
        page = (SOURCE / "docs/man/org.proa.Host1.5").read_text()
        for e in host:
            self.assertRegex(page, r"(?m)^\.It (Fn|Va) %s\b" % e.get("name"))

    def test_proactl_without_power(self):
        (self.h.state / "why.json").unlink()
        self.one_sentence(self.ctl("why", uid=POWERLESS, want=FAILED), ["org.proa.host1.check", "sudo"])
        self.assertEqual(self.json("why")["decision"]["chosen"], "1.1.0")
        # what root has seen, others may read
        j = self.json("why", uid=POWERLESS)
        self.assertEqual((j["decision"]["chosen"], j["status"]["live"]), ("1.1.0", False))
        self.assertRegex(j["looked"], r"^20\d\d-")
        self.assertIn("As of ", self.ctl("why", uid=POWERLESS).stdout)
        self.ctl("status", uid=POWERLESS)
        self.ctl("history", uid=POWERLESS)
        self.ctl("check", uid=CHECKER)
        self.one_sentence(self.ctl("update", uid=CHECKER, want=FAILED), ["org.proa.host1.stage"])
        self.one_sentence(self.ctl("pin", "1.0", uid=CHECKER, want=FAILED), ["org.proa.host1.policy"])

    def test_flood(self):
        """A user cannot keep proad from others: what waits for polkit is limited for each."""
        self.procs[1].send_signal(signal.SIGSTOP)
        calls = [subprocess.Popen([*self.as_user(POWERLESS), "busctl", "--system", "call", "org.proa.Host1",
                                   "/org/proa/Host1", "org.proa.Host1", "Check"], env=self.env,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(40)]
        wait_for(lambda: sum(p.poll() is not None for p in calls) >= 8)
        self.ctl("status", uid=POWERLESS)
        self.ctl("check")
        self.procs[1].send_signal(signal.SIGCONT)
        said = [p.communicate(timeout=60)[1] for p in calls]
        self.assertTrue(all(p.returncode for p in calls))
        self.assertTrue(any("too many" in s for s in said), said[0])


class NoPolkit(Bus):
    polkit = False

    def test_root_only(self):
        for m in METHODS:
            self.assertIn("Access denied", self.call(m, *ARGS.get(m, []), uid=POWERLESS, want=1).stderr)
        self.one_sentence(self.ctl("check", uid=POWERLESS, want=FAILED), ["only root", "no polkit", "sudo"])
        self.call("Describe", uid=POWERLESS)
        self.ctl("check")


class Interface(Bus):
    polkit = False

    def test_pin_and_hold(self):
        self.assertIn("Pinned to 1.0 (%s/proactl.conf, line 3)" % self.h.state,
                      " ".join(self.ctl("pin", "1.0").stdout.split()).replace("/ ", "/"))
        self.assertEqual(self.prop("Pin"), '"1.0"')
        self.ctl("update", want=NOTHING)
        why = self.json("why")
        self.assertEqual(why["status"]["pin"]["where"], f"{self.h.state}/proactl.conf, line 3")
        self.assertIn("proactl.conf, line 3", why["decision"]["reasons"][0]["text"])
        self.ctl("pin", "--none")
        text = "ticket #12; \"wait\" 100 %"
        self.ctl("hold", "--reason", text)
        self.assertEqual(self.json("status")["hold"]["reason"], text)
        self.assertIn(text, self.json("update", want=WAITING)["stage"]["reasons"][0]["text"])
        self.assertEqual(self.prop("Hold"), "true")
        # the configuration may say it too, and then says so
        self.h.set(Update_Pin="1.1")
        self.assertIn(str(self.h.conf), self.json("unhold")["pin"]["where"])
        self.assertFalse((self.h.state / "proactl.conf").exists())
        self.ctl("update")
        self.updated(self.h)

    def test_arguments(self):
        for args, word in ((("Pin", "s", "../x"), "not a version"), (("Pin", "s", "1" * 65), "not a version"),
                           (("Forgive", "s", ""), "not a version"), (("Hold", "s", "a\nb"), "one line"),
                           (("Hold", "s", "x" * 201), "longer"), (("Rollback", "ss", "1 2", ""), "not a version"),
                           (("Rollback", "ss", "", "\x1b[2J"), "one line"),
                           (("SetBandwidthLimit", "s", "fast"), "bandwidth"),
                           (("SetBandwidthLimit", "s", "9223372036854775808"), "too large"),
                           (("Pin", "u", "7"), ""), (("Nothing",), "")):
            with self.subTest(args=args):
                p = self.call(*args, want=1)
                self.assertIn(word, p.stderr)
        self.assertEqual(self.json("status")["state"], "idle")

    def test_properties(self):
        self.assertEqual(self.prop("State"), '"idle"')
        self.assertEqual(self.prop("NewestVersion"), '"1.0.0"')
        seen = self.spawn("busctl", "--system", "monitor", "--json=short",
                          "--match=interface=org.freedesktop.DBus.Properties", stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        self.ctl("check")
        self.assertEqual(self.prop("NewestVersion"), '"1.1.0"')
        self.assertGreater(int(self.prop("LastCheckOk")), time.time() - 300)
        self.assertEqual(self.prop("Verdict"), '"update"')
        self.ctl("stage")
        self.assertEqual(self.prop("StagedVersion"), '"1.1.0"')
        self.ctl("pin", "1.0")
        self.ctl("check", want=NOTHING)
        self.assertIn("pinned to 1.0", self.prop("Reasons"))
        time.sleep(1)
        seen.terminate()
        told, states = {}, []
        for line in seen.communicate(timeout=30)[0].splitlines():
            m = json.loads(line)
            if m.get("member") == "PropertiesChanged":
                told.update({k: v["data"] for k, v in m["payload"]["data"][1].items()})
                states.append(told.get("State"))
        self.assertEqual((told["NewestVersion"], told["StagedVersion"], told["Pin"], told["State"], told["Job"]),
                         ("1.1.0", "1.1.0", "1.0", "staged", ""))
        self.assertIn("staging", states)
        self.assertNotIn("RunningVersion", told)  # that did not change

    def test_watch(self):
        watch = self.spawn(BIN / "proactl", "status", "--watch", stdout=subprocess.PIPE, text=True)
        lines = self.spawn(BIN / "proactl", "--json", "status", "--watch", stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        self.ctl("stage")
        time.sleep(1.5)
        for p in (watch, lines):
            p.send_signal(signal.SIGINT)
        text, _ = watch.communicate(timeout=30)
        docs, _ = lines.communicate(timeout=30)
        self.assertEqual((watch.returncode, lines.returncode), (DONE, DONE))
        self.assertIn("runs 1.0.0, next 1.0.0, idle", text.splitlines()[0])
        self.assertIn("staged", text.splitlines()[-1])
        self.assertNotIn("\x1b", text)
        self.assertEqual(json.loads(docs.splitlines()[-1])["state"], "staged")

    def asks_in_vain(self):
        """`why` of a repository that takes every connection and never answers."""
        quiet = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.addCleanup(quiet.close)
        self.h.set(Source_URL=f"http://127.0.0.1:{quiet.getsockname()[1]}/")
        p = self.spawn(BIN / "proactl", "why")
        wait_for(lambda: self.prop("Job") == '"why"')
        return p

    def test_caller_gone(self):
        """What only looks ends with who asked for it; what is busy says so, to programs too."""
        p = self.asks_in_vain()
        busy = self.ctl("--json", "why", want=FAILED)
        self.one_sentence(busy, ["busy with why"])
        self.assertEqual(lab.fits(json.loads(busy.stdout), "error")["kind"], "retry")
        p.kill()
        wait_for(lambda: self.prop("Job") == '""', seconds=15)
        self.ctl("status")

    def test_health_while_busy(self):
        """A proad that has other work for all the time there is takes no release from this host."""
        for d in ("/run/dbus", "/etc/proa"):
            if not os.path.exists(d):
                os.mkdir(d)
                self.addCleanup(os.rmdir, d)
            sh("mount", "-t", "tmpfs", "none", d)
            self.addCleanup(sh, "umount", d)
        pathlib.Path("/run/dbus/system_bus_socket").symlink_to(self.h.dir / "bus")
        self.asks_in_vain()
        pathlib.Path("/etc/proa/proa.conf").write_text(
            self.h.conf.read_text() + "[Health]\nDeadline=6s\nUpdateDeadline=3s\n")
        p = sh(BIN / "proa-health", "--dry-run", env=self.env)
        self.assertRegex(p.stderr, "wanted check can-update.*proad did not get to it: busy with why")
        self.proad.kill()
        self.proad.wait()
        p = sh(BIN / "proa-health", "--dry-run", "--esp", self.h.esp, env=self.env, want=2)
        self.assertRegex(p.stderr, "required check can-update.*cannot update: proad is not installed")

    def test_watch_is_left(self):
        """Who only looks on, and goes, takes the verb that runs from nobody."""
        self.h.set(Fetch_BandwidthLimit="400K")
        stage = self.spawn(BIN / "proactl", "stage", stderr=subprocess.PIPE, text=True)
        wait_for(lambda: self.json("status")["job"])
        for args in (("status", "--watch"), ("update", "--watch"), ("status", "--watch")):
            p = self.spawn(BIN / "proactl", *args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(0.6)
            p.send_signal(signal.SIGINT)
            said = p.communicate(timeout=30)[1]
            self.assertEqual(p.returncode, FAILED if args[0] == "update" else DONE, said)
            self.assertNotIn("cancel", said)
            self.assertEqual(self.json("status")["job"]["verb"], "stage")
        said = stage.communicate(timeout=120)[1]
        self.assertEqual((stage.returncode, self.json("status")["state"]), (DONE, "staged"), said)

    def test_wrong_configuration(self):
        """Whoever asks whatever: proad answers with the mistake, and stays."""
        self.h.set(Update_RebootWindow="Sat 02:00")
        self.busctl("get-property", "org.proa.Host1", "/org/proa/Host1", "org.proa.Host1", "State",
                    uid=NOBODY, want=None)
        self.busctl("introspect", "org.proa.Host1", "/org/proa/Host1", uid=NOBODY, want=None)
        self.assertIn("RebootWindow= holds a mistake", self.ctl("status", want=FAILED).stderr)
        self.assertIsNone(self.proad.poll())
        self.h.set(Update_RebootWindow=None)
        self.ctl("status")

    def test_limit_of_a_download(self):
        """One that cannot be is refused, and the download goes on."""
        self.h.set(Fetch_BandwidthLimit="400K")
        stage = self.spawn(BIN / "proactl", "stage", stderr=subprocess.PIPE, text=True)
        wait_for(lambda: (self.json("status")["job"] or {}).get("phase") == "write")
        self.one_sentence(self.ctl("limit", "9223372036854775808", want=FAILED), ["too large"])
        self.ctl("limit", "9223372036854775807")
        said = stage.communicate(timeout=120)[1]
        self.assertEqual(stage.returncode, DONE, said)

    def test_terminated_at_any_instant(self):
        """SIGTERM ends it cleanly wherever it is, and the same verb goes on there."""
        rnd = random.Random(lab.SEED)
        self.h.set(Fetch_BandwidthLimit="1M")
        for i in range(6):
            p = subprocess.Popen([BIN / "proactl", "update"], env=self.env, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
            time.sleep(rnd.uniform(0, 2.5))
            self.proad.terminate()
            said = p.communicate(timeout=120)[1]
            self.assertEqual(self.proad.wait(timeout=60), 0)
            self.assertIn(p.returncode, (DONE, FAILED, NOTHING), said)
            self.assertNotIn("Sanitizer", said)
            if p.returncode == FAILED:
                self.assertEqual(len([l for l in said.splitlines() if l.startswith("proactl: ")]), 1, said)
            self.proad = self.spawn(BIN / "proad", "--config", self.h.conf)
            wait_for(lambda: self.ctl("status", want=None).returncode == DONE)
            self.assertIn(self.json("status")["state"], ("idle", "interrupted", "staged", "applied"))
            self.assertEqual(self.h.slot("A")[0], "1.0.0")
        self.h.set(Fetch_BandwidthLimit=None)
        self.ctl("update", want=None)
        self.updated(self.h)

    def test_notifications(self):
        """READY=1, STATUS= while a verb runs, WATCHDOG=1 all the time, STOPPING=1."""
        self.proad.terminate()
        self.proad.wait()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(str(self.h.dir / "notify"))
            s.settimeout(60)
            self.env.update(NOTIFY_SOCKET=str(self.h.dir / "notify"), WATCHDOG_USEC="400000")
            self.proad = self.spawn(BIN / "proad", "--config", self.h.conf)
            said = []

            def listen():
                while "STOPPING=1" not in said:
                    said.extend(s.recv(4096).decode().splitlines())
            ears = threading.Thread(target=listen, daemon=True)
            ears.start()
            wait_for(lambda: "READY=1" in said)
            self.ctl("stage")
            wait_for(lambda: "STATUS=waiting" in said[said.index("STATUS=stage"):])
            verb = said[said.index("STATUS=stage"):]
            self.assertTrue([l for l in verb if re.match(r"STATUS=stage: \w+ \d+ %", l)], said)
            n = said.count("WATCHDOG=1")
            wait_for(lambda: said.count("WATCHDOG=1") > n + 2)
            self.proad.terminate()
            wait_for(lambda: "STOPPING=1" in said)
            self.assertEqual(self.proad.wait(timeout=60), 0)
            ears.join(timeout=60)

    def test_config(self):
        self.assertIn("No mistakes", self.ctl("config", "check").stdout)
        shown = self.ctl("config", "show").stdout
        line = self.h.conf.read_text().splitlines().index("Image=web") + 1
        self.assertIn(f"Image=web  # {self.h.conf}:{line}\n", shown)
        self.assertIn("Channel=stable  # default\n", shown)
        self.h.set(Update_Tries="0", Update_Hold="perhaps")
        self.h.conf.write_text(self.h.conf.read_text() + "Colour=red\n[Health]\nDeadline=no\n")
        p = self.ctl("config", "check", want=FAILED)
        told = p.stdout
        for word in ("Tries=", "Hold=", "Colour=", r"\[Health\] Deadline="):
            self.assertRegex(told, r"(?m)^%s:\d+: .*%s" % (re.escape(str(self.h.conf)), word))
        self.ctl("config", "mend", want=2)

    def test_reload(self):
        """A new configuration counts at the next verb; SIGHUP says at once whether it is well."""
        self.h.set(Update_Channel="nightly")
        self.proad.send_signal(signal.SIGHUP)
        self.assertIn("nightly", self.ctl("check", want=FAILED).stderr)
        self.h.set(Update_Channel="stable")
        self.ctl("check")
        self.assertIsNone(self.proad.poll())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *(sys.argv[1:] or [])])
