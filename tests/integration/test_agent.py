#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""proactl, proad, proa-fetch and proa-publish together, on an image file with a directory as ESP."""
import hashlib, json, os, pathlib, random, shutil, signal, socket, struct, subprocess
import tempfile, time, unittest
from parts import load_tests

import jsonschema

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "docs/schema"
BIN = pathlib.Path(os.environ["PROA_BIN"]).resolve()
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
DATA = "8484680c-9521-48c6-9c11-b0720656f69e"
HASH = "77ff5f63-e7b6-4633-acf4-1565b864c0e6"
DONE, FAILED, USAGE, NOTHING, WAITING = range(5)
MIB = 1 << 20


def setUpModule():
    global work, base, with_deltas
    print(f"PROA_SEED={SEED}")
    work = pathlib.Path(tempfile.mkdtemp(prefix="proa-agent."))
    base = Publisher(work / "base")
    base.init()
    base.release("1.0.0")
    base.release("1.1.0")
    with_deltas = Publisher(work / "deltas", deltas=True)
    with_deltas.init()
    with_deltas.release("1.0.0")
    with_deltas.release("1.1.0")


def tearDownModule():
    shutil.rmtree(work)


def sh(*args, want=0, **kw):
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=120, text=True, **kw)
    assert want is None or p.returncode == want, (args, p.returncode, p.stdout, p.stderr)
    return p


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def tree_hash(path):
    h = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for f in files:
        h.update(f.name.encode() + b"\0" + hashlib.sha256(f.read_bytes()).digest())
    return h.hexdigest()


class Publisher:
    """deltas: releases come with deltas from those before; else only whole images."""

    def __init__(self, root, deltas=False):
        self.root, self.repo, self.keys = root, root / "repo", root / "keys"
        self.deltas = deltas
        self.seed = SEED

    def init(self, *more):
        self.root.mkdir()
        rnd = random.Random(self.seed)
        kernel = bytearray(rnd.randbytes(60000))
        kernel[:2], kernel[0x1FE:0x200], kernel[0x202:0x206] = b"MZ", b"\x55\xaa", b"HdrS"
        struct.pack_into("<H", kernel, 0x20E, 0x200)
        kernel[0x400:0x40B] = b"6.1.0-test\0"
        (self.root / "vmlinuz").write_bytes(kernel)
        (self.root / "initrd").write_bytes(rnd.randbytes(30000))
        (self.root / "os-release").write_text('ID=web\nPRETTY_NAME="Web"\n')
        sh(BIN / "proa-publish", "init", self.repo, "--image", "web", "--keys", self.keys,
           "--channel", "stable", *more)

    def usr(self, version, blocks=800):
        """Most blocks are those of every version."""
        common, own = random.Random(self.seed + 1), random.Random(self.seed + hash_of(version))
        out = [common.randbytes(4096) if i % 3 else bytes(4096) for i in range(blocks)]
        for _ in range(blocks // 10):
            out[own.randrange(blocks)] = own.randbytes(4096)
        path = self.root / f"usr-{version}"
        path.write_bytes(b"".join(out))
        return path

    def release(self, version, *more, channel="stable", usr=None):
        r = self.root
        sh(BIN / "proa-publish", "release", self.repo, "--keys", self.keys, "--channel", channel,
           "--version", version, "--level", "1", "--usr", usr or self.usr(version), "--kernel",
           r / "vmlinuz", "--initrd", r / "initrd", "--os-release", r / "os-release",
           *([] if self.deltas else ["--from", "none"]), *more)

    def copy(self, name):
        other = Publisher(work / name, self.deltas)
        shutil.copytree(self.root, other.root)
        return other

    def manifest(self, version):
        found = list(self.repo.glob(f"targets/*/*web_{version}.json"))
        return json.loads(found[0].read_text())

    def blob(self, version, role):
        b = [b for b in self.manifest(version)["blobs"] if b["role"] == role][0]
        return self.repo / "blobs/sha256" / b["sha256"]


def hash_of(s):
    return int.from_bytes(hashlib.sha256(s.encode()).digest()[:4], "big")


def fits(doc, verb):
    """Every answer of proactl --json is what docs/schema says; there may be more in it."""
    name = {"pause": "hold", "continue": "hold", "limit": "hold", "pin": "policy", "hold": "policy",
            "unhold": "policy"}.get(verb, verb)
    if name == "health":  # has none
        return doc
    store = {p.name: json.loads(p.read_text()) for p in SCHEMA.glob("*.json")}
    resolver = jsonschema.RefResolver("", store[name + ".json"], store=store)
    jsonschema.Draft202012Validator(store[name + ".json"], resolver=resolver).validate(doc)
    return doc


class Nginx:
    def __init__(self, root, ranges=True):
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=work))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        (self.dir / "conf").write_text(
            f"daemon off; pid {self.dir}/pid; error_log {self.dir}/error.log; events {{}}\n"
            + ("user root;\n" if os.geteuid() == 0 else "")
            + "http { access_log %s/access.log;\n" % self.dir
            + "".join(f"{k}_temp_path {self.dir}/{k};\n"
                      for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            + f"server {{ listen 127.0.0.1:{self.port}; root {root};"
            + ("" if ranges else " max_ranges 0;") + " } }\n")
        self.start()

    def start(self):
        self.p = subprocess.Popen(["nginx", "-c", str(self.dir / "conf")],
                                  stderr=subprocess.DEVNULL)
        wait_for(self.answers)

    def answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.p.terminate()
        self.p.wait()

    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def asked(self, path):
        """How often a file was asked for."""
        return (self.dir / "access.log").read_text().count(path.name)


class Host:
    """An image file with two slots of `slot` MiB, and what belongs to it."""

    def __init__(self, pub=None, url=None, slot=8, parts=None, **conf):
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=work))
        pub = pub or base
        self.disk, self.esp = self.dir / "disk", self.dir / "esp"
        self.state, self.conf = self.dir / "state", self.dir / "proa.conf"
        (self.esp / "EFI/Linux").mkdir(parents=True)
        self.state.mkdir()
        with open(self.disk, "wb") as f:
            f.truncate((2 * slot + 8) * MIB)
        if parts is None:
            parts = [(f"{slot}M", DATA, "_empty"), ("1M", HASH, "_empty")] * 2
        if parts:
            table = "label: gpt\n" + "".join(f"size={s}, type={t}, name={n}\n"
                                             for s, t, n in parts)
            sh("sfdisk", "-q", self.disk, input=table)
        self.settings = {"Host.Image": "web", "Host.Disk": self.disk, "Host.ESP": self.esp,
                         "Host.State": self.state, "Source.URL": url or f"file://{pub.repo}/",
                         "Source.Root": pub.repo / "metadata/1.root.json"}
        self.set(**conf)

    def set(self, **conf):
        self.settings.update({k.replace("_", ".", 1): v for k, v in conf.items()})
        text = ""
        for section in ("Host", "Source", "Update", "Fetch"):
            text += f"[{section}]\n"
            for k, v in self.settings.items():
                if k.startswith(section + ".") and v is not None:
                    text += f"{k.split('.')[1]}={v}\n"
        self.conf.write_text(text)

    def args(self, *verb):
        return [str(BIN / "proactl"), "--direct", "--config", str(self.conf), *verb]

    def ctl(self, *verb, want=DONE):
        return sh(*self.args(*verb), want=want)

    def json(self, *verb, want=DONE):
        return fits(json.loads(self.ctl("--json", *verb, want=want).stdout), verb[0])

    def start(self, *verb):
        return subprocess.Popen(self.args(*verb), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, start_new_session=True)

    def install(self, version="1.0.0", pub=None):
        """As an installer would: the release runs, good. A repository that has only that one."""
        one = (pub or base).copy(f"only-{version}-{self.dir.name}")
        for v in ("1.0.0", "1.1.0"):
            if v != version:
                sh(BIN / "proa-publish", "channel", "remove-release", one.repo, "stable", v,
                   "--keys", one.keys)
        # a host that knows later metadata would rightly refuse the base repository
        keep = dict(self.settings)
        trust = self.state / "trust"
        self.set(Source_URL=f"file://{one.repo}/")
        self.ctl("update")
        sh(BIN / "proa-bootctl", "--esp", self.esp, "bless", f"web_{version}")
        self.ctl("status")
        shutil.rmtree(trust)
        self.settings = keep
        self.set()
        return self

    def seen(self):
        """All that must stay the same when something is refused."""
        s = self.json("status")
        for k in ("last_check", "last_check_ok", "last_error", "newest"):
            s.pop(k)
        return tree_hash(self.disk), tree_hash(self.esp), s

    def slot(self, letter):
        s = [s for s in self.json("status")["slots"] if s["slot"] == letter][0]
        return s["version"], s["state"]

    def part(self, number):
        table = json.loads(sh("sfdisk", "-J", self.disk).stdout)["partitiontable"]
        p = table["partitions"][number - 1]
        with open(self.disk, "rb") as f:
            f.seek(p["start"] * 512)
            return f.read(p["size"] * 512)


