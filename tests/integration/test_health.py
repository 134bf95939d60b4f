#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""proa-health on a root of our own: checks, ESP, EFI variables and record below one directory."""
import json, os, pathlib, re, shutil, signal, struct, subprocess, tempfile, time, unittest

BIN = pathlib.Path(os.environ.get("PROA_BIN", "build/bin")).resolve()
PROG = BIN / "proa-health"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
NEW, OLD = "web_1.1.0+2-1.efi", "web_1.0.0.efi"
ROOTS = {"1.1.0": "b1" * 32, "1.0.0": "a0" * 32}


def uki(image, version, usrhash):
    """A PE32+ with nothing but .osrel, .cmdline and .linux."""
    parts = [(b".osrel", f"ID=t\nIMAGE_ID={image}\nIMAGE_VERSION={version}\n".encode()),
             (b".cmdline", f"usrhash={usrhash}".encode()), (b".linux", b"kernel")]
    opt = struct.pack("<HBBIIIII", 0x20b, 0, 0, 0, 0, 0, 0x1000, 0x1000)
    opt += struct.pack("<QIIHHHHHHIIIIHHQQQQII", 0x10000, 0x1000, 512, 0, 0, 0, 0, 0, 0, 0, 0x10000,
                       512, 0, 10, 0, 0, 0, 0, 0, 0, 16) + bytes(16 * 8)
    head = b"MZ" + bytes(58) + struct.pack("<I", 64)
    head += b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(parts), 0, 0, 0, len(opt), 0x22e) + opt
    at, body = 512, b""
    for i, (name, data) in enumerate(parts):
        raw = -(-len(data) // 512) * 512
        head += struct.pack("<8sIIIIIIHHI", name, len(data), 0x1000 * (i + 1), raw, at, 0, 0, 0, 0,
                            0x40000040)
        body += data.ljust(raw, b"\0")
        at += raw
    return head.ljust(512, b"\0") + body


class Health(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="proa-health-"))
        self.addCleanup(shutil.rmtree, self.root, True)
        self.linux = self.root / "efi/EFI/Linux"
        self.vars = self.root / "sys/firmware/efi/efivars"
        self.state = self.root / "var/lib/proa"
        for d in (self.linux, self.vars, self.state, self.root / "usr/lib"):
            d.mkdir(parents=True)
        (self.root / "usr/lib/os-release").write_text("ID=t\nIMAGE_ID=web\nIMAGE_VERSION=1.1.0\n")
        (self.linux / NEW).write_bytes(uki("web", "1.1.0", ROOTS["1.1.0"]))
        (self.linux / OLD).write_bytes(uki("web", "1.0.0", ROOTS["1.0.0"]))
        self.var("LoaderEntrySelected", "web_1.1.0+3-0.efi")
        self.var("LoaderBootCountPath", "\\EFI\\Linux\\" + NEW)

    def var(self, name, value):
        (self.vars / f"{name}-{LOADER}").write_bytes(
            struct.pack("<I", 6) + (value + "\0").encode("utf-16le"))

    def check(self, name, body, where="usr/lib", kind="required.d", mode=0o755):
        f = self.root / where / "proa/health" / kind / name
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_text("#!/bin/sh\n" + body + "\n")
        f.chmod(mode)
        return f

    def run_health(self, *args, want, env=None):
        p = subprocess.run([PROG, "--root", self.root, *args], capture_output=True, text=True,
                           timeout=120, env=env)
        self.assertEqual(p.returncode, want, p.stderr)
        self.assertNotIn("Sanitizer", p.stderr)
        return p.stderr

    def record(self):
        """The newest copy, or None."""
        best = None
        for f in self.state.glob("record.?"):
            j = json.loads(f.read_text().split("\n", 1)[1])
            if best is None or j["seq"] > best["seq"]:
                best = j
        return best

    def files(self):
        return sorted(f.name for f in self.linux.iterdir())

    def untouched(self):
        self.assertEqual(self.files(), [OLD, NEW])
        self.assertIsNone(self.record())


