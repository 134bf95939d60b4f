#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Deltas that proa-publish release makes: which, from what, how large; applied by image-cli and by
`verify`, compared with what zstd restores.

Environment: PROA_BIN (directory of the programs), PROA_SEED.
"""
import hashlib
import json
import random
import re
import shutil
import unittest

import format_reader as fr
import tuf_repo
from cryptography.hazmat.primitives import serialization
from test_publish import BIN, SEED, UNAME, Case, publish, run, sha256, snapshot_of

CLI = BIN / "image-cli"
SALT = "5a" * 32


class Image(Case):
    def image(self, tree, name, *more, **kw):
        return publish("image", tree, self.dir / name, "--image", "demo", *more, **kw)

    def test_image(self):
        """The same bytes that release makes, in whatever order the files came to the disk."""
        self.init()
        self.release("1.0.0", "--salt", SALT)
        usr, other = self.dir / "usr", self.dir / "other"
        for i in range(30):
            (usr / ("lib/%d" % (i * 7 % 30))).write_bytes(b"%d" % i * 3000)
        salt = json.loads((self.repo / "proa-publish.json").read_text())["salt"]
        out = self.image(usr, "a", "--salt", salt).stdout
        self.assertIn("SOURCE_DATE_EPOCH", out)
        for path in sorted(usr.rglob("*"), key=lambda p: (len(p.parts), sha256(p) if p.is_file() else "", p.name)):
            to = other / path.relative_to(usr)
            to.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                to.mkdir(exist_ok=True)
            else:
                shutil.copy(path, to, follow_symlinks=False)
        self.image(other, "b")
        self.assertEqual(sha256(self.dir / "a"), sha256(self.dir / "b"))
        self.assertIn("layout      like 1.0.0, holes", self.release("1.1.0").stdout)
        shutil.copy(self.restore("1.0.0", "usr-full"), self.dir / "old")
        self.assertIn("layout      like %s," % (self.dir / "old"),
                      self.image(usr, "c", "--like", self.dir / "old").stdout)
        self.assertEqual(sha256(self.dir / "c"), sha256(self.restore("1.1.0", "usr-full")))
        self.release("1.2.0", "--like", "none")
        self.assertEqual(sha256(self.dir / "a"), sha256(self.restore("1.2.0", "usr-full")))
        self.refused(self.release("1.3.0", "--like", "none", "--os-release", usr / "lib/os-release",
                                  usr=self.dir / "a", ok=False), "--like")
        self.assertIn("root        %s\n" % self.manifest("1.2.0")["usr"]["root_hash"], out)
        run("fsck.erofs", self.dir / "a")

    def test_warnings(self):
        usr = self.dir / "usr"
        modules = usr / "lib/modules" / UNAME / "kernel"
        modules.mkdir(parents=True)
        (modules / "a.ko").write_bytes(b"module")
        self.assertEqual(self.image(usr, "a").stderr, "")
        (modules / "a.ko.xz").write_bytes(b"module")
        self.assertIn("kernel modules of the image are compressed", self.image(usr, "a").stderr)
        self.init()
        self.assertIn("modules of the image are compressed", self.release("1.0.0").stderr)
        run("mkfs.erofs", self.dir / "inline", usr)
        err = self.release("1.1.0", "--os-release", usr / "lib/os-release", usr=self.dir / "inline").stderr
        self.assertIn("inline data", err)
        self.assertIn("modules of the image are compressed", err)
        self.assertIn("--salt is not the product's", self.release("1.2.0", "--salt", SALT).stderr)

    def test_refused(self):
        usr = self.dir / "usr"
        (self.dir / "root/usr/lib").mkdir(parents=True)
        (self.dir / "root/usr/lib/os-release").touch()
        for args, word in (((self.dir / "nowhere",), "nowhere"), ((self.dir / "root",), "a whole root"),
                           ((usr, "--salt", "5"), "--salt"), ((usr, "--salt", "zz"), "--salt")):
            self.refused(self.image(args[0], "out", *args[1:], ok=False), word)
        (usr / "lib/os-release").write_text("IMAGE_ID=../x\n")
        self.refused(publish("image", usr, self.dir / "out", ok=False), "IMAGE_ID")
        self.refused(publish("image", usr, ok=False), "image needs", code=2)
        self.assertEqual([p.name for p in self.dir.iterdir() if p.name.startswith("out")], [])
        (usr / "lib/os-release").write_text("A=1\nIMAGE_ID='demo'\n")
        publish("image", usr, self.dir / "out")


class Deltas(Case):
    def setUp(self):
        super().setUp()
        self.rnd = random.Random(SEED + 1)

    def change(self):
        """A patched program, a changed and a new file; the kernel stays."""
        rnd, usr = self.rnd, self.dir / "usr"
        for name in ("bash", "ls"):
            data = bytearray((usr / "bin" / name).read_bytes())
            at = rnd.randrange(len(data))
            data[at:at] = rnd.randbytes(rnd.randrange(1, 900))
            (usr / "bin" / name).write_bytes(data)
        (usr / ("lib/new%d" % rnd.randrange(1 << 30))).write_bytes(rnd.randbytes(5000))

    def kernel(self):
        """Another kernel, in /usr as well."""
        data = bytearray((self.dir / "vmlinuz").read_bytes())
        data[0x4000:] = self.rnd.randbytes(len(data) - 0x4000)
        (self.dir / "vmlinuz").write_bytes(data)
        folder = self.dir / "usr/lib/modules" / UNAME
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vmlinuz").write_bytes(data)

    def deltas(self, version, channel="stable"):
        """{(role, base): blob} of a release."""
        return {(b["role"], b["base"]): b for b in self.manifest(version, channel)["blobs"] if "base" in b}

    def keep(self, version):
        """Restored image and UKI under names of their own."""
        out = []
        for role in ("usr-full", "uki-full"):
            path = self.dir / ("%s.%s" % (version, role))
            self.restore(version, role).rename(path)
            out.append(path)
        return out

    def apply(self, version, base):
        """Both deltas of a release from a base, by image-cli; gives the blobs."""
        new, old = self.manifest(version), self.manifest(base)
        of = self.deltas(version)
        (usr, uki), (old_usr, old_uki) = self.keep(version), self.keep(base)
        got = []
        blob = of.get(("uki-delta", old["uki"]["sha256"]))
        if blob:
            path, out = self.repo / "blobs/sha256" / blob["sha256"], self.dir / "out"
            second = []
            if int.from_bytes(path.read_bytes()[20:24], "little") == 2:
                second = [usr, new["usr"]["root_hash"]]
            run(CLI, "patch-file", old_uki, path, uki, out, *second)
            self.assertEqual(sha256(out), new["uki"]["sha256"])
            got.append(blob)
        blob = of.get(("usr-delta", old["usr"]["root_hash"]))
        if blob:
            path, out = self.repo / "blobs/sha256" / blob["sha256"], self.dir / "out"
            run(CLI, "patch-image", old_usr, old["usr"]["root_hash"], path, usr,
                new["usr"]["root_hash"], out)
            self.assertEqual(sha256(out), sha256(usr))
            got.append(blob)
        return got

    def test_default(self):
        """From the last three releases; each delta makes the image and the UKI."""
        self.init()
        versions = ["1.%d.0" % i for i in range(5)]
        for i, version in enumerate(versions):
            out = self.release(version).stdout
            self.assertEqual(out.count("from 1."), min(i, 3), out)
            self.change()
        roots = {v: self.manifest(v)["usr"]["root_hash"] for v in versions}
        ukis = {v: self.manifest(v)["uki"]["sha256"] for v in versions}
        self.assertEqual(set(self.deltas("1.4.0")),
                         {("usr-delta", roots[v]) for v in versions[1:4]} |
                         {("uki-delta", ukis[v]) for v in versions[1:4]})
        full = {b["role"]: b["bytes"] for b in self.manifest("1.4.0")["blobs"]}
        for base in versions[1:4]:
            usr, uki = (b["bytes"] for b in reversed(self.apply("1.4.0", base)))
            self.assertLess(usr, full["usr-full"] // 3)
            self.assertLess(uki, 4096)  # the command line only
        self.assertRegex(self.verify(), r"1\.4\.0.*, 6 deltas applied\n")
        # the same input gives the same blobs
        before = snapshot_of(self.repo / "blobs")
        publish("channel", "remove-release", self.repo, "stable", "1.4.0", "--keys", self.keys)
        (self.dir / "usr").rename(self.dir / "later")
        run("fsck.erofs", "--extract=%s" % (self.dir / "usr"), self.keep("1.3.0")[0])
        self.release("1.3.0", "--allow-older")
        self.assertEqual(snapshot_of(self.repo / "blobs"), before)

    def test_kernel(self):
        """A new kernel comes with /usr and is not fetched twice; an old /usr costs nothing."""
        self.init()
        self.kernel()
        self.release("1.0.0")
        self.kernel()
        out = self.release("1.1.0").stdout
        self.assertIn("(with the new /usr)", out)
        blobs = self.apply("1.1.0", "1.0.0")
        self.assertLess(blobs[0]["bytes"], 8192)
        initrd = self.dir / "initrd"
        initrd.write_bytes(self.rnd.randbytes(4000) + initrd.read_bytes())
        out = self.release("1.2.0", "--from", "1.1.0").stdout
        self.assertIn("from 1.1.0: /usr the same; UKI", out)
        (blob,) = self.apply("1.2.0", "1.1.0")
        self.assertLess(blob["bytes"], 16384)
        self.assertIn("1 delta applied", self.verify())
        # another base has the same /usr: one delta serves both
        self.change()
        out = self.release("1.3.0", "--from", "1.1.0", "--from", "1.2.0").stdout
        self.assertEqual(sorted(r for r, _ in self.deltas("1.3.0")), ["uki-delta", "uki-delta", "uki-delta", "usr-delta"])

    def test_own(self):
        """The first release has no base, but its UKI's kernel lies in its /usr."""
        self.init()
        self.kernel()
        out = self.release("1.0.0").stdout
        self.assertIn("deltas      from its own /usr: UKI ", out)
        m = self.manifest("1.0.0")
        self.assertEqual(set(self.deltas("1.0.0")), {("uki-delta", m["usr"]["root_hash"])})
        usr, uki = self.keep("1.0.0")
        r = fr.Repository(self.repo).manifest("stable", "demo", "1.0.0")
        self.assertEqual(r.uki_own(usr.read_bytes()), uki.read_bytes())
        self.assertIn("1 delta applied", self.verify())
        self.assertNotIn("deltas", self.release("1.1.0", "--from", "none").stdout)
        self.assertEqual(self.deltas("1.1.0"), {})
        # and what lies in neither is no reason for one
        (self.dir / "usr/lib/modules" / UNAME / "vmlinuz").unlink()
        self.release("1.2.0", "--from", "1.0.0")
        self.assertNotIn(("uki-delta", self.manifest("1.2.0")["usr"]["root_hash"]), self.deltas("1.2.0"))

    def test_from(self):
        self.init("stable", "beta")
        self.release("1.0.0", channel="beta")
        self.change()
        self.release("1.1.0")
        self.change()
        before = snapshot_of(self.repo)
        for args, word in ((("--from", "7"), "no channel has that version"),
                           (("--from", "1.2.0"), "the release itself"),
                           (("--from", "none", "--from", "1.1.0"), "no channel has"),
                           (("--from", "a/b"), "no version"),
                           (("--base-dir", self.dir / "nowhere"), "nowhere")):
            self.refused(self.release("1.2.0", *args, ok=False), word)
        self.assertEqual({n: h for n, h in snapshot_of(self.repo).items() if "blobs" not in n},
                         {n: h for n, h in before.items() if "blobs" not in n})
        self.release("1.2.0", "--from", "none")
        self.assertEqual(self.deltas("1.2.0"), {})
        self.change()
        out = self.release("1.3.0", "--from", "1.0.0", "--from", "1.2.0", "--from", "1.0.0").stdout
        self.assertEqual(re.findall(r"from (\S+):", out), ["1.2.0", "1.0.0"])  # newest first
        self.assertIn("layout      like 1.2.0", out)
        self.assertEqual(len(self.deltas("1.3.0")), 4)
        # promoted with its deltas; a base that is withdrawn and collected leaves the rest in order
        publish("channel", "promote", self.repo, "1.3.0", "--from", "stable", "--to", "beta", "--keys", self.keys)
        self.assertEqual(self.deltas("1.3.0", "beta"), self.deltas("1.3.0"))
        self.assertEqual(self.verify().count("4 deltas applied"), 2)
        publish("channel", "remove-release", self.repo, "beta", "1.0.0", "--keys", self.keys)
        publish("gc", self.repo, "--keep", 0)
        self.assertEqual(self.verify().count("2 deltas applied, 2 from bases that are gone"), 2)

    def test_base_dir(self):
        """Bases are kept where one asks for it, used again, and never believed."""
        self.init()
        self.release("1.0.0")
        self.change()
        kept = self.dir / "kept"
        kept.mkdir()
        self.assertIn("bases       restored", self.release("1.1.0", "--base-dir", kept).stdout)
        m = self.manifest("1.0.0")
        names = {m["usr"]["root_hash"] + ".usr", m["uki"]["sha256"] + ".efi"}
        self.assertEqual({p.name for p in kept.iterdir()}, names)
        good = snapshot_of(kept)
        one = self.deltas("1.1.0")
        self.change()
        self.assertNotIn("bases       restored",
                         self.release("1.2.0", "--base-dir", kept, "--from", "1.0.0").stdout)
        for path in kept.iterdir():
            data = bytearray(path.read_bytes())
            data[self.rnd.randrange(len(data))] ^= 1
            path.write_bytes(data)
        self.change()
        self.assertIn("bases       restored", self.release("1.3.0", "--base-dir", kept, "--from", "1.0.0").stdout)
        self.assertEqual(snapshot_of(kept), good)
        self.assertEqual(self.deltas("1.1.0"), one)
        self.verify()
        # a base whose blob rotted is refused, and the release with it
        path = self.blob(self.manifest("1.3.0"), "usr-full")
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        self.change()
        self.refused(self.release("1.4.0", "--from", "1.3.0", ok=False), "base 1.3.0", "SHA-256")

    def test_useless(self):
        """Next to nothing in common: no delta, and that is said."""
        self.init()
        for name in ("bash", "ls", "cat"):
            (self.dir / "usr/bin" / name).unlink()
        self.release("1.0.0")
        (self.dir / "usr/lib/noise").write_bytes(self.rnd.randbytes(300001))
        (self.dir / "vmlinuz").write_bytes(b"MZ" + self.rnd.randbytes(400000))
        (self.dir / "initrd").write_bytes(self.rnd.randbytes(1123457))
        out = self.release("1.1.0", "--uname", "1").stdout
        self.assertIn("from 1.0.0: /usr left out, saves < 10 %; UKI left out, saves < 10 %", out)
        self.assertEqual(self.deltas("1.1.0"), {})
        self.verify()

    def sign(self, role, doc):
        key = serialization.load_pem_private_key((self.keys / (role + ".pem")).read_bytes(), None)
        doc["signatures"][0]["sig"] = key.sign(tuf_repo.canon_bytes(doc["signed"])).hex()
        data = json.dumps(doc).encode()
        name = "timestamp.json" if role == "timestamp" else "%d.%s.json" % (doc["signed"]["version"], role)
        (self.repo / "metadata" / name).write_bytes(data)
        return {"version": doc["signed"]["version"], "length": len(data),
                "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}

    def forge(self, version, change):
        """Signs a manifest that says something else."""
        m = self.manifest(version)
        change(m)
        data = json.dumps(m).encode()
        digest = hashlib.sha256(data).hexdigest()
        stable = self.role("stable")
        target = stable["signed"]["targets"]["stable/demo_%s.json" % version]
        target.update(length=len(data), hashes={"sha256": digest})
        (self.repo / "targets/stable" / ("%s.demo_%s.json" % (digest, version))).write_bytes(data)
        snapshot = self.role("snapshot")
        snapshot["signed"]["meta"]["stable.json"] = self.sign("stable", stable)
        timestamp = json.loads((self.repo / "metadata/timestamp.json").read_text())
        timestamp["signed"]["meta"]["snapshot.json"] = self.sign("snapshot", snapshot)
        self.sign("timestamp", timestamp)

    def test_wrong(self):
        """What is signed and wrong all the same: verify finds it by applying."""
        self.init()
        for i in range(3):
            self.release("1.%d.0" % i)
            self.change()
        before = {p: p.read_bytes() for p in self.repo.rglob("*.json")}

        def swap(role):
            def change(m):
                a, b = (x for x in m["blobs"] if x["role"] == role)
                a["base"], b["base"] = b["base"], a["base"]
            return change

        def other(m):
            """A delta that is whole, from the right base, and has one byte wrong in a frame."""
            b = next(x for x in m["blobs"] if x["role"] == "usr-delta")
            data = bytearray((self.repo / "blobs/sha256" / b["sha256"]).read_bytes())
            data[-self.rnd.randrange(20, 2000)] ^= 4
            b["sha256"] = hashlib.sha256(data).hexdigest()
            (self.repo / "blobs/sha256" / b["sha256"]).write_bytes(data)

        for change, words in ((swap("usr-delta"), ("delta of the /usr", "another base")),
                              (swap("uki-delta"), ("delta of the UKI", "another base")),
                              (other, ("delta of the /usr",))):
            self.forge("1.2.0", change)
            self.refused(publish("verify", self.repo, ok=False), "demo_1.2.0.json", *words)
            for path in self.repo.rglob("*.json"):
                path.write_bytes(before[path]) if path in before else path.unlink()
        self.verify()


if __name__ == "__main__":
    print("seed %d" % SEED)
    unittest.main()