class Case(unittest.TestCase):
    def refused(self, host, *verb, words=(), code=FAILED):
        """One sentence, that exit status, nothing changed."""
        before = host.seen()
        p = host.ctl(*verb, want=code)
        self.one_sentence(p, words)
        self.assertEqual(host.seen(), before)
        return p.stderr

    def one_sentence(self, p, words=()):
        lines = p.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, p.stderr)
        self.assertTrue(lines[0].startswith("proactl: "), p.stderr)
        for w in words:
            self.assertIn(w, p.stderr)

    def check_slot(self, host, letter, version, pub=None):
        """The slot holds the image byte for byte, and Debian's veritysetup agrees."""
        pub = pub or base
        want = (pub.root / f"usr-{version}").read_bytes()
        first = 1 if letter == "A" else 3
        data = host.part(first)
        self.assertEqual(data[:len(want)], want)
        d, h = host.dir / "d", host.dir / "h"
        d.write_bytes(want)
        h.write_bytes(host.part(first + 1))
        judge = shutil.which("veritysetup") or "/usr/sbin/veritysetup"
        if os.path.exists(judge):
            sh(judge, "verify", d, h, pub.manifest(version)["usr"]["root_hash"])

    def updated(self, host, to="1.1.0", letter="B", pub=None):
        self.check_slot(host, letter, to, pub)
        s = host.json("status")
        self.assertEqual(s["boots_next"]["version"], to)
        self.assertEqual(s["state"], "applied")
        self.assertFalse((host.state / "uki.efi").exists())
        self.assertFalse((host.state / "uki.part").exists())
        names = sorted(p.name for p in (host.esp / "EFI/Linux").iterdir())
        self.assertIn(f"web_{to}+3-0.efi", names)
        self.assertFalse([n for n in names if n.endswith(".part")])


