#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""proa-publish after the first root: channel changes in steps, pins, recovery from stolen keys, status,
export. Judges: publish_lab.py on python3-cryptography, and tuf-client.

Environment: PROA_BIN (directory of the programs), PROA_SEED.
"""
import hashlib
import json
import pathlib
import random
import re
import shutil
import subprocess
import time
import types
import unittest

import test_agent
import tuf_repo
from cryptography.hazmat.primitives import serialization
from publish_lab import BIN, SEED, Case, canon_of, faketime, judge, publish, run, snapshot_of
from test_publish import make_inputs

FAR = 1 << 40


class Repo(Case):
    def setUp(self):
        super().setUp()
        make_inputs(self.dir, random.Random(SEED))

    def release(self, version, *more, channel="stable", **kw):
        return publish("release", self.repo, "--version", version, "--channel", channel, "--level", 1, "--usr",
                       self.dir / "usr", "--kernel", self.dir / "vmlinuz", "--initrd", self.dir / "initrd",
                       *more, **kw)

    def change(self):
        with open(self.dir / "usr/lib/noise", "r+b") as f:
            f.seek(4096 * 5)
            f.write(random.Random(time.monotonic()).randbytes(100))

    def targets(self, channel="stable"):
        return judge(self.repo)[channel]["signed"]["targets"]

    def rewrite(self, role, pem, change):
        """A thief with the key of an online role changes its newest file."""
        meta = self.repo / "metadata"
        path = meta / "timestamp.json" if role == "timestamp" else max(
            meta.glob("*.%s.json" % role), key=lambda p: int(p.name.split(".")[0]))
        doc = json.loads(path.read_text())
        change(doc["signed"])
        key = serialization.load_pem_private_key(pem, None)
        doc["signatures"][0]["sig"] = key.sign(canon_of(doc)).hex()
        data = json.dumps(doc).encode()
        name = "timestamp.json" if role == "timestamp" else "%d.%s.json" % (doc["signed"]["version"], role)
        (meta / name).write_bytes(data)
        return {"version": doc["signed"]["version"], "length": len(data),
                "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}


class Channels(Repo):
    def begin(self):
        """stable is signed by two of three people, beta here."""
        for n in ("ada", "ben", "cy"):
            self.key(n)
        edits = [a for n in ("ada", "ben", "cy") for a in ("--add-key", "stable=%s" % (self.dir / n / (n + ".pub")))]
        self.init("--channel", "beta", *edits, "--propose", self.fresh("first.json"))
        self.sign(self.pem("ada"), self.pem("cy"), file="first.json")
        self.submit("first.json")

    def steps(self, file="c.json", signers=("ada", "ben"), **kw):
        self.sign(*[self.pem(n) for n in signers], kind="channel", file=file)
        return self.submit(file, kind="channel", **kw)

    def test_release(self):
        """A release, its promotion, pause, resume and withdrawal by people who are elsewhere."""
        self.begin()
        before = snapshot_of(self.repo)
        self.refused(self.release("1.0.0", "--keys", self.keys, ok=False), "stable needs 2 signatures", "ada",
                     "--propose")
        self.assertEqual(snapshot_of(self.repo), before)
        p = self.release("1.0.0", "--keys", self.keys, "--propose", self.fresh("c.json"), "--critical")
        self.assertIn("nothing is published yet", p.stdout)
        self.assertEqual(self.targets(), {})
        self.refused(publish("root", "sign", self.dir / "c.json", "--key", self.pem("ada"), "--yes", ok=False),
                     "does not change root")
        self.unchanged(lambda: self.release("1.0.1", "--keys", self.keys, "--propose", self.dir / "c.json", ok=False),
                       "c.json' is there already")
        self.unchanged(lambda: publish("channel", "propose", self.repo, "stable", self.dir / "c.json", "--keys",
                                       self.keys, ok=False), "is there already")
        sha = re.search(r"manifest sha256 (\w+)", self.sign(self.pem("ada"), kind="channel", file="c.json").stdout)
        self.unchanged(lambda: self.submit("c.json", kind="channel", ok=False), "stable needs 2", "ben", "cy")
        self.unchanged(lambda: self.submit("c.json", kind="root", ok=False), "does not change root")
        p = self.steps(signers=("ben",))
        entry = self.targets()["stable/web_1.0.0.json"]
        self.assertEqual((entry["custom"]["severity"], entry["hashes"]["sha256"]), ("critical", sha[1]))
        publish("verify", self.repo)
        self.assertIn("published before", self.submit("c.json", kind="channel").stdout)
        judge(self.repo)

        def channel(*args, words):
            p = publish("channel", *args, "--keys", self.keys, "--propose", self.fresh("c.json"))
            self.assertIn("proposed", p.stdout)
            p = self.sign(self.pem("cy"), kind="channel", file="c.json")
            for w in words:
                self.assertIn(w, p.stdout)
            self.steps(signers=("ben",))
            return self.targets()
        path = "stable/web_1.0.0.json"
        self.assertIs(channel("pause", self.repo, "stable", "1.0.0", words=(
            "stable: release 1.0.0: paused: true",))[path]["custom"]["paused"], True)
        self.assertNotIn("paused", channel("resume", self.repo, "stable", "1.0.0", words=(
            "stable: release 1.0.0: paused: nothing (was true)",))[path]["custom"])
        self.change()
        self.release("1.1.0", "--keys", self.keys, channel="beta")
        got = channel("promote", self.repo, "1.1.0", "--from", "beta", "--to", "stable", "--rollout", "2d", words=(
            "stable: release 1.1.0 added, manifest sha256", "rollout", "172800"))
        self.assertEqual(set(got), {path, "stable/web_1.1.0.json"})
        self.assertEqual(set(channel("remove-release", self.repo, "stable", "1.0.0", words=(
            "stable: release 1.0.0 withdrawn",))), {"stable/web_1.1.0.json"})
        publish("verify", self.repo)

    def test_keys_of_channel(self):
        """A channel's keys and threshold change through targets; its file is signed by the new ones."""
        self.begin()
        self.key("dan")
        p = publish("channel", "propose", self.repo, "stable", self.fresh("c.json"), "--keys", self.keys, "--add-key",
                    self.dir / "dan/dan.pub", "--remove-key", "ada", "--remove-key", "cy", "--threshold", "1")
        for w in ("stable: key dan added", "stable: key ada removed", "threshold 1 of 2 (was 2 of 3)",
                  "targets 2: 0 of 1", "stable 2: 0 of 1"):
            self.assertIn(w, p.stdout)
        self.refused(publish("channel", "sign", self.dir / "c.json", "--key", self.pem("ada"), "--yes", ok=False),
                     "nothing was signed")
        self.sign(self.pem("dan"), kind="channel", file="c.json")
        self.unchanged(lambda: self.submit("c.json", kind="channel", ok=False), "targets")
        self.sign(self.offline / "targets.pem", kind="channel", file="c.json")
        self.submit("c.json", kind="channel")
        docs = judge(self.repo)
        (spec,) = [r for r in docs["targets"]["signed"]["delegations"]["roles"] if r["name"] == "stable"]
        self.assertEqual((set(spec["keyids"]), spec["threshold"]), ({self.id("ben"), self.id("dan")}, 1))
        # a new channel whose key is elsewhere
        publish("channel", "add", self.repo, "lts", "--add-key", self.dir / "ben/ben.pub", "--keys", self.keys,
                "--propose", self.fresh("c.json"))
        self.sign(self.pem("ben"), self.offline / "targets.pem", kind="channel", file="c.json")
        self.submit("c.json", kind="channel")
        self.assertIn("lts", judge(self.repo))
        # nothing but a later date
        publish("channel", "propose", self.repo, "lts", self.fresh("c.json"), "--keys", self.keys)
        self.sign(self.pem("ben"), kind="channel", file="c.json")
        self.submit("c.json", kind="channel")
        self.assertEqual(judge(self.repo)["lts"]["signed"]["version"], 2)

    def test_refusals(self):
        """Proposals that do not fit the repository any more, or never did."""
        self.begin()
        self.release("1.0.0", "--keys", self.keys, "--propose", self.fresh("a.json"))
        publish("channel", "propose", self.repo, "stable", self.fresh("b.json"), "--keys", self.keys)
        for f in ("a.json", "b.json"):
            self.sign(self.pem("ada"), self.pem("ben"), kind="channel", file=f)
        self.unchanged(lambda: self.submit("a.json", "b.json", kind="channel", ok=False), "another proposal")
        for folder in ("targets/stable", "blobs/sha256"):
            (lost,) = [p for p in sorted((self.repo / folder).iterdir())][:1]
            lost.rename(self.dir / "lost")
            self.unchanged(lambda: self.submit("a.json", kind="channel", ok=False), lost.name)
            (self.dir / "lost").rename(lost)
        self.submit("b.json", kind="channel")
        self.unchanged(lambda: self.submit("a.json", kind="channel", ok=False), "moved on")
        other = self.dir / "other"
        time.sleep(1.1)  # another date of expiry
        publish("init", other, "--image", "web", "--keys", self.dir / "k2", "--channel", "stable")
        publish("channel", "propose", other, "stable", self.fresh("o.json"), "--keys", self.dir / "k2")
        self.unchanged(lambda: self.submit("o.json", kind="channel", ok=False), "moved on")
        self.refused(publish("channel", "sign", self.dir / "o.json", "--keys", self.dir / "k2", "--yes", "--root",
                             self.keys / "root.json", ok=False), "another repository")


