#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""When a host reboots: proad's own steps on an image file that is told it runs, with real proa-fetch
and proa-hook, a real etcd (TLS with client certificates too) and FleetLock as airlock speaks it."""
import json, os, pathlib, shutil, signal, subprocess, tempfile, threading, time, unittest
import http.server

import test_agent as agent
import test_lock as locks

BIN = agent.BIN
SH = "#!/bin/sh\n"


def setUpModule():
    global work, pub, template
    work = agent.work = pathlib.Path(tempfile.mkdtemp(prefix="proa-reboot."))
    agent.base = pub = agent.Publisher(work / "base")
    pub.init()
    pub.release("1.0.0")
    pub.release("1.1.0")
    template = agent.Host(pub).install("1.0.0")
    template.ctl("update")
    assert template.json("status")["state"] == "applied"


def tearDownModule():
    shutil.rmtree(work)


def root_of(version):
    return pub.manifest(version)["usr"]["root_hash"]


class Node:
    """A host that runs 1.0.0, has 1.1.0 applied, and is in boot b1."""

    def __init__(self, name, sections=""):
        self.dir = work / f"node-{name}-{time.monotonic_ns()}"
        shutil.copytree(template.dir, self.dir, symlinks=True)
        self.conf, self.sections, self.policy = self.dir / "proa.conf", sections, "Reboot=immediate"
        self.hooks = self.dir / "hooks"
        self.hooks.mkdir()
        self.version, self.boot = "1.0.0", 1
        self.write()

    def write(self, sections=None, policy=None):
        self.sections = self.sections if sections is None else sections
        self.policy = policy or self.policy
        self.conf.write_text(f"""[Host]
Image=web
Disk={self.dir}/disk
ESP={self.dir}/esp
State={self.dir}/state
[Source]
URL=file://{pub.repo}/
Root={pub.repo}/metadata/1.root.json
[Update]
{self.policy}
[Hooks]
Directories={self.hooks}
{self.sections}
""")

    def hook(self, stage, name, text):
        d = self.hooks / f"{stage}.d"
        d.mkdir(exist_ok=True)
        d.chmod(0o755)
        f = d / name
        f.write_text(SH + text)
        f.chmod(0o755)
        return f

    def start(self, what, **env):
        return subprocess.Popen(
            [str(BIN / "reboot-cli"), str(self.conf), f"b{self.boot}", root_of(self.version),
             self.version, what], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {k: str(v) for k, v in env.items()})

    def run(self, what, want=0, **env):
        p = self.start(what, **env)
        out, err = p.communicate(timeout=120)
        assert p.returncode == want, (what, p.returncode, out, err)
        return (json.loads(out) if out.strip() else None), err

    def memo(self):
        f = self.dir / "state/reboot.json"
        return json.loads(f.read_text()) if f.exists() else {}

    def came_up(self, version, good):
        """The firmware and systemd's part of a reboot."""
        self.boot += 1
        self.version = version
        ctl = [BIN / "proa-bootctl", "--esp", self.dir / "esp"]
        if good:
            agent.sh(*ctl, "bless", f"web_{version}")
        elif version == "1.0.0":
            agent.sh(*ctl, "condemn", "web_1.1.0")

    def log(self):
        f = self.dir / "log"
        return f.read_text().split("\n")[:-1] if f.exists() else []


class Fleet(locks.FleetLock):
    pass


def fleet(case, places=1):
    class Server(Fleet):
        holders, guard = set(), threading.Lock()
    Server.places = places
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    case.addCleanup(s.server_close)
    case.addCleanup(s.shutdown)
    return s, Server


class Case(unittest.TestCase):
    def codes(self, answer):
        return [r["code"] for r in answer["reasons"]]

    def logged(self, node):
        """Hooks that say that they ran."""
        for stage in ("pre-stage", "pre-reboot", "post-boot", "post-fallback"):
            node.hook(stage, "50-log", f"echo $PROA_HOOK $PROA_FROM $PROA_VERSION $PROA_REASON "
                                       f"$PROA_OUTCOME >> {node.dir}/log\n")
        return node