class Life(Case):
    def test_install_and_update(self):
        h = Host()
        s = h.json("status")
        self.assertIsNone(s["running"])
        self.assertEqual([x["state"] for x in s["slots"]], ["empty", "empty"])
        self.assertEqual(h.ctl("check").stderr, "")
        h.install()
        self.check_slot(h, "A", "1.0.0")
        self.assertEqual(h.slot("A"), ("1.0.0", "bootable"))
        self.assertEqual(h.json("status")["state"], "idle")
        self.assertEqual(h.json("check")["chosen"], "1.1.0")
        self.assertIn("1.1.0", h.ctl("why").stdout)
        old = h.part(1)
        h.ctl("stage")
        self.assertEqual(h.json("status")["state"], "staged")
        self.assertEqual(h.json("status")["boots_next"]["version"], "1.0.0")
        self.assertTrue(h.json("stage", want=NOTHING)["nothing"])
        h.ctl("apply")
        self.updated(h)
        self.assertTrue(h.json("apply", want=NOTHING)["nothing"])
        self.assertEqual(h.part(1), old)
        events = [(e["event"], e["version"]) for e in h.json("history")]
        self.assertEqual(events[-2:], [("staged", "1.1.0"), ("applied", "1.1.0")])
        self.assertEqual(h.ctl("history", str(len(events))).stderr, "")
        h.ctl("history", "999", want=FAILED)
        h.ctl("history", "x", want=USAGE)
        self.assertEqual(h.ctl("update", want=NOTHING).stderr, "")

    def test_update_json_is_one_document(self):
        h = Host().install()
        j = h.json("update")
        self.assertEqual(j["stage"]["version"], "1.1.0")
        self.assertEqual(j["apply"]["version"], "1.1.0")
        self.assertEqual(h.json("update", want=NOTHING)["apply"], None)

    def test_http_and_ranges(self):
        for ranges in (True, False):
            with self.subTest(ranges=ranges):
                web = Nginx(base.repo, ranges)
                h = Host(url=web.url()).install()
                h.ctl("update")
                self.updated(h)
                web.stop()

    def test_withdrawn_is_not_applied(self):
        """Staged, then the channel takes it back: update must not make it boot."""
        pub = base.copy("withdrawn")
        h = Host(pub).install()
        h.ctl("stage")
        sh(BIN / "proa-publish", "channel", "remove-release", pub.repo, "stable", "1.1.0",
           "--keys", pub.keys)
        h.ctl("update", want=NOTHING)
        self.assertEqual(h.json("status")["state"], "staged")
        self.assertEqual(h.json("status")["boots_next"]["version"], "1.0.0")

    def test_paused_waits(self):
        pub = base.copy("paused")
        h = Host(pub).install()
        sh(BIN / "proa-publish", "channel", "pause", pub.repo, "stable", "1.1.0", "--keys",
           pub.keys)
        p = h.ctl("update", want=WAITING)
        self.assertIn("paused", p.stdout)
        self.assertEqual(h.json("why")["decision"]["reasons"][0]["code"], "paused")

    def test_newer_over_staged_and_applied(self):
        for first in ("stage", "update"):
            with self.subTest(first=first):
                pub = base.copy(f"newer-{first}")
                h = Host(pub).install()
                h.ctl(first)
                pub.release("1.2.0")
                if first == "update":  # from outside what boots next counts as running
                    sh(BIN / "proa-bootctl", "--esp", h.esp, "bless", "web_1.1.0")
                h.ctl("update")
                self.updated(h, "1.2.0", "B" if first == "stage" else "A", pub)

    def test_only_a_new_uki(self):
        pub = base.copy("uki-only")
        (pub.root / "usr-1.2.0").write_bytes((pub.root / "usr-1.1.0").read_bytes())
        h = Host(pub).install("1.1.0", pub)
        (pub.root / "initrd").write_bytes(b"another" * 5000)
        pub.release("1.2.0", usr=pub.root / "usr-1.2.0")
        before = tree_hash(h.disk)
        j = h.json("update")
        self.assertTrue(j["stage"]["uki_only"])
        self.assertEqual(j["stage"]["written"], 0)
        self.assertEqual(tree_hash(h.disk), before)
        s = h.json("status")
        self.assertEqual(s["boots_next"]["version"], "1.2.0")


class Policy(Case):
    def test_pin_and_hold(self):
        h = Host(base).install()
        h.set(Update_Pin="1.0")
        h.ctl("update", want=NOTHING)
        line = h.conf.read_text().splitlines().index("Pin=1.0") + 1
        why = h.json("why")["decision"]
        self.assertEqual((why["verdict"], why["newest"]), ("current", "1.1.0"))
        self.assertEqual(why["reasons"][0]["text"], "1.1.0 is not taken: this host is pinned to "
                         f"1.0 ({h.conf}, line {line})")
        self.assertIn("pinned to 1.0", " ".join(h.ctl("why").stdout.split()))
        h.set(Update_Pin="1.1", Update_Hold="yes")
        before = h.seen()
        p = h.ctl("update", want=WAITING)
        self.assertIn("on hold", " ".join(p.stdout.split()))
        self.assertEqual(h.seen(), before)
        h.set(Update_Hold=None)
        h.ctl("update")
        self.updated(h)

    def test_minimum_age(self):
        h = Host(base).install()
        h.set(Update_MinimumAge="2d")
        h.ctl("update", want=WAITING)
        why = h.json("why")["decision"]
        self.assertEqual(why["reasons"][0]["code"], "minimum-age")
        self.assertEqual(why["retry"], why["reasons"][0]["until"])

    def test_mode(self):
        """How far an unattended update goes; a person's goes all the way."""
        h = Host(base).install()
        for mode, code, state in (("manual", NOTHING, "idle"), ("check", DONE, "idle"),
                                  ("stage", DONE, "staged"), ("stage", NOTHING, "staged"),
                                  ("auto", DONE, "applied")):
            with self.subTest(mode=mode, code=code):
                h.set(Update_Mode=mode)
                h.ctl("update", "--unattended", want=code)
                self.assertEqual(h.json("status")["state"], state)
        other = Host(base).install()
        other.set(Update_Mode="manual")
        other.ctl("update")
        self.updated(other)

    def test_why_without_the_manifest(self):
        """What a release asks of a host cannot be said then; that it is there can."""
        pub = base.copy("no-manifest")
        h = Host(pub).install("1.0.0", pub)
        for f in pub.repo.glob("targets/*/*web_1.1.0.json"):
            f.unlink()
        self.assertEqual(h.json("why")["decision"]["chosen"], "1.1.0")
        self.one_sentence(h.ctl("stage", want=FAILED), ["web_1.1.0.json", "does not have it"])

    def test_reboot_window(self):
        """Closed: an applied release waits for it, and says so."""
        for more in ((), ("--reboot",)):
            h = Host(base).install()
            h.set(Update_Reboot="window", Update_RebootWindow="2019-01-01 00:00 UTC for 1h")
            p = h.ctl("update", "--unattended", *more, want=WAITING)
            self.assertIn("waits for its reboot window, which never comes", " ".join(p.stdout.split()))
        s = h.json("status")
        self.assertEqual(s["reboot_window"], {"when": "2019-01-01 00:00 UTC for 1 h",
                                              "open": False, "changes": None})
        h.set(Update_RebootWindow="*:0/10 UTC for 1h | 2019-01-01 00:00 UTC for 1h")
        self.assertTrue(h.json("status")["reboot_window"]["open"])
        h.set(Update_RebootWindow="Sat 25:00 for 1h")
        self.assertIn("Sat 25:00", h.json("status")["reboot_window"]["error"])