class Trust(Repo):
    def test_pin(self):
        """The root in the key directory decides, not the newest file found."""
        self.init()
        self.change_root()
        self.change_root()
        self.assertEqual(json.loads((self.keys / "root.json").read_text())["signed"]["version"], 3)
        meta = self.repo / "metadata"

        def refresh(*more):
            return publish("refresh", self.repo, "--keys", self.keys, *more, ok=False)
        for lost, word in (("3.root.json", "rolled back"), ("2.root.json", None)):
            (meta / lost).rename(self.dir / lost)
            if word:
                self.unchanged(refresh, word)
            (self.dir / lost).rename(meta / lost)
        # from root 1 on there must be no gap
        (meta / "2.root.json").rename(self.dir / "2.root.json")
        self.unchanged(lambda: refresh("--root", meta / "1.root.json"), "2.root.json is missing")
        (self.dir / "2.root.json").rename(meta / "2.root.json")
        self.assertEqual(refresh("--root", meta / "1.root.json").returncode, 0)
        # somebody who can write the repository, but has no root key, adds a root of his own
        doc = json.loads((meta / "3.root.json").read_text())
        doc["signed"]["version"] = 4
        thief = tuf_repo.Key()
        doc["signed"]["keys"][thief.id] = thief.obj
        for role in doc["signed"]["roles"].values():
            role.update(keyids=[thief.id], threshold=1)
        doc["signatures"] = [{"keyid": thief.id, "sig": thief.sign(canon_of(doc))}]
        (meta / "4.root.json").write_text(json.dumps(doc))
        self.unchanged(refresh, "4.root.json", "by the keys of root 3")
        self.refused(publish("status", self.repo, ok=False), "4.root.json")
        (meta / "4.root.json").unlink()
        # a whole repository put in its place
        other = self.dir / "other"
        publish("init", other, "--image", "web", "--keys", self.dir / "k2", "--channel", "stable")
        self.refused(publish("refresh", other, "--keys", self.keys, ok=False), "ends with root 1")
        self.refused(publish("status", other, "--root", meta / "1.root.json", ok=False), "timestamp.json")
        self.refused(publish("verify", other, "--root", meta / "1.root.json", ok=False), "timestamp")
        self.refused(publish("export", other, self.dir / "e", "--channel", "stable", "--root",
                             meta / "1.root.json", ok=False), "timestamp.json")
        publish("verify", other)
        (self.keys / "root.json").rename(self.dir / "root.json")
        self.unchanged(refresh, "no root is pinned")
        (self.keys / "root.json").write_text("{}")
        self.unchanged(refresh, "root.json")
        # a pin of long ago is moved on
        shutil.copy(meta / "1.root.json", self.keys / "root.json")
        publish("refresh", self.repo, "--keys", self.keys)
        self.assertEqual(json.loads((self.keys / "root.json").read_text())["signed"]["version"], 3)

    def rotate_online(self, *more):
        edits = []
        for role in ("snapshot", "timestamp"):
            publish("key", "create", role + ".2", "--keys", self.keys, "--no-passphrase")
            edits += ["--add-key", "%s=%s" % (role, self.keys / (role + ".2.pub")), "--revoke", role]
        self.propose_root(*edits, *more)
        self.sign(*self.roots())
        return self.submit(more=more)

    def test_fast_forward(self):
        """A thief with both online keys pushes versions up so far that nothing can follow. New keys,
        and both publisher and client are back."""
        self.init()
        self.release("1.0.0", "--keys", self.keys)
        self.client()
        pems = {r: (self.keys / (r + ".pem")).read_bytes() for r in ("snapshot", "timestamp")}

        def up(signed):
            signed["version"] = FAR

        def snapshot(signed):
            up(signed)
            signed["meta"]["stable.json"]["version"] += 5
        entry = self.rewrite("snapshot", pems["snapshot"], snapshot)

        def timestamp(signed):
            up(signed)
            signed["meta"]["snapshot.json"] = entry
        self.rewrite("timestamp", pems["timestamp"], timestamp)
        self.client()  # the client cannot know yet
        self.assertEqual((self.version("timestamp"), self.version("snapshot")), (FAR, FAR))
        self.unchanged(lambda: publish("refresh", self.repo, "--keys", self.keys, ok=False), "stable.json")
        self.refused(self.propose_root("--revoke", "snapshot", ok=False), "--rebuild")
        self.rotate_online("--rebuild")
        docs = judge(self.repo)
        self.assertEqual(docs["root"]["signed"]["version"], 2)
        self.assertLess(docs["snapshot"]["signed"]["version"], 100)
        self.assertLess(docs["timestamp"]["signed"]["version"], 100)
        self.assertIn("stable/web_1.0.0.json", docs["stable"]["signed"]["targets"])
        self.client()
        self.assertEqual(self.version("snapshot"), docs["snapshot"]["signed"]["version"])
        publish("refresh", self.repo, "--keys", self.keys)  # the old key files lie there and do no harm
        self.client()
        publish("verify", self.repo)

    def test_pushed_up(self):
        """With everything else in order, a number nobody reaches is refused rather than followed."""
        self.init()
        pem = (self.keys / "timestamp.pem").read_bytes()
        self.rewrite("timestamp", pem, lambda s: s.update(version=FAR))
        self.unchanged(lambda: publish("refresh", self.repo, "--keys", self.keys, ok=False), "pushed it up",
                       "--rebuild")
        self.rotate_online("--rebuild")
        judge(self.repo)

    def test_rotate(self):
        """New online keys without a theft: versions go on, the client follows."""
        self.init()
        publish("refresh", self.repo, "--keys", self.keys)
        self.client()
        was = self.version("timestamp")
        self.rotate_online()
        self.client()
        self.assertGreater(self.version("timestamp"), was)
        judge(self.repo)

    def test_killed(self):
        """A submit that stopped between the new root and its timestamp is repeated and completes."""
        self.init()
        self.release("1.0.0", "--keys", self.keys)
        old = (self.repo / "metadata/timestamp.json").read_bytes()
        pin = (self.keys / "root.json").read_bytes()
        self.rotate_online()
        for p in (self.repo / "metadata").glob("*.snapshot.json"):
            doc = json.loads(p.read_text())
            if doc["signed"]["version"] == judge(self.repo)["snapshot"]["signed"]["version"]:
                p.unlink()
                break
        (self.repo / "metadata/timestamp.json").write_bytes(old)
        (self.keys / "root.json").write_bytes(pin)
        self.unchanged(lambda: publish("refresh", self.repo, "--keys", self.keys, ok=False), "timestamp.json")
        self.submit()
        self.assertIn("stable/web_1.0.0.json", self.targets())
        publish("verify", self.repo)
        self.client()

    def test_kill_anywhere(self):
        """kill -9 at seeded instants of a root submit: repeated, it always completes."""
        rnd = random.Random(SEED)
        self.init()
        for i in range(6):
            self.propose_root()
            self.sign(*self.roots())
            p = subprocess.Popen([BIN / "proa-publish", "root", "submit", self.repo, self.dir / "p.json", "--keys",
                                  self.keys], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rnd.uniform(0, 0.15))
            p.kill()
            p.wait()
            self.submit()
            self.assertEqual(judge(self.repo)["root"]["signed"]["version"], i + 2)

    def test_status(self):
        """What is signed until when and by whom; the exit status for cron."""
        self.init()
        p = publish("status", self.repo)
        for w in ("root           1  expires", "2 of 3 must sign; signed by root (", "root.3 ("):
            self.assertIn(w, p.stdout)
        for days, status, word in (("+3d", 0, "expires"), ("+5d", 4, "sign it SOON"), ("+8d", 1, "EXPIRED")):
            p = publish("status", self.repo, prefix=faketime(days), ok=False)
            self.assertEqual((p.returncode, p.stderr), (status, ""))
            self.assertIn(word, p.stdout)
        p = publish("status", self.repo, "--warn", "400", "--json", ok=False)
        self.assertEqual(p.returncode, 4)
        got = {r["role"]: r for r in json.loads(p.stdout)["roles"]}
        self.assertEqual({r["state"] for r in got.values()}, {"soon"})
        self.assertEqual(list(got), ["root", "targets", "snapshot", "timestamp", "stable"])
        docs = judge(self.repo)
        for role, r in got.items():
            ids = {s["keyid"] for s in docs[role]["signatures"]}
            self.assertEqual((r["version"], r["expires"], {k["id"] for k in r["keys"] if k["signed"]}),
                             (docs[role]["signed"]["version"], docs[role]["signed"]["expires"], ids))
        self.assertEqual([k["name"] for k in got["root"]["keys"]], ["root", "root.2", "root.3"])
        self.assertIn((got["root"]["days_left"], got["timestamp"]["days_left"]), ((364, 6), (365, 7)))
        self.assertEqual(publish("status", self.repo, "--warn", "1").returncode, 0)
        p = publish("status", self.repo, "--json", prefix=faketime("+20d"), ok=False)
        self.assertEqual(p.returncode, 1)
        self.assertEqual([r["state"] for r in json.loads(p.stdout)["roles"]],
                         ["well", "well", "expired", "expired", "well"])