class Plain(Case):
    def test_policy(self):
        n = Node("plain")
        a, err = n.run("itself")
        self.assertEqual(a["verdict"], "rebooting")
        self.assertIn("REBOOT 0 0\n", err)
        # asked for once; and not until it is clear that it failed
        a, err = n.run("itself")
        self.assertEqual((a["verdict"], self.codes(a)), ("waits", ["under-way"]))
        self.assertNotIn("REBOOT", err)
        n = Node("plain", "")
        n.write(policy="Reboot=manual")
        a, err = n.run("itself")
        self.assertEqual(self.codes(a), ["manual"])
        self.assertNotIn("WAKE", err)
        n.write(policy="Reboot=window\nRebootWindow=2099-01-01 00:00 UTC for 1h")
        a, err = n.run("itself")
        self.assertEqual(self.codes(a), ["window"])
        self.assertEqual(a["look"], "2099-01-01T00:00:00Z")
        self.assertIn("WAKE 4070908800", err)  # when it opens, not once an hour
        a, err = n.run("person")
        self.assertEqual(a["verdict"], "rebooting")

    def test_inhibitor_and_users(self):
        n = Node("inhibited", "[Reboot]\nNotice=7min\nRetry=100s")
        for who in ("itself", "person"):
            a, err = n.run(who, INHIBITOR="backup (pid 7): night's copy")
            self.assertEqual(self.codes(a), ["inhibitor"])
            self.assertIn("backup (pid 7)", a["reasons"][0]["text"])
            self.assertNotIn("REBOOT", err)
        self.assertEqual(self.codes(n.run("status", INHIBITOR="x (pid 1): y")[0]["reboot_wait"]),
                         ["inhibitor"])
        a, err = n.run("itself", INHIBITOR="backup (pid 7): night's copy")
        wake = int(err.split("WAKE ")[1].split()[0]) - time.time()
        self.assertTrue(45 < wake < 160, wake)
        a, err = n.run("itself", USERS=2)
        self.assertEqual((a["verdict"], a["delay"]), ("rebooting", 420))
        self.assertIn("REBOOT 420 0", err)
        a, err = n.run("force", INHIBITOR="x (pid 1): y", USERS=2)
        self.assertIn("REBOOT 0 1", err)

    def test_image_does_not_reboot(self):
        """Through proactl and proad --direct: nobody runs from an image file."""
        n = Node("image")
        for more in ((), ("--force",), ("--unattended",)):
            p = agent.sh(BIN / "proactl", "--direct", "--config", n.conf, "reboot", *more, want=1)
            self.assertIn("does not run from that disk", p.stderr)
            self.assertEqual(p.stderr.count("\n"), 1, p.stderr)

    def test_sentinel(self):
        """For kured: there while a release waits to be booted."""
        n = Node("sentinel")
        sentinel = n.dir / "run/reboot-required"
        sentinel.parent.mkdir()
        n.write(f"[Reboot]\nSentinel={sentinel}", policy="Reboot=manual")
        n.run("finish")
        agent.sh(BIN / "proa-bootctl", "--esp", n.dir / "esp", "remove", "web_1.1.0")
        n.run("stage")
        self.assertFalse(sentinel.exists())
        n.run("apply")
        self.assertIn("restart required", sentinel.read_text())
        n.run("apply")  # as the timer does
        self.assertTrue(sentinel.exists())
        # something else would boot: kured would reboot for ever
        self.default(n, "web_1.0.0*")
        n.run("apply")
        self.assertFalse(sentinel.exists())
        self.default(n, "")
        n.run("apply")
        self.assertTrue(sentinel.exists())
        # and did, though nothing shows it; /run is empty then
        sentinel.unlink()
        n.boot += 1
        n.run("finish")
        n.run("apply")
        self.assertFalse(sentinel.exists())
        n.run("rollback")
        self.assertFalse(sentinel.exists())
        self.assertEqual(list(sentinel.parent.iterdir()), [])

    def test_floor(self):
        """A person's way back ends at the publisher's floor, as far as the host knows of one."""
        channel = pub.copy("floor")

        def node(floor):
            n = Node(f"floor-{floor}", "[Lock]\nType=none")
            agent.sh(BIN / "proa-publish", "channel", "set", channel.repo, "stable", "1.1.0", "--keys", channel.keys,
                     "--floor", floor)
            n.came_up("1.1.0", good=True)
            n.run("finish")
            n.conf.write_text(n.conf.read_text().replace(str(pub.repo), str(channel.repo)))
            n.run("stage")
            # from here on there is no network
            n.conf.write_text(n.conf.read_text().replace(f"URL=file://{channel.repo}", "URL=file:///nowhere"))
            return n

        n = node("1.1.0")
        seen = agent.tree_hash(n.dir / "esp"), agent.tree_hash(n.dir / "state/trust")
        _, err = n.run("rollback", want=1)
        for word in ("cannot go back to 1.0.0", "older than 1.1.0", "channel stable", "proactl check"):
            self.assertIn(word, err)
        self.assertEqual((agent.tree_hash(n.dir / "esp"), agent.tree_hash(n.dir / "state/trust")), seen)
        self.assertEqual(n.run("status")[0]["boots_next"]["version"], "1.1.0")
        # a host that knows of none, as its store is gone, is not kept from what it may need
        shutil.rmtree(n.dir / "state/trust")
        self.assertEqual(n.run("rollback")[0]["next"], "1.0.0")
        for floor in ("1.0.0", "none"):
            self.assertEqual(node(floor).run("rollback")[0]["next"], "1.0.0")
        # what boots by itself is the firmware's: a fallback below the floor is settled as any other
        n = node("1.1.0")
        n.came_up("1.0.0", good=False)
        n.run("finish")
        self.assertEqual(n.run("status")[0]["running"]["version"], "1.0.0")

    def test_logind_refuses(self):
        n = self.logged(Node("refused"))
        a, err = n.run("itself", REFUSE="Operation inhibited by somebody")
        self.assertEqual(self.codes(a), ["failed"])
        self.assertIn("inhibited by somebody", a["reasons"][0]["text"])
        self.assertEqual(n.log(), ["pre-reboot 1.0.0 1.1.0 update",
                                   "post-boot 1.0.0 1.1.0 update postponed"])
        a, err = Node("refused").run("force", REFUSE="no bus")
        self.assertEqual((a["verdict"], self.codes(a)), ("waits", ["failed"]))
        self.assertIn("no bus", a["reasons"][0]["text"])

    def default(self, n, entry):
        (n.dir / "esp/loader").mkdir(exist_ok=True)
        (n.dir / "esp/loader/loader.conf").write_text(f"default {entry}\n" if entry else "timeout 0\n")

    def test_something_else_boots_next(self):
        """Somebody makes the old entry the default after 1.1.0 was applied: no reboot helps."""
        s, server = fleet(self)
        n = self.logged(Node("astray", f"[Lock]\nType=fleetlock\nURL=http://127.0.0.1:{s.server_port}\n"
                                  "Group=web\nId=a"))
        self.default(n, "web_1.0.0*")
        a, err = n.run("itself")
        self.assertEqual((a["verdict"], self.codes(a)), ("waits", ["other-entry"]))
        self.assertIn("web_1.0.0.efi would boot next, chosen by loader.conf", a["reasons"][0]["text"])
        self.assertEqual((n.log(), server.holders), ([], set()))
        self.assertNotIn("REBOOT", err)
        self.assertEqual(self.codes(n.run("status")[0]["reboot_wait"]), ["other-entry"])
        # a person may want it all the same, for something else than 1.1.0
        a, err = n.run("person")
        self.assertEqual((a["verdict"], n.log()), ("rebooting", ["pre-reboot 1.0.0 1.0.0 person"]))
        self.boot_old(n)
        self.assertEqual(n.log()[1:], ["post-boot 1.0.0 1.0.0 person good"])
        self.default(n, "")
        self.assertEqual(n.run("itself")[0]["verdict"], "rebooting")

    def boot_old(self, n):
        n.boot += 1
        n.run("finish")

    def test_did_not_start(self):
        """Nothing says why, but it is the old release that comes up: it is not rebooted for ever."""
        n = self.logged(Node("menu"))
        self.assertEqual(n.run("itself")[0]["verdict"], "rebooting")
        for _ in range(3):
            self.boot_old(n)
            a, err = n.run("itself")
            self.assertEqual((a["verdict"], self.codes(a)), ("waits", ["not-started"]))
            self.assertIn("proactl reboot", a["reasons"][0]["text"])
            self.assertNotIn("WAKE", err)
        self.assertEqual(n.log(), ["pre-reboot 1.0.0 1.1.0 update",
                                   "post-boot 1.0.0 1.1.0 update postponed"])
        self.assertEqual(n.run("person")[0]["verdict"], "rebooting")
        n.came_up("1.1.0", good=True)
        n.run("finish")
        self.assertEqual(n.log()[2:], ["pre-reboot 1.0.0 1.1.0 update",
                                       "post-boot 1.0.0 1.1.0 update good"])
        self.assertEqual(n.memo().get("asked", ""), "")