class Deltas(Case):
    """The same from a repository that has deltas from 1.0.0 to 1.1.0."""

    def host(self, pub, **conf):
        return Host(pub, **conf).install("1.0.0", pub)

    def test_update(self):
        for ranges in (True, False):
            with self.subTest(ranges=ranges):
                web = Nginx(with_deltas.repo, ranges)
                h = self.host(with_deltas, url=web.url())
                j = h.json("update")
                self.updated(h, pub=with_deltas)
                full = with_deltas.blob("1.1.0", "usr-full").stat().st_size
                self.assertLess(j["stage"]["fetched"], full / 2)
                self.assertEqual(web.asked(with_deltas.blob("1.1.0", "usr-full")), 0)
                self.assertEqual(web.asked(with_deltas.blob("1.1.0", "uki-full")), 0)
                self.assertGreater(web.asked(with_deltas.blob("1.1.0", "usr-delta")), 0)
                web.stop()

    def test_only_a_new_uki(self):
        pub = with_deltas.copy("uki-only-delta")
        (pub.root / "usr-1.2.0").write_bytes((pub.root / "usr-1.1.0").read_bytes())
        h = Host(pub).install("1.1.0", pub)
        pub.release("1.2.0", usr=pub.root / "usr-1.2.0")
        j = h.json("update")
        self.assertTrue(j["stage"]["uki_only"])
        self.assertLess(j["stage"]["fetched"], 5000)

    def test_killed_and_resumed(self):
        h = self.host(with_deltas)
        h.set(Fetch_BandwidthLimit="60K")
        p = h.start("update")
        b_data = h.part(3)
        wait_for(lambda: h.part(3) != b_data)
        time.sleep(2)
        children = pathlib.Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        p.communicate(timeout=60)
        h.set(Fetch_BandwidthLimit=None)
        self.assertEqual(h.json("status")["state"], "interrupted")
        j = h.json("update")
        self.assertGreater(j["stage"]["kept"], 0)
        self.assertLess(j["stage"]["fetched"],
                        with_deltas.blob("1.1.0", "usr-full").stat().st_size)
        self.updated(h, pub=with_deltas)

    def test_spoiled_deltas(self):
        """Missing, cut, a wrong byte at the front or at the end: another way is taken, and said."""
        def gone(b):
            b.unlink()

        def cut(b):
            b.write_bytes(b.read_bytes()[:-10])

        def flip(at):
            def spoil(b):
                data = bytearray(b.read_bytes())
                data[at] ^= 0x20
                b.write_bytes(data)
            return spoil

        for role, ways in (("usr-delta", (gone, cut, flip(40), flip(-5))),
                           ("uki-delta", (gone, flip(-5)))):
            for k, spoil in enumerate(ways):
                with self.subTest(role=role, k=k):
                    pub = with_deltas.copy(f"spoiled-{role}-{k}")
                    h = self.host(pub)
                    spoil(pub.blob("1.1.0", role))
                    p = h.ctl("update")
                    self.assertIn("delta", p.stderr)
                    self.updated(h, pub=pub)

    def test_dry_run(self):
        """What it says is what is fetched then, and saying it changes nothing."""
        for pub, way in ((with_deltas, "delta"), (base, "any-base")):
            with self.subTest(way=way):
                h = self.host(pub)
                before = h.seen()
                plan = h.json("stage", "--dry-run")
                self.assertEqual(h.seen(), before)
                self.assertEqual(plan["plan"]["usr"]["way"], way)
                self.assertIn("Nothing was changed", h.ctl("stage", "--dry-run").stdout)
                j = h.json("stage")
                self.assertEqual(j["plan"], plan["plan"])
                self.assertEqual(j["fetched"], plan["plan"]["fetch"])
                self.assertEqual(j["copied"], plan["plan"]["copy"])
                self.assertTrue(h.json("stage", "--dry-run", want=NOTHING)["nothing"])

    def test_max_download(self):
        h = self.host(base)
        for limit in ("100K", "5%"):
            with self.subTest(limit=limit):
                h.set(Update_MaxDownload=limit)
                before = h.seen()
                p = h.ctl("update", want=WAITING)
                for word in ("MaxDownload=", "no delta from 1.0.0", "--any-size"):
                    self.assertIn(word, " ".join(p.stdout.split()))
                self.assertIn("MaxDownload=", h.ctl("why").stdout)
                self.assertEqual(h.seen(), before)
                why = h.json("why")["decision"]
                self.assertEqual((why["verdict"], why["reasons"][0]["code"]),
                                 ("blocked", "max-download"))
        self.assertGreater(h.json("stage", "--dry-run", want=WAITING)["wants"], 100000)
        h.set(Update_MaxDownload="many")
        self.one_sentence(h.ctl("check", want=FAILED), ["MaxDownload"])
        h.set(Update_MaxDownload="100K")
        h.ctl("update", "--any-size")
        self.updated(h)

    def test_max_download_in_the_middle(self):
        """The delta is small enough, but wrong: the rest waits too, and then goes on."""
        pub = with_deltas.copy("max-middle")
        h = self.host(pub)
        h.set(Update_MaxDownload=h.json("stage", "--dry-run")["plan"]["fetch"] + 1000)
        blob = pub.blob("1.1.0", "usr-delta")
        data = bytearray(blob.read_bytes())
        data[-5] ^= 0x20
        blob.write_bytes(data)
        p = h.ctl("update", want=WAITING)
        self.assertIn("the delta from 1.0.0", " ".join(p.stdout.split()))
        self.assertEqual(h.json("status")["state"], "interrupted")
        h.ctl("update", "--any-size")
        self.updated(h, pub=pub)

    def test_rotten_base(self):
        """Bytes of what runs have changed on the disk: fetched instead."""
        h = self.host(with_deltas)
        rnd = random.Random(SEED)
        table = json.loads(sh("sfdisk", "-J", h.disk).stdout)["partitiontable"]
        start = table["partitions"][0]["start"] * 512
        with open(h.disk, "r+b") as f:
            for _ in range(60):
                f.seek(start + rnd.randrange(800 * 4096))
                f.write(b"rot")
        self.assertIn("not as published", h.ctl("update").stderr)
        self.updated(h, pub=with_deltas)