class Completion(unittest.TestCase):
    FILE = pathlib.Path(__file__).resolve().parents[2] / "publisher/proa-publish.bash"

    def complete(self, *words):
        script = ". %s; COMP_WORDS=(proa-publish %s); COMP_CWORD=%d; _proa_publish; printf '%%s\\n' " \
            "\"${COMPREPLY[@]}\"" % (self.FILE, " ".join("'%s'" % w for w in words), len(words))
        return set(run("bash", "-c", script, prefix=("env", "PATH=%s:/usr/bin:/bin" % BIN)).stdout.split())

    def test_words(self):
        """Verbs are those of --help, and every option offered is one that --help knows."""
        text = publish("--help").stdout
        verbs = self.complete("")
        self.assertEqual(verbs - {"--help", "--version"},
                         {v for line in re.findall(r"proa-publish ([a-z|]+) ", text) for v in line.split("|")})
        for verb in verbs - {"--help", "--version"}:
            for sub in self.complete(verb, "") if verb in ("key", "root", "channel") else {"repo"}:
                options = self.complete(verb, sub, "--")
                self.assertTrue(options, (verb, sub))
                for o in options:
                    self.assertRegex(text, re.escape(o) + r"\b", (verb, sub))
        self.assertEqual(self.complete("channel", "pro"), {"promote", "propose"})
        self.assertEqual(self.complete("key", "create", "x", "--type", "e"), {"ed25519", "ecdsa"})