class Hooks(Case):
    def test_order(self):
        n = self.logged(Node("order"))
        n.run("itself")
        self.assertEqual(n.log(), ["pre-reboot 1.0.0 1.1.0 update"])
        n.came_up("1.1.0", good=False)
        n.run("finish")
        self.assertEqual(len(n.log()), 1)  # not yet known to be good
        n.came_up("1.1.0", good=True)
        n.run("finish")
        self.assertEqual(n.log()[1:], ["post-boot 1.0.0 1.1.0 update good"])
        n.run("finish")
        self.assertEqual(len(n.log()), 2)

    def test_fell_back(self):
        n = self.logged(Node("fell"))
        n.run("itself")
        n.came_up("1.0.0", good=False)
        n.run("finish")
        self.assertEqual(n.log()[1:], ["post-fallback 1.0.0 1.1.0 update failed"])

    def test_somebody_else_rebooted(self):
        n = self.logged(Node("else"))
        n.write(policy="Reboot=manual")
        n.came_up("1.1.0", good=True)
        n.run("finish")
        self.assertEqual(n.log(), ["post-boot 1.1.0 update good"])

    def test_somebody_else_rebooted_with_a_lock(self):
        """While we waited for a lock server that does not answer."""
        port = locks.ports(1)[0]
        n = self.logged(Node("both", f"[Lock]\nType=fleetlock\nURL=http://127.0.0.1:{port}\nTimeout=5s"))
        self.assertEqual(self.codes(n.run("itself")[0]), ["lock-server"])
        n.came_up("1.1.0", good=True)
        n.run("finish")
        self.assertEqual(n.log(), ["post-boot 1.0.0 1.1.0 update good"])

    def test_refuses(self):
        n = self.logged(Node("no", "[Reboot]\nRetry=1000s"))
        n.hook("pre-reboot", "60-no", "echo 'two volumes are degraded'; exit 1\n")
        a, err = n.run("itself")
        self.assertEqual((a["verdict"], self.codes(a)), ("waits", ["hook"]))
        self.assertIn("60-no: exit status 1: two volumes are degraded", a["reasons"][0]["text"])
        self.assertNotIn("REBOOT", err)
        self.assertIn("WAKE", err)
        self.assertEqual(n.log(), ["pre-reboot 1.0.0 1.1.0 update",
                                   "post-boot 1.0.0 1.1.0 update postponed"])
        # why says so, and it is not asked again at once
        status = n.run("status")[0]
        self.assertIn("degraded", status["reboot_wait"]["reasons"][0]["text"])
        n.run("itself")
        self.assertEqual(len(n.log()), 2)
        n.hook("pre-reboot", "60-no", "exit 0\n")
        a, err = n.run("person")
        self.assertEqual(a["verdict"], "rebooting")

    def test_hangs_and_floods(self):
        n = Node("hang")
        n.write("Timeout=2s")
        n.hook("pre-reboot", "1", "head -c 5000000 /dev/zero | tr '\\0' '\\n'\nsleep 1000\n")
        a, _ = n.run("itself")
        self.assertIn("did not end in time", a["reasons"][0]["text"])

    def test_writable_by_others(self):
        n = Node("open")
        n.hook("pre-reboot", "1", "exit 0\n").chmod(0o777)
        a, err = n.run("itself")
        self.assertEqual(self.codes(a), ["hook"])
        self.assertIn("can be changed by others", a["reasons"][0]["text"])

    def test_pre_stage(self):
        n = self.logged(Node("stage"))
        shutil.copytree(template.dir / "esp", n.dir / "esp", dirs_exist_ok=True)
        a, _ = n.run("stage")  # it is staged already: nobody is asked
        self.assertEqual((a["verdict"], n.log()), ("update", []))
        agent.sh(BIN / "proa-bootctl", "--esp", n.dir / "esp", "remove", "web_1.1.0")
        n.hook("pre-stage", "10-no", "exit 9\n")
        a, _ = n.run("stage")
        self.assertEqual((a["verdict"], a["reasons"][-1]["code"]), ("blocked", "hook"))
        self.assertIn("10-no: exit status 9", a["reasons"][-1]["text"])
        n.hook("pre-stage", "10-no", "exit 0\n")
        a, _ = n.run("stage")
        self.assertEqual(a["verdict"], "update")
        self.assertEqual(n.log(), ["pre-stage 1.0.0 1.1.0 update"])