@unittest.skipUnless(shutil.which("sbsign"), "no sbsign")
class LateUki(Case):
    """A new kernel that lies in the new /usr, and a firmware that enforces Secure Boot."""
    GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
    DB = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
    X509 = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")

    @classmethod
    def setUpClass(cls):
        cls.dir = work / "late"
        cls.dir.mkdir()
        for name in ("ours", "stranger"):
            sh("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "99", "-subj",
               f"/CN=Proa test {name}", "-keyout", cls.dir / f"{name}.key", "-out",
               cls.dir / f"{name}.crt")
        der = subprocess.run(["openssl", "x509", "-in", cls.dir / "ours.crt", "-outform", "DER"],
                             stdout=subprocess.PIPE, check=True).stdout
        efivars = cls.dir / "efivars"
        efivars.mkdir()
        (efivars / f"SecureBoot-{cls.GLOBAL}").write_bytes(b"\6\0\0\0\1")
        (efivars / f"db-{cls.DB}").write_bytes(b"\x27\0\0\0" + cls.X509 + struct.pack(
            "<III", 28 + 16 + len(der), 0, 16 + len(der)) + bytes(16) + der)
        cls.pub = Publisher(cls.dir / "pub", deltas=True)
        cls.pub.init()
        cls.release("1.0.0", "ours", 1)

    @classmethod
    def release(cls, version, key, seed, pub=None):
        """With a kernel of its own, which lies in /usr as well."""
        pub = pub or cls.pub
        kernel = bytearray((pub.root / "vmlinuz").read_bytes()[:0x500])
        kernel += random.Random(seed).randbytes(500 * 1024 - len(kernel))
        (pub.root / "vmlinuz").write_bytes(kernel)
        usr = pub.usr(version)
        data = usr.read_bytes()
        usr.write_bytes(data[:40960] + bytes(kernel) + data[40960 + len(kernel):])
        pub.release(version, "--sign-key", cls.dir / f"{key}.key", "--sign-cert",
                    cls.dir / f"{key}.crt", usr=usr)

    def host(self, pub):
        return Host(pub, Host_Efivars=self.dir / "efivars").install("1.0.0", pub)

    def test_ours(self):
        pub = self.pub.copy("late-ours")
        self.release("1.1.0", "ours", 2, pub)
        web = Nginx(pub.repo)
        h = self.host(pub)
        h.set(Source_URL=web.url())
        plan = h.json("stage", "--dry-run")["plan"]
        self.assertTrue(plan["uki_late"], plan)
        j = h.json("update")
        self.updated(h, pub=pub)
        self.assertLess(j["stage"]["fetched"], plan["fetch"])
        uki = pub.blob("1.1.0", "uki-full")
        taken = sum(int(l.split('"')[2].split()[1]) for l in
                    (web.dir / "access.log").read_text().splitlines() if uki.name in l)
        self.assertLess(taken, uki.stat().st_size / 2)
        web.stop()

    def test_any_base(self):
        """A host that runs none of the bases takes the kernel from /usr, too."""
        pub = self.pub.copy("late-any")
        self.release("1.1.0", "ours", 2, pub)
        m = pub.manifest("1.1.0")
        deltas = {b["base"]: b for b in m["blobs"] if b["role"] == "uki-delta"}
        own = deltas.pop(m["usr"]["root_hash"])
        for b in [*deltas.values(), *(b for b in m["blobs"] if b["role"] == "usr-delta")]:
            (pub.repo / "blobs/sha256" / b["sha256"]).unlink()
        full = pub.blob("1.1.0", "uki-full")
        web = Nginx(pub.repo)
        h = self.host(pub)
        h.set(Source_URL=web.url())
        plan = h.json("stage", "--dry-run")["plan"]
        self.assertEqual((plan["uki"]["way"], plan["uki_late"]), ("delta", True), plan)
        self.assertLess(plan["uki"]["fetch"], full.stat().st_size)
        h.json("update")
        self.updated(h, pub=pub)
        taken = sum(int(l.split('"')[2].split()[1]) for l in
                    (web.dir / "access.log").read_text().splitlines() if full.name in l)
        self.assertLess(taken, full.stat().st_size / 2)
        web.stop()
        # and when that one is wrong: the whole UKI
        blob = pub.repo / "blobs/sha256" / own["sha256"]
        data = bytearray(blob.read_bytes())
        data[-5] ^= 1
        blob.write_bytes(data)
        h = self.host(pub)
        plan = h.json("update")["stage"]["plan"]["uki"]
        self.assertEqual(plan["way"], "full", plan)
        self.assertIn("its delta cannot be used", plan["why"])
        self.updated(h, pub=pub)

    def test_stranger(self):
        """Refused before anything is changed, though the UKI could be made only afterwards."""
        pub = self.pub.copy("late-stranger")
        self.release("1.1.0", "stranger", 3, pub)
        h = self.host(pub)
        self.refused(h, "update", words=["would not start here", "Proa test stranger"])