class Passing(Health):
    def test_no_checks(self):
        self.assertIn("0 of 0", self.run_health(want=0))
        self.untouched()

    def test_order_and_environment(self):
        log = self.root / "log"
        say = f'echo "$(basename "$0") $(env | cut -d= -f1 | sort | tr "\\n" " ")$PROA_VERSION" >>{log}'
        for name, where, kind in (("20-b.sh", "usr/lib", "required.d"), ("10-a.sh", "etc", "required.d"),
                                  ("30-c", "etc", "required.d"), ("00-w.sh", "usr/lib", "wanted.d")):
            self.check(name, say, where, kind)
        out = self.run_health(want=0, env=dict(os.environ, SECRET="x"))
        self.assertIn("healthy: 4 of 4 checks passed", out)
        lines = log.read_text().splitlines()
        self.assertEqual([l.split()[0] for l in lines], ["10-a.sh", "20-b.sh", "30-c", "00-w.sh"])
        for l in lines:
            self.assertEqual(l.split()[1:], ["LANG", "PATH", "PROA_VERSION", "PWD", "1.1.0"])
        self.untouched()

    def test_masks_and_replacements(self):
        self.check("10-off.sh", "exit 1")
        mask = self.root / "etc/proa/health/required.d/10-off.sh"
        mask.parent.mkdir(parents=True)
        mask.symlink_to("/dev/null")
        self.check("20-mine.sh", "exit 1")
        self.check("20-mine.sh", "exit 0", "etc")
        self.check("README", "no program", mode=0o644)
        self.check("30-old.sh~", "exit 1")
        self.check(".hidden.sh", "exit 1")
        (self.root / "usr/lib/proa/health/required.d/40-dir.sh").mkdir()
        self.assertIn("1 of 1", self.run_health(want=0))

    def test_wanted_only_warns(self):
        self.check("10-w.sh", "echo it rains; exit 3", kind="wanted.d")
        self.check("20-w.sh", "kill -9 $$", kind="wanted.d")
        self.check("10-r.sh", "true")
        out = self.run_health(want=0)
        self.assertIn("wanted check 10-w.sh, exit 3: it rains", out)
        self.assertIn("wanted check 20-w.sh, signal 9", out)
        self.assertIn("healthy: 1 of 3 checks passed", out)
        self.untouched()

    def test_wanted_that_hangs(self):
        self.check("10-w.sh", "sleep 60", kind="wanted.d")
        self.check("20-w.sh", "true", kind="wanted.d")
        self.check("10-r.sh", "true")
        out = self.run_health("--deadline", "1", want=0)
        self.assertIn("10-w.sh, not done at the deadline", out)
        self.assertIn("20-w.sh, not done at the deadline", out)
        self.untouched()


    def test_hostile_environment(self):
        """Nothing of what started proa-health reaches a check: no variable, descriptor or mask."""
        see = self.root / "see"
        self.check("10-a.sh", f"env >{see}; ls -l /proc/$$/fd >>{see}; "
                              # read by the shell itself: around a fork it blocks signals for a moment
                              f"while read -r l; do echo \"$l\"; done </proc/self/status >>{see}; "
                              f"umask >>{see}; pwd >>{see}; cat >>{see}")
        gb = self.root / "etc/greenboot/check/required.d"
        gb.mkdir(parents=True)
        trap = self.root / "trap"
        (self.root / "trap.sh").write_text(f"touch {trap}\n")
        (gb / "20-b.sh").write_text(f"env >>{see}\n")
        hostile = {"LD_PRELOAD": "/nowhere/evil.so", "LD_LIBRARY_PATH": "/nowhere", "IFS": "/", "PATH": "/nowhere",
                   "BASH_ENV": str(self.root / "trap.sh"), "ENV": str(self.root / "trap.sh"),
                   "BASH_FUNC_ls%%": "() { touch %s; }" % trap, "SHELLOPTS": "xtrace", "PS4": "$(touch %s)" % trap,
                   "PROA_VERSION": "9.9.9", "LANG": "xx", "NOTIFY_SOCKET": "/run/x", "SECRET": "x", "TMPDIR": "/x",
                   "ASAN_OPTIONS": "verify_asan_link_order=0"}
        r, w = os.pipe()
        with open("/etc/hostname") as leak:
            p = subprocess.run([PROG, "--root", self.root], env=hostile, input="no input for checks",
                               pass_fds=(r, w, leak.fileno()), capture_output=True, text=True, timeout=60,
                               preexec_fn=lambda: (signal.signal(signal.SIGPIPE, signal.SIG_IGN),
                                                   signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])))
        self.assertEqual(p.returncode, 0, p.stderr)
        text = see.read_text()
        names = set(re.findall(r"^([A-Za-z_%]+)=", text, re.M))
        self.assertLessEqual(names, {"PATH", "LANG", "PROA_VERSION", "PWD", "SHLVL", "_", "OLDPWD"})
        self.assertIn("PATH=/usr/local/sbin:", text)
        self.assertEqual(text.count("PROA_VERSION=1.1.0"), 2)
        self.assertNotIn("no input", text)
        fds = set(re.findall(r" (\d+) -> ", text))
        self.assertEqual({f for f in fds if int(f) < 10}, {"0", "1", "2"})  # above: the shell's own
        self.assertNotIn("/etc/hostname", text)
        self.assertRegex(text, r"SigBlk:\s+0000000000000000")
        self.assertRegex(text, r"SigIgn:\s+0000000000000000")
        self.assertFalse(trap.exists())

    def test_greenboot(self):
        log = self.root / "log"
        for name, where, kind in (("20-b.sh", "usr/lib", "required.d"), ("10-a.sh", "etc", "required.d"),
                                  ("20-b.sh", "etc", "required.d"), ("30-w.sh", "usr/lib", "wanted.d")):
            f = self.root / where / "greenboot/check" / kind / name
            f.parent.mkdir(parents=True, exist_ok=True)
            # no interpreter line, not executable: greenboot has bash run it
            f.write_text(f'[[ $BASH_VERSION ]] && echo {where}/{name} >>{log}\n')
            f.chmod(0o644)
        self.check("99-own.sh", f"echo own >>{log}")
        self.assertIn("5 of 5", self.run_health(want=0))
        self.assertEqual(log.read_text().split(), ["own", "usr/lib/20-b.sh", "etc/10-a.sh", "etc/20-b.sh",
                                                   "usr/lib/30-w.sh"])
        conf = self.root / "etc/proa/proa.conf"
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text("[Health]\nGreenboot=no\n")
        self.assertIn("1 of 1", self.run_health(want=0))

    def test_result(self):
        self.check("10-a.sh", "echo well; exit 0")
        self.check("20-w.sh", "echo 'not so \033[1m'; exit 3", kind="wanted.d")
        self.run_health(want=0)
        j = json.loads((self.state / "health.json").read_text())
        self.assertEqual((j["version"], j["verdict"], j["reason"]), ("1.1.0", "healthy", None))
        self.assertEqual([(c["name"], c["end"], c["required"], c["exit"]) for c in j["checks"]],
                         [("10-a.sh", "passed", True, 0), ("20-w.sh", "failed", False, 3)])
        self.assertEqual(j["checks"][0]["output"], None)
        self.assertIn("not so ?[1m", j["checks"][1]["output"])
        self.assertFalse((self.state / "health-failed.json").exists())
        self.check("20-r.sh", "echo sick; exit 1")
        self.run_health(want=1)
        bad = json.loads((self.state / "health-failed.json").read_text())
        self.assertEqual((bad["verdict"], bad["reason"]), ("falls-back", "20-r.sh, exit 1: sick"))
        self.assertEqual(bad["checks"][-1]["end"], "skipped")
        self.assertEqual(bad["checks"][1]["output"], "sick\n")