class Example(Case):
    """The Kubernetes hooks, with a kubectl that only remembers (Debian has none)."""
    KUBECTL = """#!/bin/sh
d=$(dirname "$0"); echo "$*" >> "$d/calls"; echo "$KUBECONFIG" >> "$d/as"
case "$*" in
*unschedulable*) cat "$d/cordoned" 2>/dev/null ;;
*annotations*) cat "$d/mark" 2>/dev/null ;;
"annotate node"*-) rm -f "$d/mark" ;;
annotate*) printf yes > "$d/mark" ;;
cordon*) printf true > "$d/cordoned" ;;
uncordon*) rm -f "$d/cordoned" ;;
drain*) [ ! -e "$d/budget" ] || { echo "Cannot evict pod"; exit 1; } ;;
esac
exit 0
"""

    def test_kubernetes(self):
        hooks = pathlib.Path(__file__).resolve().parents[2] / "units/hooks"
        drain = hooks / "pre-reboot.d/50-kubernetes-drain"
        undo = hooks / "post-boot.d/50-kubernetes-uncordon"
        for cordoned_by_person in (False, True):
            with self.subTest(person=cordoned_by_person):
                d = pathlib.Path(tempfile.mkdtemp(dir=work))
                (d / "kubectl").write_text(self.KUBECTL)
                (d / "kubectl").chmod(0o755)
                if cordoned_by_person:
                    (d / "cordoned").write_text("true")
                env = {"PATH": f"{d}:/usr/bin:/bin"}
                for _ in range(2):  # hooks may be run twice
                    agent.sh(drain, env=env)
                self.assertEqual((d / "cordoned").read_text(), "true")
                (d / "budget").touch()
                agent.sh(drain, env=env, want=1)
                for _ in range(2):
                    agent.sh(undo, env=env)
                self.assertEqual((d / "cordoned").exists(), cordoned_by_person)
                # the kubelet's own credentials may not read DaemonSets
                self.assertEqual(set((d / "as").read_text().split()), {"/etc/proa/drain.kubeconfig"})