class Interrupted(Case):
    def begin(self, h):
        """An update that is in the middle of writing."""
        p = h.start("update")
        b_data = h.part(3)
        wait_for(lambda: h.part(3) != b_data)
        time.sleep(1)
        self.assertIsNone(p.poll())
        return p

    def resumed(self, h):
        h.set(Fetch_BandwidthLimit=None)
        self.assertEqual(h.json("status")["state"], "interrupted")
        self.assertEqual(h.slot("A"), ("1.0.0", "bootable"))
        self.check_slot(h, "A", "1.0.0")
        j = h.json("update")
        self.assertGreater(j["stage"]["kept"], 0)
        full = base.blob("1.1.0", "usr-full").stat().st_size
        self.assertLess(j["stage"]["fetched"], full)
        self.updated(h)

    def host(self):
        h = Host().install()
        h.set(Fetch_BandwidthLimit="150K")
        return h

    def test_kill(self):
        h = self.host()
        p = self.begin(h)
        children = pathlib.Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().split()
        self.assertEqual(len(children), 1)
        os.kill(int(children[0]), signal.SIGKILL)
        out, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, FAILED)
        self.assertIn("proad ended before it answered", err)
        self.resumed(h)

    def test_kill_proactl(self):
        h = self.host()
        p = self.begin(h)
        p.kill()
        p.communicate(timeout=60)
        wait_for(lambda: "another proad" not in h.ctl("check", want=None).stderr)
        self.resumed(h)

    def test_cancel(self):
        for group in (False, True):  # as kill -INT does, and as a terminal does
            with self.subTest(group=group):
                h = self.host()
                p = self.begin(h)
                (os.killpg if group else os.kill)(p.pid, signal.SIGINT)
                out, err = p.communicate(timeout=60)
                self.assertEqual(p.returncode, FAILED)
                self.assertIn("stage was cancelled", err)
                self.assertIsNone(h.json("status")["last_error"])
                self.resumed(h)

    def test_two_at_once(self):
        h = self.host()
        p = self.begin(h)
        other = h.ctl("update", want=FAILED)
        self.one_sentence(other, ["another proad works on this host"])
        self.assertEqual(h.json("status")["state"], "interrupted")
        os.kill(p.pid, signal.SIGINT)
        p.communicate(timeout=60)
        self.resumed(h)

    def test_server_dies_and_comes_back(self):
        web = Nginx(base.repo)
        h = self.host()
        h.set(Source_URL=web.url())
        p = self.begin(h)
        web.stop()
        time.sleep(1)
        web.start()
        out, err = p.communicate(timeout=120)
        self.assertEqual(p.returncode, DONE, err)
        self.updated(h)
        web.stop()

    def test_saved_uki_damaged(self):
        h = Host().install()
        h.ctl("stage")
        uki = h.state / "uki.efi"
        b = bytearray(uki.read_bytes())
        b[-1] ^= 1
        uki.write_bytes(b)
        p = h.ctl("apply", want=FAILED)
        self.one_sentence(p, ["proactl stage"])
        j = h.json("stage")
        self.assertEqual(j["kept"], (base.root / "usr-1.1.0").stat().st_size)
        h.ctl("apply")
        self.updated(h)