class Failing(Health):
    def test_unit_that_nobody_can_ask(self):
        """Here is no systemd; with one, a unit that does not exist fails as well."""
        conf = self.root / "etc/proa/proa.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text("[Health]\nUnits=proa-no-such.service\nStayActive=0\n")
        self.run_health(want=1)
        self.fell_back(r"^proa-no-such\.service: (systemd does not answer|cannot be loaded)")

    def test_unit_name(self):
        conf = self.root / "etc/proa/proa.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text("[Health]\nUnits=--version\n")
        self.run_health(want=1)
        self.fell_back(r"^--version, not the name of a unit")

    def fell_back(self, reason):
        self.assertEqual(self.files(), [OLD, "web_1.1.0+0-1.efi"])
        r = self.record()
        self.assertEqual([(f["version"], f["cause"], f["root_hash"]) for f in r["failures"]],
                         [("1.1.0", "health", ROOTS["1.1.0"])])
        self.assertRegex(r["failures"][0]["reason"], reason)
        self.assertEqual([(e["event"], e["version"], e["root_hash"]) for e in r["events"]],
                         [("failed", "1.1.0", ROOTS["1.1.0"])])
        self.assertEqual(r["events"][0]["text"], r["failures"][0]["reason"])
        self.assertRegex(r["events"][0]["boot_id"], r"^[0-9a-f]{32}$")
        self.assertLess(abs(time.time() - r["failures"][0]["when"]), 3600)
        p = subprocess.run([BIN / "proa-bootctl", "--esp", self.root / "efi", "--efivars", self.vars,
                            "--json", "next"], capture_output=True, text=True)
        self.assertIn(OLD, p.stdout, p.stderr)
        return r

    def test_required(self):
        ran = self.root / "ran"
        self.check("20-containerd.sh", 'echo noise; echo "containerd.sock: no such file" >&2; exit 1')
        self.check("30-after.sh", f"touch {ran}")
        self.check("10-w.sh", f"touch {ran}", kind="wanted.d")
        out = self.run_health(want=1)
        self.assertIn("30-after.sh, not run", out)
        self.assertFalse(ran.exists())
        self.fell_back(r"^20-containerd\.sh, exit 1: containerd\.sock: no such file$")

    def test_deadline(self):
        pid = self.root / "pid"
        self.check("10-fast.sh", "true")
        self.check("20-hang.sh", f"echo waiting for godot; sh -c 'trap \"\" TERM; echo $$ >{pid}; "
                                 "while :; do sleep 1; done'")
        self.run_health("--deadline", "1", want=1)
        self.fell_back(r"^20-hang\.sh, not done at the deadline: waiting for godot$")
        stat = pathlib.Path(f"/proc/{pid.read_text().strip()}/stat")
        for _ in range(500):  # it may be a zombie that nobody collects here
            if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] in "ZX":
                break
            time.sleep(0.01)
        else:
            self.fail("what the check started still runs")

    def test_deadline_of_configuration(self):
        conf = self.root / "etc/proa/proa.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text("[Health]\nDeadline=1s\n")
        self.check("20-hang.sh", "sleep 100")
        self.run_health(want=1)
        self.fell_back("not done at the deadline")

    def test_one_deadline_for_all(self):
        for i in range(4):
            self.check(f"{i}.sh", "sleep 0.7")
        self.run_health("--deadline", "2", want=1)
        self.fell_back(r"^2\.sh, not done at the deadline$")

    def test_cannot_run(self):
        for name, make in (("not executable", lambda f: f.chmod(0o644)),
                           ("dead link", lambda f: (f.unlink(), f.symlink_to("/nowhere/x")))):
            with self.subTest(name):
                self.setUp()
                make(self.check("10-a.sh", "true"))
                self.run_health(want=1)
                self.fell_back("cannot be run")

    def test_no_interpreter(self):
        self.check("10-a.sh", "true").write_text("#!/no/such/shell\n")
        self.run_health(want=1)
        self.fell_back(r"^10-a\.sh, exit 127")

    def test_much_output(self):
        self.check("10-a.sh", "head -c 3000000 /dev/zero | tr '\\0' x; echo; "
                              "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; "
                              "printf 'end \\033[31m\\377 of it'; exit 7")
        out = self.run_health(want=1)
        self.assertLess(len(out), 16000)
        self.assertNotIn("line 100\n", out)
        self.assertIn("line 1999\n", out)
        self.assertNotIn("\033", out)
        self.fell_back(r"^10-a\.sh, exit 7: end \?\[31m\? of it$")

    def test_twice(self):
        self.check("10-a.sh", "exit 1")
        self.run_health(want=1)
        first = self.fell_back("exit 1")
        self.run_health(want=1)
        self.assertEqual(self.fell_back("exit 1")["seq"], first["seq"])

    def test_half_done_before(self):
        """The power went between record and boot entry, or the other way about on a torn ESP."""
        self.check("10-a.sh", "exit 1")
        self.run_health(want=1)
        (self.linux / "web_1.1.0+0-1.efi").rename(self.linux / NEW)
        self.run_health(want=1)
        self.fell_back("exit 1")
        for f in self.state.glob("record.*"):
            f.unlink()
        self.run_health(want=1)
        self.fell_back("exit 1")

    def test_last_try(self):
        (self.linux / NEW).rename(self.linux / "web_1.1.0+0-1.efi")
        self.check("10-a.sh", "exit 1")
        self.run_health(want=1)
        self.fell_back("exit 1")

    def test_only_count_path(self):
        (self.vars / f"LoaderEntrySelected-{LOADER}").unlink()
        self.check("10-a.sh", "exit 1")
        self.run_health(want=1)
        self.fell_back("exit 1")

    def test_damaged_record(self):
        """What cannot be remembered does not keep the host on a sick release."""
        for i in (0, 1):
            (self.state / f"record.{i}").write_text("rubbish")
        self.check("10-a.sh", "exit 1")
        out = self.run_health(want=1)
        self.assertIn("could not be recorded", out)
        self.assertEqual(self.files(), [OLD, "web_1.1.0+0-1.efi"])

    def test_wrong_configuration(self):
        conf = self.root / "etc/proa/proa.conf"
        conf.parent.mkdir(parents=True)
        for text in ("[Health]\nDeadline=soon\n", "[Health]\nDeadline=1d\n", "[Health]\nUpdateDeadline=x\n",
                     "[Health]\nGreenboot=perhaps\n", "[Health]\nStayActive=1d\n", "[Health]\nCanUpdate=maybe\n"):
            conf.write_text(text)
            self.assertIn("proa.conf", self.run_health(want=0))

    def test_unreadable_configuration(self):
        """A release whose own file breaks the configuration could never be left again by an update."""
        conf = self.root / "usr/lib/proa/proa.conf.d/50-vendor.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text("[Health\n")
        self.run_health("--deadline", "2", want=1)
        self.fell_back(r"^can-update: cannot update: ")

    def test_dry_run(self):
        self.check("10-a.sh", "exit 1")
        out = self.run_health("--dry-run", want=1)
        self.assertIn(f"{NEW} would be marked bad", out)
        self.untouched()


class Staying(Health):
    def stays(self, text, *args):
        self.check("10-a.sh", "echo sick; exit 1")
        files = self.files()
        out = self.run_health(*args, want=2)
        self.assertIn("the host stays up", out)
        self.assertIn(text, out)
        self.assertEqual(self.files(), files)
        return self.record()

    def test_proved_before(self):
        (self.linux / NEW).rename(self.linux / "web_1.1.0.efi")
        r = self.stays("proved healthy before")
        self.assertEqual(r["failures"], [])
        self.assertEqual([e["event"] for e in r["events"]], ["failed"])

    def test_nothing_else(self):
        (self.linux / OLD).unlink()
        (self.linux / "db_1.0.0.efi").write_bytes(uki("db", "1.0.0", "dd" * 32))
        (self.linux / "web_0.9.0.efi").write_bytes(b"torn")
        r = self.stays("no other release")
        self.assertEqual(r["failures"], [])

    def test_other_is_bad(self):
        (self.linux / OLD).rename(self.linux / "web_1.0.0+0-3.efi")
        self.stays("no other release")

    def test_no_efi_variables(self):
        shutil.rmtree(self.vars)
        self.stays("does not say which entry")

    def test_no_esp(self):
        shutil.rmtree(self.root / "efi")
        self.check("10-a.sh", "exit 1")
        self.assertIn("the host stays up", self.run_health(want=2))
        self.assertEqual([e["version"] for e in self.record()["events"]], ["1.1.0"])

    def test_pinned(self):
        """The loader would start it again for ever."""
        (self.root / "efi/loader").mkdir()
        (self.root / "efi/loader/loader.conf").write_text("default web_1.1.0*\n")
        self.check("10-a.sh", "exit 1")
        self.assertIn("set as default", self.run_health(want=2))
        self.assertEqual(len(self.record()["failures"]), 1)


class Rest(Health):
    def after(self, result, want, status=None):
        env = dict(os.environ)
        if result:
            env["MONITOR_SERVICE_RESULT"] = result
        if status is not None:
            env["MONITOR_EXIT_STATUS"] = status
        return self.run_health("--after-failure", want=want, env=env)

    def test_after_failure(self):
        self.check("10-a.sh", "touch " + str(self.root / "ran"))
        self.after("exit-code", 0)
        self.after("exit-code", 0, "1")
        self.after("exit-code", 0, "2")
        self.untouched()
        self.after("timeout", 1, "TERM")
        self.assertEqual(self.files(), [OLD, "web_1.1.0+0-1.efi"])
        self.assertIn("timeout", self.record()["failures"][0]["reason"])
        self.assertFalse((self.root / "ran").exists())

    def test_never_started(self):
        """203 EXEC, 226 NAMESPACE, 228 SECCOMP: systemd.exec(5) calls these "exit-code" too."""
        self.after("exit-code", 1, "226")
        self.assertEqual(self.files(), [OLD, "web_1.1.0+0-1.efi"])
        self.assertIn("exit-code 226", self.record()["failures"][0]["reason"])

    def test_never_reached(self):
        self.after(None, 1)
        self.assertIn("did not get as far", self.record()["failures"][0]["reason"])

    def test_killed_in_the_middle(self):
        started = self.root / "started"
        self.check("10-a.sh", f"touch {started}; sleep 30")
        p = subprocess.Popen([PROG, "--root", self.root], stderr=subprocess.DEVNULL,
                             start_new_session=True)
        for _ in range(3000):
            if started.exists():
                break
            time.sleep(0.01)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(30), -signal.SIGTERM)
        self.untouched()

    def test_usage(self):
        for args in (["--deadline", "0"], ["--deadline", "2h"], ["--deadline", "x"], ["x"], ["--nothing"],
                     ["--root", "/no/such/place"]):
            p = subprocess.run([PROG, *args], capture_output=True, text=True)
            self.assertEqual(p.returncode, 2, args)
            self.assertTrue(p.stderr)
        p = subprocess.run([PROG, "--help"], capture_output=True, text=True)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertTrue(all(len(l) <= 90 for l in p.stdout.splitlines()))
        p = subprocess.run([PROG, "--version"], capture_output=True, text=True)
        self.assertRegex(p.stdout, r"^proa-health \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main(verbosity=2)