class Locks(Case):
    def section(self, kind, url, who, more=""):
        return (f"[Lock]\nType={kind}\nURL={url}\nGroup=web\nId={who}\nTimeout=5s\n{more}\n"
                "[Reboot]\nRetry=1000s\n")

    def pair(self, kind, url, more=""):
        return [self.logged(Node(who, self.section(kind, url, who, more))) for who in "ab"]

    def one_place(self, kind, url, holders, shown):
        a, b = self.pair(kind, url)
        r, err = a.run("itself")
        self.assertEqual((r["verdict"], r["lock"]["id"]), ("rebooting", "a"))
        self.assertEqual(holders(), ["a"])
        r, err = b.run("itself")
        self.assertEqual((r["verdict"], self.codes(r), r["lock"]), ("waits", ["lock"], None))
        self.assertIn(shown, r["reasons"][0]["text"])
        self.assertIn("WAKE", err)
        self.assertEqual(b.log(), [])  # nobody is drained for nothing
        # over the reboot, until it is known to be good
        a.came_up("1.1.0", good=False)
        a.run("finish")
        self.assertEqual(holders(), ["a"])
        a.came_up("1.1.0", good=True)
        a.run("finish")
        self.assertEqual(holders(), [])
        self.assertEqual(a.log()[-1], "post-boot 1.0.0 1.1.0 update good")
        r, err = b.run("person")
        self.assertEqual((r["verdict"], holders()), ("rebooting", ["b"]))

    def test_fleetlock(self):
        s, server = fleet(self)
        self.one_place("fleetlock", f"http://127.0.0.1:{s.server_port}/",
                       lambda: sorted(server.holders), "all 1 semaphore slots currently locked")

    def test_etcd(self):
        etcd = locks.Etcd()
        self.addCleanup(etcd.stop)
        self.one_place("etcd", f"http://127.0.0.1:{etcd.client[0]}",
                       lambda: etcd.value("web")["holders"], "has 1 of 1 places taken by a")

    def test_lost_member(self):
        """The member that is asked first is lost, leader or not, before and after the reboot."""
        etcd = locks.Etcd(3)
        self.addCleanup(etcd.stop)
        a = Node("lost", self.section("etcd", " ".join(f"http://127.0.0.1:{p}" for p in etcd.client), "a"))
        etcd.members[0].kill()
        etcd.members[0].wait()
        end = time.monotonic() + 60
        while (r := a.run("person")[0])["verdict"] != "rebooting" and time.monotonic() < end:
            self.assertEqual(self.codes(r), ["lock-server"])  # while a new leader is chosen
        self.assertEqual(r["verdict"], "rebooting")
        self.assertEqual(etcd.value("web", etcd.client[1])["holders"], ["a"])
        a.came_up("1.1.0", good=True)
        a.run("finish")
        self.assertEqual(etcd.value("web", etcd.client[2])["holders"], [])

    def test_failure_keeps_it(self):
        s, server = fleet(self)
        for keep, after in (("yes", {"a"}), ("no", set())):
            with self.subTest(keep=keep):
                server.holders.clear()
                a, b = self.pair("fleetlock", f"http://127.0.0.1:{s.server_port}",
                                 f"KeepOnFailure={keep}")
                a.run("itself")
                a.came_up("1.0.0", good=False)
                a.run("finish")
                self.assertEqual(server.holders, after)
                self.assertEqual(a.log()[-1], "post-fallback 1.0.0 1.1.0 update failed")
                r, _ = b.run("itself")
                self.assertEqual(r["verdict"], "waits" if after else "rebooting")
                if not after:
                    continue
                w = a.run("status")[0]["reboot_wait"]
                self.assertEqual(self.codes(w), ["lock-kept"])
                self.assertIn("proactl forgive 1.1.0", w["reasons"][0]["text"])
                # a person says that it is well
                a.run("forgive", VERSION="1.1.0")
                self.assertEqual(server.holders, set())

    def test_hook_refuses(self):
        s, server = fleet(self)
        a, _ = self.pair("fleetlock", f"http://127.0.0.1:{s.server_port}")
        a.hook("pre-reboot", "60-no", "exit 1\n")
        r, _ = a.run("itself")
        self.assertEqual((self.codes(r), r["lock"], server.holders), (["hook"], None, set()))

    def test_taken_away_while_hooks_ran(self):
        """The place is asked for again before the reboot: somebody may have given it to another."""
        s, server = fleet(self)
        a, _ = self.pair("fleetlock", f"http://127.0.0.1:{s.server_port}")
        a.hook("pre-reboot", "60-slow", f"touch {a.dir}/in; while [ -e {a.dir}/in ]; do sleep 0.05; done\n")
        p = a.start("itself")
        agent.wait_for((a.dir / "in").exists)
        server.holders.clear()
        server.holders.add("thief")
        (a.dir / "in").unlink()
        out, err = p.communicate(timeout=60)
        r = json.loads(out)
        self.assertEqual(self.codes(r), ["lock"])
        self.assertNotIn("REBOOT", err)
        self.assertEqual(a.log()[-1], "post-boot 1.0.0 1.1.0 update postponed")
        self.assertEqual(server.holders, {"thief"})

    def test_server_down(self):
        port = locks.ports(1)[0]
        a, _ = self.pair("fleetlock", f"http://127.0.0.1:{port}")
        r, err = a.run("itself")
        self.assertEqual(self.codes(r), ["lock-server"])
        self.assertIn(f"127.0.0.1:{port}", r["reasons"][0]["text"])
        self.assertIn("WAKE", err)
        self.assertEqual(r["reasons"][0]["until"] is None, False)
        # nobody can know whether it was taken: that is remembered, and given back some day
        self.assertTrue(a.memo()["lock"])
        r, _ = a.run("force")
        self.assertEqual(r["verdict"], "rebooting")
        a.came_up("1.1.0", good=True)
        err = a.run("finish")[1]
        self.assertIn("NOTE lock: group web cannot be asked", err)
        self.assertIn("WAKE", err)
        w = a.run("status")[0]["reboot_wait"]
        self.assertTrue(a.memo()["lock"], w)
        self.assertEqual(self.codes(w), ["unlock"])
        a.write(self.section("fleetlock", f"http://127.0.0.1:{port}/", "a"))

        class Late(Fleet):
            holders, guard, places = {"a"}, threading.Lock(), 1
        s = http.server.ThreadingHTTPServer(("127.0.0.1", port), Late)
        threading.Thread(target=s.serve_forever, daemon=True).start()
        self.addCleanup(s.server_close)
        self.addCleanup(s.shutdown)
        a.run("finish")
        self.assertEqual((Late.holders, a.memo().get("lock")), (set(), None))

    def test_server_gone_for_good(self):
        """Locks are switched off, or another server is asked: nobody is locked out."""
        dead = locks.ports(1)[0]
        s, server = fleet(self)
        gone = f"http://127.0.0.1:{dead}"
        a, b = self.pair("fleetlock", gone)
        for n in (a, b):
            self.assertEqual(self.codes(n.run("itself")[0]), ["lock-server"])
        a.write("[Lock]\nType=none\n")
        r, err = a.run("itself")
        self.assertEqual((r["verdict"], a.memo().get("lock")), ("rebooting", None), r)
        self.assertIn("NOTE lock: group web cannot be asked", err)
        # after another reboot it was owed
        b.boot += 1
        b.run("finish")
        b.write(self.section("fleetlock", f"http://127.0.0.1:{s.server_port}", "b"))
        r, err = b.run("itself")
        self.assertEqual((r["verdict"], self.codes(r)), ("waits", ["unlock"]))
        r, err = b.run("person")
        self.assertEqual((r["verdict"], server.holders), ("rebooting", {"b"}), r)
        self.assertIn("NOTE lock: group web cannot be asked", err)
        c = self.pair("fleetlock", gone)[0]
        c.run("itself")
        c.boot += 1
        c.write("[Lock]\nType=none\n")
        c.run("finish")
        self.assertIsNone(c.memo().get("lock"))

    def test_failed_lock_is_any_trouble(self):
        """airlock says so when etcd is away, too: our place is not forgotten then."""
        class Sick(Fleet):
            holders, guard, places, sick = set(), threading.Lock(), 1, False
            steady = True

            def do_POST(self):
                if not self.sick or (self.steady and self.path.endswith("steady-state")):
                    return super().do_POST()
                self.rfile.read(int(self.headers["content-length"]))
                body = b'{"kind": "failed_lock", "value": "context deadline exceeded"}'
                self.send_response(500)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
        s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sick)
        threading.Thread(target=s.serve_forever, daemon=True).start()
        self.addCleanup(s.server_close)
        self.addCleanup(s.shutdown)
        for steady in (True, False):
            with self.subTest(steady=steady):
                Sick.holders.clear()
                Sick.steady, Sick.sick = steady, False
                a, _ = self.pair("fleetlock", f"http://127.0.0.1:{s.server_port}")
                # got, then in trouble when it is asked for again
                hook = a.hook("pre-reboot", "60-sick", f"touch {a.dir}/in; while [ -e {a.dir}/in ]; do sleep 0.05; done\n")
                p = a.start("itself")
                agent.wait_for((a.dir / "in").exists)
                self.assertEqual(Sick.holders, {"a"})
                Sick.sick = True
                (a.dir / "in").unlink()
                r = json.loads(p.communicate(timeout=60)[0])
                self.assertEqual(self.codes(r), ["lock"])
                self.assertIn("context deadline exceeded", r["reasons"][0]["text"])
                self.assertTrue(not Sick.holders or a.memo().get("lock"), "a place was forgotten")
                hook.unlink()
                Sick.sick = False
                r, _ = a.run("person")
                self.assertEqual((r["verdict"], Sick.holders), ("rebooting", {"a"}))
                a.came_up("1.1.0", good=True)
                a.run("finish")
                self.assertEqual(Sick.holders, set())

    def test_given_back_where_it_was_taken(self):
        """Also when the configuration names another server meanwhile."""
        s1, one = fleet(self)
        s2, two = fleet(self)
        a, _ = self.pair("fleetlock", f"http://127.0.0.1:{s1.server_port}")
        a.run("itself")
        self.assertEqual(one.holders, {"a"})
        a.came_up("1.1.0", good=True)
        a.write(self.section("fleetlock", f"http://127.0.0.1:{s2.server_port}", "a2"))
        a.run("finish")
        self.assertEqual((one.holders, two.holders), (set(), set()))

    def test_killed_at_every_step(self):
        """SIGKILL before each store of the memo; then it goes on, and nothing is lost or left."""
        s, server = fleet(self)
        for k in range(1, 12):
            with self.subTest(store=k):
                server.holders.clear()
                a, _ = self.pair("fleetlock", f"http://127.0.0.1:{s.server_port}")
                p = a.start("itself", KILL=k)
                err = p.communicate(timeout=60)[1]
                if p.returncode == 0:
                    self.assertIn("REBOOT", err)
                    self.assertGreater(k, 4)
                    break
                self.assertEqual(p.returncode, -signal.SIGKILL, err)
                self.assertTrue(not server.holders or a.memo().get("lock"), "a place was forgotten")
                if k % 2:  # the power goes, and the new release comes up
                    a.came_up("1.1.0", good=True)
                    a.run("finish")
                    self.assertEqual((server.holders, a.memo().get("lock")), (set(), None))
                    drained = sum(l.startswith("pre-reboot") for l in a.log())
                    undone = sum(l.startswith("post-boot") for l in a.log())
                    self.assertTrue(undone >= min(drained, 1), a.log())
                elif "REBOOT" not in err:
                    r, err = a.run("itself")
                    self.assertEqual((r["verdict"], server.holders), ("rebooting", {"a"}))
        else:
            self.fail("it never got through")

    def test_damaged_memo(self):
        a = Node("damaged")
        (a.dir / "state/reboot.json").write_text('{"lock": ')
        _, err = a.run("itself", want=1)
        self.assertIn("remove reboot.json", err)
        self.assertIn("remove reboot.json", a.run("status")[0]["reboot_wait"]["error"])

    def test_wrong_configuration(self):
        for lines, word in (("Type=zookeeper", "must be none, fleetlock or etcd"),
                            ("Type=etcd", "URL= is not set"),
                            ("Type=etcd\nURL=ftp://x", "http or https"),
                            ("Type=etcd\nURL=https://me:secret@x", "must not hold a password"),
                            ("Type=etcd\nURL=http://x\nGroup=a b", "group"),
                            ("Type=etcd\nURL=http://x\nPlaces=0", "Places"),
                            ("Type=etcd\nURL=http://x\nKey=/k", "needs Certificate="),
                            ("Type=etcd\nURL=http://x\nCA=k", "absolute path")):
            with self.subTest(lines):
                n = Node("wrong", "[Lock]\n" + lines)
                _, err = n.run("itself", want=1)
                self.assertIn(word, err)
                self.assertNotIn("secret", err)
                self.assertEqual(err.count("\n"), 1, err)