class Refused(Case):
    def test_wrong_byte(self):
        for role in ("uki-full", "usr-index", "usr-full"):
            with self.subTest(role=role):
                pub = base.copy(f"wrong-{role}")
                h = Host(pub).install()
                blob = pub.blob("1.1.0", role)
                b = bytearray(blob.read_bytes())
                # the leaf hashes behind the index's frames are for planning only
                b[200 if role == "usr-index" else len(b) // 2] ^= 0x20
                blob.write_bytes(b)
                if role in ("uki-full", "usr-index"):
                    self.refused(h, "update", words=["1.1.0"])
                    continue
                esp, slot_a = tree_hash(h.esp), h.part(1)
                self.one_sentence(h.ctl("update", want=FAILED), [blob.name[:8]])
                self.assertEqual((tree_hash(h.esp), h.part(1)), (esp, slot_a))
                self.assertEqual(h.json("status")["state"], "interrupted")
                shutil.copy(base.blob("1.1.0", role), blob)
                h.ctl("update")
                self.updated(h)

    def test_missing_and_cut_blobs(self):
        for role in ("uki-full", "usr-index", "usr-full"):
            for cut in (False, True):
                with self.subTest(role=role, cut=cut):
                    pub = base.copy(f"cut-{role}-{cut}")
                    h = Host(pub).install()
                    blob = pub.blob("1.1.0", role)
                    if cut:
                        os.truncate(blob, blob.stat().st_size - 1)
                    else:
                        blob.unlink()
                    esp, slot_a = tree_hash(h.esp), h.part(1)
                    self.one_sentence(h.ctl("update", want=FAILED), [blob.name[:8]])
                    self.assertEqual((tree_hash(h.esp), h.part(1)), (esp, slot_a))

    def test_stranger(self):
        stranger = Publisher(work / "stranger")
        stranger.init()
        stranger.release("1.2.0")
        h = Host().install()
        h.set(Source_URL=f"file://{stranger.repo}/")
        self.refused(h, "update", words=["sign"])
        self.assertIn("sign", h.json("status")["last_error"])
        h.set(Source_URL=f"file://{base.repo}/")
        h.ctl("update")
        self.updated(h)

    def test_older_channel(self):
        pub = base.copy("older")
        h = Host().install("1.1.0")
        sh(BIN / "proa-publish", "channel", "remove-release", pub.repo, "stable", "1.1.0",
           "--keys", pub.keys)
        h.set(Source_URL=f"file://{pub.repo}/")
        before = h.seen()
        p = h.ctl("update", want=NOTHING)
        self.assertIn("older", p.stdout + h.ctl("why").stdout)
        self.assertEqual(h.seen(), before)

    def test_rolled_back_repository(self):
        """A mirror that shows an older state than was seen before."""
        pub = base.copy("before")
        later = base.copy("later")
        later.release("1.2.0")
        h = Host(later).install()
        h.ctl("check")
        h.set(Source_URL=f"file://{pub.repo}/")
        self.refused(h, "update", words=["timestamp"])

    def test_configuration(self):
        h = Host().install()
        for conf, words in (({"Source_URL": None}, ["URL="]),
                            ({"Source_URL": "ftp://x/"}, ["proa.conf:", "URL="]),
                            ({"Source_URL": f"file://{work}/nowhere/"}, ["nowhere"]),
                            ({"Source_Root": "/nowhere/root.json"}, ["/nowhere/root.json"]),
                            ({"Update_Channel": "nightly"}, ["nightly", "Channel="]),
                            ({"Update_Channel": "../x"}, ["Channel="]),
                            ({"Update_Tries": "12"}, ["proa.conf:", "Tries"]),
                            ({"Host_Disk": "/nowhere/disk"}, ["/nowhere/disk"]),
                            ({"Host_ESP": "/nowhere/esp"}, ["/nowhere/esp"]),
                            ({"Host_State": "/nowhere/state"}, ["/nowhere/state", "State="]),
                            ({"Host_Image": "Nope!"}, ["Image="])):
            with self.subTest(conf=conf):
                disk, esp, keep = tree_hash(h.disk), tree_hash(h.esp), dict(h.settings)
                shutil.rmtree(h.state / "trust", ignore_errors=True)
                h.set(**conf)
                p = h.ctl("update", want=FAILED)
                h.settings = keep
                h.set()
                self.one_sentence(p, words)
                self.assertEqual((tree_hash(h.disk), tree_hash(h.esp)), (disk, esp))
        h.conf.write_text(h.conf.read_text() + "Colour=red\n")
        p = h.ctl("status")
        self.one_sentence(p, ["Colour="])

    def test_disks(self):
        small = [("2M", DATA, "_empty"), ("1M", HASH, "_empty")] * 2
        tiny_tree = [("8M", DATA, "_empty"), ("16K", HASH, "_empty")] * 2
        for parts, words in ((small, ["1.1.0", "too small"]), (tiny_tree, ["too small"])):
            h = Host(parts=parts)
            before = h.seen()
            p = h.ctl("update", want=FAILED)
            self.assertEqual(len(p.stderr.strip().splitlines()), 1, p.stderr)
            self.assertEqual(h.seen(), before)
            why = h.json("why")["decision"]
            self.assertEqual((why["verdict"], why["reasons"][0]["code"]), ("blocked", "host"))
            self.assertRegex(why["reasons"][0]["text"], r"holds .* but the image needs .* short")
        for parts, words in (([("8M", DATA, "_empty"), ("1M", HASH, "_empty")], ["slot"]), ([], [])):
            h = Host(parts=parts)
            before = tree_hash(h.disk)
            self.one_sentence(h.ctl("update", want=FAILED), words + [str(h.disk)])
            self.one_sentence(h.ctl("status", want=FAILED), words)
            self.assertEqual(tree_hash(h.disk), before)

    def test_foreign_label(self):
        h = Host().install()
        sh("sfdisk", "-q", "--part-label", h.disk, "3", "other_7")
        self.assertEqual(h.slot("B")[1], "foreign")
        self.refused(h, "update", words=["other_7"])

    def test_damaged_record(self):
        h = Host().install()
        h.ctl("check")
        good = [(h.state / n).read_bytes() for n in ("record.0", "record.1")]
        newest = max((0, 1), key=lambda i: json.loads(good[i].split(b"\n", 1)[1])["seq"])
        (h.state / f"record.{newest}").write_bytes(good[newest][:-20])
        h.ctl("update")  # the older copy serves
        self.updated(h)
        for n in ("record.0", "record.1"):
            (h.state / n).write_bytes(b"garbage")
        for verb in ("status", "update", "history"):
            self.one_sentence(h.ctl(verb, want=FAILED), ["record."])
        for n in ("record.0", "record.1"):  # as the sentence says
            (h.state / n).unlink()
        h.ctl("status")

    def test_verbs(self):
        h = Host().install()
        self.refused(h, "apply", words=["proactl stage"])
        self.refused(h, "rollback", words=["proa-bootctl"])
        self.refused(h, "reboot", words=["does not run"])
        self.refused(h, "forgive", "9.9.9", words=["has not failed"])
        for args in ((), ("nonsense",), ("forgive",), ("status", "x"), ("--colour", "status")):
            h.ctl(*args, want=USAGE)
        for args in (("update", "--dry-run"), ("apply", "--dry-run"), ("check", "--any-size"), ("stage", "--reboot"),
                     ("apply", "--unattended"), ("update", "--reason", "x")):
            self.assertIn("%s is not for %s" % (args[1], args[0]), h.ctl(*args, want=USAGE).stderr)
        sh(BIN / "proactl", "--config", h.conf, "status", want=USAGE)
        sh(BIN / "proad", "--direct", want=USAGE)
        for prog in ("proactl", "proad"):
            self.assertIn("Usage:", sh(BIN / prog, "--help").stdout)
            self.assertIn(prog, sh(BIN / prog, "--version").stdout)


@unittest.skipUnless(shutil.which("dbus-daemon"), "no dbus-daemon")
class Service(Case):
    """proad as a service, on a bus of its own."""

    def setUp(self):
        self.h = Host(Fetch_Socket=work / "fetch.sock").install()
        d = self.h.dir
        (d / "bus.conf").write_text(f"""<busconfig><type>system</type>
            <listen>unix:path={d}/bus</listen><policy context="default"><allow user="*"/>
            <allow own="*"/><allow send_destination="*"/><allow eavesdrop="false"/></policy>
            </busconfig>""")
        self.env = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={d}/bus")
        self.procs = []
        self.spawn("dbus-daemon", f"--config-file={d}/bus.conf", "--nofork", "--nopidfile")
        wait_for((d / "bus").exists)
        self.spawn("systemd-socket-activate", "--seqpacket", "--accept",
                   f"--listen={work}/fetch.sock", BIN / "proa-fetch")
        wait_for((work / "fetch.sock").exists)
        self.proad = self.spawn(BIN / "proad", "--config", self.h.conf)
        wait_for(lambda: self.ctl("status", want=None).returncode == DONE)

    def spawn(self, *args):
        p = subprocess.Popen([str(a) for a in args], env=self.env, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        self.procs.append(p)
        return p

    def tearDown(self):
        for p in reversed(self.procs):
            p.terminate()
            p.wait()
        (work / "fetch.sock").unlink(missing_ok=True)

    def ctl(self, *verb, want=DONE):
        return sh(BIN / "proactl", *verb, want=want, env=self.env)

    def test_busy_cancel_and_update(self):
        self.h.set(Fetch_BandwidthLimit="150K")  # a new configuration counts at the next verb
        p = subprocess.Popen([BIN / "proactl", "update"], env=self.env, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        wait_for(lambda: json.loads(self.ctl("--json", "status").stdout)["job"])
        status = lambda: json.loads(self.ctl("--json", "status").stdout)
        self.assertEqual(status()["state"], "staging")
        wait_for(lambda: status()["job"]["phase"] == "write")
        self.one_sentence(self.ctl("check", want=FAILED), ["busy with stage"])
        self.one_sentence(self.h.ctl("update", want=FAILED), ["another proad"])
        self.assertIn("stage", self.ctl("status").stdout)
        self.ctl("history")
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, FAILED)
        self.assertIn("cancelled", err)
        self.assertEqual(status()["state"], "interrupted")
        self.assertIsNone(status()["job"])
        self.h.set(Fetch_BandwidthLimit=None)
        self.ctl("update")
        self.updated(self.h)

    def test_terminated_in_the_middle(self):
        self.h.set(Fetch_BandwidthLimit="150K")
        p = subprocess.Popen([BIN / "proactl", "update"], env=self.env, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        status = lambda: json.loads(self.ctl("--json", "status").stdout)
        wait_for(lambda: (status()["job"] or {}).get("phase") == "write")
        self.proad.terminate()
        out, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, FAILED)
        self.assertIn("cancelled", err)
        self.assertEqual(self.proad.wait(timeout=60), 0)
        self.h.set(Fetch_BandwidthLimit=None)
        self.assertEqual(self.h.json("status")["state"], "interrupted")
        self.h.ctl("update")
        self.updated(self.h)

    def test_pause_and_continue(self):
        self.h.set(Fetch_BandwidthLimit="200K")
        self.ctl("pause", want=NOTHING)
        p = subprocess.Popen([BIN / "proactl", "update"], env=self.env, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        status = lambda: json.loads(self.ctl("--json", "status").stdout)
        wait_for(lambda: (status()["job"] or {}).get("phase") == "write")
        self.ctl("pause")
        self.assertIn("proactl continue", self.ctl("status").stdout)
        time.sleep(0.5)
        before = status()["job"]
        self.assertTrue(before["paused"])
        time.sleep(2)
        self.assertEqual(status()["job"], before)
        self.ctl("limit", "nonsense", want=FAILED)
        self.ctl("limit", "off")
        self.ctl("continue")
        out, err = p.communicate(timeout=120)
        self.assertEqual(p.returncode, DONE, err)
        self.updated(self.h)
        self.ctl("continue", want=NOTHING)

    def test_cancelled_while_paused(self):
        self.h.set(Fetch_BandwidthLimit="200K")
        p = subprocess.Popen([BIN / "proactl", "update"], env=self.env, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        status = lambda: json.loads(self.ctl("--json", "status").stdout)
        wait_for(lambda: (status()["job"] or {}).get("phase") == "write")
        self.ctl("pause")
        time.sleep(0.5)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=60)
        self.assertEqual(status()["state"], "interrupted")
        self.h.set(Fetch_BandwidthLimit=None)
        self.ctl("update")
        self.updated(self.h)

    def test_service_without_fetch(self):
        self.procs[1].terminate()
        self.procs[1].wait()
        (work / "fetch.sock").unlink(missing_ok=True)
        self.one_sentence(self.ctl("update", want=FAILED), ["proa-fetch.socket"])


if __name__ == "__main__":
    unittest.main()