class Export(Repo):
    def setUp(self):
        super().setUp()
        self.out = self.dir / "stick"

    def begin(self):
        self.init("--channel", "beta")
        for v in ("1.0.0", "1.1.0", "1.2.0"):
            self.release(v, "--keys", self.keys, "--from", "none" if v == "1.0.0" else "1.0.0",
                         *(() if v != "1.2.0" else ("--from", "1.1.0")))
            self.change()
        self.release("2.0.0", "--keys", self.keys, "--from", "none", channel="beta")

    def export(self, *more, **kw):
        return publish("export", self.repo, self.out, "--channel", "stable", "--root", self.keys / "root.json",
                       *more, **kw)

    def subset(self):
        """Every file is one of the origin, byte for byte; returns their names."""
        got, origin = snapshot_of(self.out), snapshot_of(self.repo)
        marker = json.loads(got.pop("proa-export.json"))
        self.assertEqual({n for n, d in got.items() if origin.get(n) != d}, set())
        return set(got), marker

    def manifests(self, names):
        return {re.search(r"web_([\d.]+)\.json", n)[1]: json.loads((self.out / n).read_text()) for n in names
                if n.startswith("targets/")}

    def client_of(self, *targets):
        """tuf-client over HTTP with nothing but the export, from root 1 on."""
        md = pathlib.Path(shutil.os.path.join(self.dir, "md%d" % time.monotonic_ns()))
        md.mkdir()
        run(BIN / "tuf-client", "--metadata-dir", md, "init", self.repo / "metadata/1.root.json")
        server = subprocess.Popen(["/usr/bin/python3", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1",
                                   "--directory", self.out], text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)
        url = "http://127.0.0.1:%s/" % server.stdout.readline().split("port ")[1].split()[0]
        args = [a for t in targets for a in ("--target-name", t)]
        try:
            return run(BIN / "tuf-client", "--metadata-url", url + "metadata", "--metadata-dir", md, *args,
                       "--target-dir", md, "--target-base-url", url + "targets", "download" if targets else
                       "refresh", ok=False)
        finally:
            server.kill()
            server.wait()
            server.stdout.close()

    def test_whole_channel(self):
        self.begin()
        self.change_root()
        self.assertIn("3 releases of stable", self.export().stdout)
        names, marker = self.subset()
        self.assertEqual((marker["complete"], marker["channels"], marker["left_out"]), (True, ["stable"], []))
        found = self.manifests(names)
        self.assertEqual(set(found), {"1.0.0", "1.1.0", "1.2.0"})
        self.assertEqual({n for n in names if n.startswith("blobs/")},
                         {"blobs/sha256/" + b["sha256"] for m in found.values() for b in m["blobs"]})
        self.assertFalse([n for n in names if "beta" in n])
        self.assertLessEqual({"metadata/1.root.json", "metadata/2.root.json"}, names)
        self.assertIn("3 releases", publish("verify", self.out, "--root", self.keys / "root.json").stdout)
        p = self.client_of("stable/web_1.0.0.json", "stable/web_1.2.0.json")
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertEqual(self.client_of("beta/web_2.0.0.json").returncode, 1)
        # again: nothing to copy; after a change only what is new, and nothing too much
        before = snapshot_of(self.out)
        self.assertIn(": 0 files copied", self.export().stdout)
        self.assertEqual(snapshot_of(self.out), before)
        publish("channel", "remove-release", self.repo, "stable", "1.0.0", "--keys", self.keys)
        self.assertIn("2 releases", self.export().stdout)
        names, _ = self.subset()
        self.assertEqual(set(self.manifests(names)), {"1.1.0", "1.2.0"})
        publish("verify", self.out)
        publish("export", self.repo, self.out, "--channel", "stable", "--channel", "beta")
        self.assertIn("3 releases", publish("verify", self.out).stdout)

    def test_since(self):
        """Only what hosts at 1.1.0 or later need: later releases, and no deltas from before."""
        self.begin()
        self.assertIn("1 release of stable after 1.1.0", self.export("--since", "1.1.0").stdout)
        names, marker = self.subset()
        found = self.manifests(names)
        self.assertEqual((set(found), marker["since"]), ({"1.2.0"}, "1.1.0"))
        old = json.loads(next(self.repo.glob("targets/stable/*.web_1.0.0.json")).read_text())
        bases = {old["usr"]["root_hash"], old["uki"]["sha256"]}
        deltas = {b["sha256"]: b["base"] for b in found["1.2.0"]["blobs"] if "base" in b}
        gone = {s for s, base in deltas.items() if base in bases}
        self.assertTrue(deltas.keys() - gone, "the origin has a delta from 1.1.0")
        self.assertEqual(set(marker["left_out"]), gone)
        self.assertEqual({n.rpartition("/")[2] for n in names if n.startswith("blobs/")},
                         {b["sha256"] for b in found["1.2.0"]["blobs"]} - gone)
        self.assertIn("1 release", publish("verify", self.out).stdout)
        self.assertEqual(self.client_of("stable/web_1.2.0.json").returncode, 0)
        self.export("--since", "1.2.0")
        self.assertEqual(self.manifests(self.subset()[0]), {})
        publish("verify", self.out)

    def test_host(self):
        """A host takes its next release, and a new root, from the export by file://."""
        self.init()
        self.release("1.1.0", "--keys", self.keys)
        test_agent.work = self.dir
        host = test_agent.Host(pub=types.SimpleNamespace(repo=self.repo))
        host.ctl("update")
        run(BIN / "proa-bootctl", "--esp", host.esp, "bless", "web_1.1.0")
        host.ctl("status")
        self.change()
        self.release("1.2.0", "--keys", self.keys, "--from", "1.1.0")
        self.change_root()
        self.export("--since", "1.1.0")
        self.repo.rename(self.dir / "unplugged")
        root = self.dir / "unplugged/metadata/1.root.json"
        host.set(Source_URL="file://%s/" % self.out, Source_Root=root)
        host.ctl("update")
        self.assertEqual(host.slot("B")[0], "1.2.0")
        trusted = json.loads((host.state / "trust/root.json").read_text())
        self.assertEqual(trusted["signed"]["version"], 2)
        # nothing newer on the stick: nothing to do, and nothing lost
        self.assertEqual(host.ctl("check", want=None).returncode, test_agent.NOTHING)

    def test_broken_off(self):
        """Killed at seeded instants an export says so, and is completed by the next."""
        self.begin()
        (self.dir / "usr/lib/much").write_bytes(random.Random(SEED).randbytes(8 << 20))
        self.release("1.3.0", "--keys", self.keys, "--from", "none")
        rnd, partial = random.Random(SEED), 0
        start = time.monotonic()
        self.export()
        whole = time.monotonic() - start
        for i in range(40):
            if i >= 8 and partial:
                break
            shutil.rmtree(self.out)
            p = subprocess.Popen([BIN / "proa-publish", "export", self.repo, self.out, "--channel", "stable"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rnd.uniform(0, whole))
            p.kill()
            p.wait()
            if (self.out / "proa-export.json").exists() and not json.loads(
                    (self.out / "proa-export.json").read_text())["complete"]:
                partial += 1
                self.refused(publish("verify", self.out, ok=False), "not complete")
                if not (self.out / "metadata/timestamp.json").exists():
                    self.assertEqual(self.client_of().returncode, 1)
            self.export()
            self.subset()
        self.assertGreater(partial, 0)
        publish("verify", self.out)
        # killed before its first word was whole
        shutil.rmtree(self.out)
        self.out.mkdir()
        (self.out / ".proa-export.json.new").write_text("{")
        self.export()
        self.subset()

    def test_refusals(self):
        self.begin()
        self.out.mkdir()
        (self.out / "precious").write_text("x")
        for args, words in (((), ("neither empty nor an export",)), (("--channel", "nightly"), ("no channel",)),
                            (("--since", "a~b"), ("--since",))):
            self.refused(self.export(*args, ok=False), *words)
            self.assertEqual(list(snapshot_of(self.out)), ["precious"])
        (self.out / "precious").unlink()
        self.refused(publish("export", self.repo, self.repo, "--channel", "stable", ok=False), "neither empty")
        # a blob of the origin that rotted is not passed on
        whole = snapshot_of(self.repo)
        (manifest,) = self.repo.glob("targets/*/*web_1.2.0.json")  # the largest of all may be beta's
        blob = max(json.loads(manifest.read_text())["blobs"], key=lambda b: b["bytes"])
        blob = self.repo / "blobs/sha256" / blob["sha256"]
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)
        self.refused(self.export(ok=False), blob.name)
        self.refused(publish("verify", self.out, ok=False), "not complete")
        blob.write_bytes(whole["blobs/sha256/" + blob.name])
        self.export()
        # a file that rotted on the stick is found and copied again
        bad = self.out / "blobs/sha256" / blob.name
        bad.write_bytes(data)
        self.refused(publish("verify", self.out, ok=False), blob.name)
        self.assertIn(": 1 file", self.export().stdout)
        publish("verify", self.out)


if __name__ == "__main__":
    print("seed %d" % SEED)
    unittest.main()