class Tls(Case):
    def certificates(self):
        d = pathlib.Path(tempfile.mkdtemp(dir=work))
        for ca in ("ca", "other"):
            agent.sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-days", "2", "-subj", f"/CN={ca}", "-keyout", d / f"{ca}.key",
                     "-out", d / f"{ca}.pem")
        for name, ca, ext in (("server", "ca", "subjectAltName=IP:127.0.0.1"),
                              ("client", "ca", "extendedKeyUsage=clientAuth"),
                              ("stranger", "other", "extendedKeyUsage=clientAuth")):
            agent.sh("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-subj", f"/CN={name}", "-keyout", d / f"{name}.key", "-out", d / f"{name}.csr")
            (d / "ext").write_text(ext + "\n")
            agent.sh("openssl", "x509", "-req", "-in", d / f"{name}.csr", "-CA", d / f"{ca}.pem", "-CAkey",
                     d / f"{ca}.key", "-CAcreateserial", "-days", "2", "-extfile", d / "ext",
                     "-out", d / f"{name}.pem")
        return d

    def etcd(self, d):
        client, peer = locks.ports(2)
        p = subprocess.Popen(
            ["etcd", "--name", "m", "--data-dir", d / "etcd",
             "--listen-client-urls", f"https://127.0.0.1:{client}",
             "--advertise-client-urls", f"https://127.0.0.1:{client}",
             "--listen-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-cluster", f"m=http://127.0.0.1:{peer}",
             "--cert-file", d / "server.pem", "--key-file", d / "server.key",
             "--trusted-ca-file", d / "ca.pem", "--client-cert-auth"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        agent.wait_for(lambda: agent.sh(
            "openssl", "s_client", "-connect", f"127.0.0.1:{client}", want=None, input="").returncode == 0)
        return f"https://127.0.0.1:{client}"

    def test_client_certificate(self):
        d = self.certificates()
        url = self.etcd(d)
        (d / "client.key").chmod(0o600)

        def node(name, ca, who):
            return Node(name, f"[Lock]\nType=etcd\nURL={url}\nGroup=web\nId={name}\nPlaces=2\nTimeout=20s\n"
                              f"CA={d}/{ca}.pem\n" + (f"Certificate={d}/{who}.pem\nKey={d}/{who}.key\n"
                                                      if who else ""))
        for name, ca, who, ok in (("good", "ca", "client", True), ("bare", "ca", None, False),
                                  ("wrong", "ca", "stranger", False), ("astray", "other", "client", False)):
            with self.subTest(name):
                r, err = node(name, ca, who).run("itself")
                self.assertEqual(r["verdict"], "rebooting" if ok else "waits", r)
                self.assertEqual(self.codes(r), [] if ok else ["lock-server"])
        n = node("gone", "ca", "nowhere")
        r, err = n.run("itself")
        self.assertIn("nowhere.pem", r["reasons"][0]["text"])


if __name__ == "__main__":
    unittest.main()
