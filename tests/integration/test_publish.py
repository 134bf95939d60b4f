#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""proa-publish on a real tree, kernel-like file and stub: judged by veritysetup, zstd, objcopy,
sbverify, python3-cryptography and the test client of updater/tuf.

Environment: PROA_BIN (directory of the programs), PROA_SEED.
"""
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest
from unittest import mock

import tuf_repo
from cryptography.hazmat.primitives.asymmetric import ed25519

BIN = pathlib.Path(os.environ.get("PROA_BIN", "build/bin")).resolve()
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
STUB = pathlib.Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
UNAME = "6.1.0-99-cloud-amd64"


def run(*args, ok=True, prefix=()):
    p = subprocess.run([*map(str, prefix), *map(str, args)], capture_output=True, text=True,
                       check=False)
    if ok and p.returncode != 0:
        raise AssertionError("%s: %d\n%s%s" % (args, p.returncode, p.stdout, p.stderr))
    return p


def publish(*args, **kw):
    return run(BIN / "proa-publish", *args, **kw)


def faketime(offset):
    """A prefix that moves the clock; its library comes before that of ASan."""
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0:detect_leaks=0"
    return ["env", "ASAN_OPTIONS=" + asan, "faketime", "-f", offset]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def snapshot_of(folder):
    """Every file of a folder with its content, to see whether anything changed."""
    return {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name != ".lock"}


def make_inputs(folder, rnd):
    """A small /usr with compressible and random files, and a kernel that looks like a bzImage."""
    usr = folder / "usr"
    (usr / "lib").mkdir(parents=True)
    (usr / "bin").mkdir()
    for name in ("bash", "ls", "cat"):
        shutil.copy("/usr/bin/" + name, usr / "bin" / name)
    (usr / "bin/sh").symlink_to("bash")
    (usr / "lib/noise").write_bytes(rnd.randbytes(300001))
    (usr / "lib/os-release").write_text(
        'NAME="Demo"\nID=demo\nPRETTY_NAME="Demo OS"\nIMAGE_ID=other\nIMAGE_VERSION=0\n')
    kernel = bytearray(rnd.randbytes(200000))
    kernel[:2], kernel[0x202:0x206] = b"MZ", b"HdrS"
    kernel[0x20e:0x210] = (0x3000).to_bytes(2, "little")
    text = (UNAME + " (builder@host) #1 SMP\0").encode()
    kernel[0x3200:0x3200 + len(text)] = text
    (folder / "vmlinuz").write_bytes(kernel)
    (folder / "initrd").write_bytes(rnd.randbytes(123457))


def section(uki, name, folder):
    out = folder / "section"
    run("objcopy", "--dump-section", "%s=%s" % (name, out), uki, folder / "copy")
    return out.read_bytes()


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="proa-publish."))
        self.addCleanup(shutil.rmtree, self.dir, True)
        make_inputs(self.dir, random.Random(SEED))
        self.repo, self.keys = self.dir / "repo", self.dir / "keys"

    def init(self, *channels):
        args = [a for c in channels or ("stable",) for a in ("--channel", c)]
        return publish("init", self.repo, "--image", "demo", "--keys", self.keys, *args)

    def release(self, version, *more, channel="stable", usr=None, built=True, **kw):
        parts = ["--kernel", self.dir / "vmlinuz", "--initrd", self.dir / "initrd"]
        return publish("release", self.repo, "--keys", self.keys, "--version", version,
                       "--channel", channel, "--level", 1, "--usr", usr or self.dir / "usr",
                       *(parts if built else []), *more, **kw)

    def change(self):
        with open(self.dir / "usr/lib/noise", "r+b") as f:
            f.seek(4096 * 5)
            f.write(os.urandom(100))

    def manifest(self, version, channel="stable"):
        (path,) = self.repo.glob("targets/%s/*.demo_%s.json" % (channel, version))
        self.assertEqual(path.name.split(".")[0], sha256(path))
        return json.loads(path.read_text())

    def blob(self, manifest, role):
        (b,) = [b for b in manifest["blobs"] if b["role"] == role]
        path = self.repo / "blobs/sha256" / b["sha256"]
        self.assertEqual((sha256(path), path.stat().st_size), (b["sha256"], b["bytes"]))
        return path

    def restore(self, version, role, channel="stable"):
        """The restored full image or UKI, by zstd."""
        out = self.dir / ("restored." + role)
        run("zstd", "-q", "-d", "-f", self.blob(self.manifest(version, channel), role), "-o", out)
        return out

    def role(self, name):
        return json.loads(max(self.repo.glob("metadata/*.%s.json" % name),
                              key=lambda p: int(p.name.split(".")[0])).read_text())

    def verify(self):
        return publish("verify", self.repo).stdout

    def refused(self, p, *words, code=1):
        """One sentence on stderr, saying these words, and the status."""
        self.assertEqual(p.returncode, code, p.stdout + p.stderr)
        self.assertTrue(p.stderr.startswith("proa-publish: "), p.stderr)
        if code == 1:
            self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        for w in words:
            self.assertIn(w, p.stderr)


class Release(Case):
    def test_judges(self):
        """Every part of a release against a program that is not ours."""
        out = self.init().stdout
        self.assertIn("1.root.json", out)
        self.assertIn("offline", out)
        self.assertIn("published   stable: 1.0.0", self.release("1.0.0").stdout)
        m = self.manifest("1.0.0")
        image = self.restore("1.0.0", "usr-full")
        self.assertEqual(image.stat().st_size, m["usr"]["data_blocks"] * 4096)
        tree = self.dir / "tree"
        got = run("veritysetup", "format", "--salt", m["usr"]["salt"], image, tree).stdout
        self.assertEqual(re.search(r"Root hash:\s+(\w+)", got)[1], m["usr"]["root_hash"])
        self.assertEqual(tree.stat().st_size, m["usr"]["hash_bytes"])
        run("veritysetup", "verify", image, tree, m["usr"]["root_hash"])
        run("fsck.erofs", image)

        uki = self.restore("1.0.0", "uki-full")
        self.assertEqual((sha256(uki), uki.stat().st_size),
                         (m["uki"]["sha256"], m["uki"]["bytes"]))
        osrel = section(uki, ".osrel", self.dir).rstrip(b"\0").decode()
        self.assertIn('PRETTY_NAME="Demo OS"\n', osrel)
        self.assertEqual(re.findall(r"^IMAGE_\w+=.*", osrel, re.M),
                         ["IMAGE_ID=demo", "IMAGE_VERSION=1.0.0"])
        words = section(uki, ".cmdline", self.dir).rstrip(b"\0").decode().split(" ")
        self.assertEqual(words[-1], "usrhash=" + m["usr"]["root_hash"])
        self.assertIn("systemd.verity_usr_options=panic-on-corruption", words)
        self.assertEqual(section(uki, ".uname", self.dir).rstrip(b"\0").decode(), UNAME)
        for name, file in ((".linux", "vmlinuz"), (".initrd", "initrd")):
            want = (self.dir / file).read_bytes()
            self.assertEqual(section(uki, name, self.dir)[:len(want)], want)
        self.assertEqual(section(uki, ".sbat", self.dir), section(STUB, ".sbat", self.dir))
        self.assertIn("1.0.0", self.verify())

    def test_sbom(self):
        """Published as it is; what is no SBOM is refused before anything is."""
        self.init()
        f = self.dir / "sbom.json"
        f.write_text("{}")
        self.refused(self.release("1.0.0", "--sbom", f, ok=False), "neither SPDX nor CycloneDX")
        f.write_text('{"spdxVersion": "SPDX-2.3", "packages": []}')
        self.release("1.0.0", "--sbom", f)
        self.assertEqual(self.blob(self.manifest("1.0.0"), "sbom").read_bytes(), f.read_bytes())
        self.verify()

    def test_sections_apart(self):
        """A kernel that reaches beyond where the initrd would lie moves it up."""
        self.init()
        with open(self.dir / "vmlinuz", "r+b") as f:
            f.truncate(0x1800000)
        self.release("1")
        uki = self.restore("1", "uki-full")
        rows = re.findall(r"^\s+\d+ (\.\w+)\s+(\w+)\s+(\w+)", run("objdump", "-h", uki).stdout,
                          re.M)
        spans = sorted((int(at, 16), int(at, 16) + int(n, 16), name) for name, n, at in rows)
        for a, b in zip(spans, spans[1:]):
            self.assertLessEqual(a[1], b[0], (a, b))
        self.assertEqual([s[2] for s in spans[-5:]],
                         [".osrel", ".cmdline", ".uname", ".linux", ".initrd"])

    def test_same_bytes(self):
        """The same input gives the same release, at another time and in another place."""
        self.init("stable", "beta")
        self.release("1.0.0")
        moved = self.dir / "elsewhere"
        run("cp", "-r", self.dir / "usr", moved)
        time.sleep(1.1)  # a second that a time stamp would show
        self.release("1.0.0", channel="beta", usr=moved)
        self.assertEqual(self.manifest("1.0.0"), self.manifest("1.0.0", "beta"))
        self.assertEqual(len(list(self.repo.glob("blobs/sha256/*"))), 3)

    def test_build_time(self):
        """SOURCE_DATE_EPOCH is the time of all files, and stands in the superblock alone."""
        self.init("stable", "beta")
        self.release("1.0.0")
        with mock.patch.dict(os.environ, SOURCE_DATE_EPOCH="1790000000"):
            self.release("1.0.1", channel="beta")
        old = self.restore("1.0.0", "usr-full").read_bytes()
        new = self.restore("1.0.1", "usr-full", "beta").read_bytes()
        self.assertEqual(struct.unpack_from("<Q", old, 1024 + 24)[0], 946684800)
        self.assertEqual(struct.unpack_from("<Q", new, 1024 + 24)[0], 1790000000)
        self.assertEqual(old[4096:], new[4096:])
        for bad in ("", "-1", "1e9", "tomorrow", "99999999999"):
            with mock.patch.dict(os.environ, SOURCE_DATE_EPOCH=bad):
                self.refused(self.release("1.0.2", ok=False), "SOURCE_DATE_EPOCH")

    def test_finished_parts(self):
        """An image and a UKI that were built elsewhere."""
        self.init("stable", "beta")
        self.release("1.0.0", channel="beta")
        image = self.restore("1.0.0", "usr-full", "beta")
        uki = self.restore("1.0.0", "uki-full", "beta")
        self.release("1.0.0", "--uki", uki, usr=image, built=False)
        self.assertEqual(self.manifest("1.0.0"), self.manifest("1.0.0", "beta"))

        before = snapshot_of(self.repo)
        self.refused(self.release("1.0.1", "--uki", uki, usr=image, built=False, ok=False),
                     "IMAGE_VERSION=1.0.0", "1.0.1")
        self.change()
        self.refused(self.release("1.0.0", "--uki", uki, built=False, ok=False), "usrhash=",
                     self.manifest("1.0.0")["usr"]["root_hash"])
        with open(image, "ab") as f:
            f.write(b"x")
        self.refused(self.release("1.0.2", usr=image, ok=False), "multiple of 4096")
        self.refused(self.release("1.0.2", "--uki", image, built=False, ok=False), str(image))
        self.assertEqual(snapshot_of(self.repo), before)

    def test_advice(self):
        """An image whose updates would be large is published, with a warning."""
        self.init()
        image = self.dir / "lz4.erofs"
        run("mkfs.erofs", "-zlz4", image, self.dir / "usr")
        p = self.release("1", "--os-release", self.dir / "usr/lib/os-release", usr=image)
        self.assertIn("warning", p.stderr)
        self.assertIn("compress", p.stderr)

    def test_cmdline(self):
        self.init()
        text = self.dir / "cmdline"
        text.write_text("quiet\nroot=LABEL=x\n")
        self.release("1", "--cmdline", "@%s" % text)
        got = section(self.restore("1", "uki-full"), ".cmdline", self.dir).rstrip(b"\0").decode()
        self.assertEqual(got, "quiet root=LABEL=x usrhash=" +
                         self.manifest("1")["usr"]["root_hash"])
        self.refused(self.release("2", "--cmdline", "a usrhash=00", ok=False), "usrhash=")

    def test_secure_boot(self):
        self.init()
        key, cert = self.dir / "sb.key", self.dir / "sb.crt"
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
            cert, "-subj", "/CN=test", "-days", "10")
        self.release("1", "--sign-key", key, "--sign-cert", cert)
        run("sbverify", "--cert", cert, self.restore("1", "uki-full"))
        self.verify()

    def test_bad_input(self):
        self.init()
        self.release("1.0.0")
        self.change()
        before = snapshot_of(self.repo)
        bad = self.dir / "bad"
        bad.write_bytes(b"MZ no kernel at all")
        root = self.dir
        cases = [
            (("1.0.0",), {}, "already with another /usr"),
            (("0.9",), {}, "older than 1.0.0"),
            (("1.1_0",), {}, "cannot be a version"),
            (("1.1.0",), {"channel": "nightly"}, "there are: stable"),
            (("1.1.0", "--stub", bad), {}, str(bad)),
            (("1.1.0", "--stub", root / "none"), {}, "none"),
            (("1.1.0", "--os-release", root / "none"), {}, "none"),
            (("1.1.0", "--cmdline", "@" + str(root / "none")), {}, "none"),
            (("1.1.0", "--salt", "xyz1"), {}, "--salt"),
            (("1.1.0", "--salt", "abc"), {}, "--salt"),
            (("1.1.0", "--minimum-from", "a~b"), {}, "--minimum-from"),
            (("1.1.0", "--arch", "arm64", "--stub", STUB), {}, "x86-64"),
            (("1.1.0", "--sign-key", bad), {}, "--sign-cert"),
            (("1.1.0",), {"usr": root / "none"}, "none"),
            (("1.1.0",), {"usr": root}, "give its usr folder"),
            (("1.1.0",), {"usr": "/dev/null"}, "/dev/null"),
        ]
        for args, kw, word in cases:
            with self.subTest(args=args, **kw):
                self.refused(self.release(*args, ok=False, **kw), word)
                self.assertEqual(snapshot_of(self.repo), before)
        kernel = (root / "vmlinuz").read_bytes()
        for data in (b"\x1f\x8b" + kernel, b"text\n", b"MZ"):
            (root / "vmlinuz").write_bytes(data)
            self.refused(self.release("1.1.0", ok=False), "no kernel that EFI can start")
            self.assertEqual(snapshot_of(self.repo), before)
        (root / "vmlinuz").write_bytes(kernel)
        self.release("0.9", "--allow-older")

    def test_usage(self):
        self.init()
        for args in ((), ("bogus",), ("release", self.repo), ("init", self.repo),
                     ("channel", "pause", self.repo, "stable"), ("status",), ("--bogus",),
                     ("refresh", self.repo), ("gc", self.repo, "--keep", "x")):
            with self.subTest(args=args):
                self.assertEqual(publish(*args, ok=False).returncode, 2)
        self.release("1.0.0")
        before = snapshot_of(self.repo)
        for args, option in ((("refresh", self.repo, "--keys", self.keys), "--dry-run"),
                             (("channel", "remove-release", self.repo, "stable", "1.0.0", "--keys", self.keys),
                              "--dry-run"), (("verify", self.repo), "--json"),
                             (("verify", self.repo, "--sbom"), "x"),
                             (("refresh", self.repo, "--keys", self.keys, "--propose"), "p")):
            p = publish(*args, option, ok=False)
            self.assertEqual(p.returncode, 2)
            self.assertIn("is not for " + args[0], p.stderr)
        p = publish("release", self.repo, "--keys", self.keys, "--channel", "stable", "--version", "2", "--usr",
                    self.dir / "usr", "--kernel", self.dir / "vmlinuz", ok=False)
        self.assertEqual(p.returncode, 2)
        self.assertIn("--initrd is missing", p.stderr)
        self.assertEqual(snapshot_of(self.repo), before)
        self.assertIn("no verb 'bogus'", publish("bogus", ok=False).stderr)
        self.assertIn("Example:", publish("--help").stdout)
        self.assertRegex(publish("--version").stdout, r"^proa-publish \d+\.\d+\.\d+\n$")


class Metadata(Case):
    def test_signatures(self):
        """Every role's signature and key id, by other code."""
        self.init("stable", "beta")
        self.release("1.0.0")
        root, targets = self.role("root")["signed"], self.role("targets")["signed"]
        self.assertIs(root["consistent_snapshot"], True)
        delegated = {r["name"]: r for r in targets["delegations"]["roles"]}
        self.assertEqual({n: (r["paths"], r["terminating"]) for n, r in delegated.items()},
                         {"stable": (["stable/*"], True), "beta": (["beta/*"], True)})
        for name in ("root", "targets", "snapshot", "timestamp", "stable", "beta"):
            keys = root["keys"] if name in root["roles"] else targets["delegations"]["keys"]
            role = root["roles"].get(name) or delegated[name]
            doc = (json.loads((self.repo / "metadata/timestamp.json").read_text())
                   if name == "timestamp" else self.role(name))
            self.assertEqual(role["keyids"], [sig["keyid"] for sig in doc["signatures"]])
            self.assertEqual((role["threshold"], len(role["keyids"])),
                             (2, 3) if name == "root" else (1, 1))
            for sig in doc["signatures"]:
                key = keys[sig["keyid"]]
                self.assertEqual(hashlib.sha256(tuf_repo.canon_bytes(key)).hexdigest(),
                                 sig["keyid"])
                public = ed25519.Ed25519PublicKey.from_public_bytes(
                    bytes.fromhex(key["keyval"]["public"]))
                public.verify(bytes.fromhex(sig["sig"]), tuf_repo.canon_bytes(doc["signed"]))
        self.assertEqual(len(set(root["keys"]) | set(targets["delegations"]["keys"])), 8)
        listed = json.loads((self.repo / "metadata/timestamp.json").read_text())
        listed = listed["signed"]["meta"]["snapshot.json"]
        path = self.repo / ("metadata/%d.snapshot.json" % listed["version"])
        self.assertEqual((sha256(path), path.stat().st_size),
                         (listed["hashes"]["sha256"], listed["length"]))
        for key in self.keys.rglob("*.pem"):
            self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        for folder in (self.keys, self.keys / "offline"):
            self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
        self.assertEqual({p.stem for p in self.keys.glob("offline/*.pem")},
                         {"root", "root.2", "root.3", "targets"})

    def test_client(self):
        """What tuf-client sees over HTTP, from one release to the next."""
        self.init()
        md, got = self.dir / "md", self.dir / "got"
        md.mkdir()
        got.mkdir()
        run(BIN / "tuf-client", "--metadata-dir", md, "init", self.repo / "metadata/1.root.json")
        server = subprocess.Popen(["/usr/bin/python3", "-u", "-m", "http.server", "0", "--bind",
                                   "127.0.0.1", "--directory", self.repo], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        url = "http://127.0.0.1:%s/" % re.search(r"port (\d+)", server.stdout.readline())[1]
        for version in ("1.0.0", "1.1.0"):
            self.release(version)
            self.change()
            path = "stable/demo_%s.json" % version
            run(BIN / "tuf-client", "--metadata-url", url + "metadata", "--metadata-dir", md,
                "--target-name", path, "--target-dir", got, "--target-base-url", url + "targets",
                "download")
            self.assertEqual(json.loads((got / path.replace("/", "%2F")).read_text()),
                             self.manifest(version))

    def test_policy(self):
        self.init("stable", "beta")
        self.release("1.0.0", "--rollout", "2d", "--critical", "--minimum-from", "0.5",
                     "--dead-end", "move to demo2", "--notes-url", "https://example.org/n",
                     channel="beta")
        custom = self.role("beta")["signed"]["targets"]["beta/demo_1.0.0.json"]["custom"]
        self.assertEqual((custom["version"], custom["severity"], custom["minimum_from"],
                          custom["dead_end"], custom["rollout"]["seconds"]),
                         ("1.0.0", "critical", "0.5", "move to demo2", 2 * 86400))
        self.assertEqual(self.manifest("1.0.0", "beta")["notes_url"], "https://example.org/n")
        self.assertNotIn("sbom", [b["role"] for b in self.manifest("1.0.0", "beta")["blobs"]])

        def channel(*args, **kw):
            return publish("channel", *args, "--keys", self.keys, **kw)
        channel("promote", self.repo, "1.0.0", "--from", "beta", "--to", "stable")
        self.assertEqual(self.manifest("1.0.0"), self.manifest("1.0.0", "beta"))
        custom = self.role("stable")["signed"]["targets"]["stable/demo_1.0.0.json"]["custom"]
        self.assertNotIn("rollout", custom)
        channel("pause", self.repo, "stable", "1.0.0")
        target = self.role("stable")["signed"]["targets"]["stable/demo_1.0.0.json"]
        self.assertIs(target["custom"]["paused"], True)
        self.assertIn("PAUSED", publish("status", self.repo).stdout)
        channel("resume", self.repo, "stable", "1.0.0")
        target = self.role("stable")["signed"]["targets"]["stable/demo_1.0.0.json"]
        self.assertNotIn("paused", target["custom"])
        channel("set", self.repo, "stable", "1.0.0", "--rollout", "2d", "--rollout-start", "+6h", "--curve",
                "slow-start", "--floor", "0.9", "--dead-end", "none", "--normal")
        custom = self.role("stable")["signed"]["targets"]["stable/demo_1.0.0.json"]["custom"]
        self.assertEqual((custom["rollout"]["seconds"], custom["rollout"]["curve"], custom["floor"],
                          custom["minimum_from"]), (2 * 86400, "slow-start", "0.9", "0.5"))
        self.assertNotIn("dead_end", custom)
        self.assertNotIn("severity", custom)
        self.assertRegex(publish("status", self.repo).stdout,
                         r"rollout from .* until .*, slow start, from 0\.5 on, floor 0\.9\n")
        self.verify()
        before = snapshot_of(self.repo)
        for args, word, code in (((), "what to set", 2), (("--curve", "steep"), "slow-start", 1),
                                 (("--floor", "9"), "newer than 1.0.0", 1),
                                 (("--minimum-from", "1.0.0"), "not older", 1)):
            self.refused(channel("set", self.repo, "stable", "1.0.0", *args, ok=False), word, code=code)
        self.refused(channel("pause", self.repo, "stable", "1.0.0", "--floor", "0.9", ok=False),
                     "--floor is not for channel pause", code=2)
        self.assertEqual(snapshot_of(self.repo), before)
        channel("remove-release", self.repo, "beta", "1.0.0")
        self.assertEqual(self.role("beta")["signed"]["targets"], {})
        self.verify()

        before = snapshot_of(self.repo)
        for args, word in ((("promote", self.repo, "1.0.0", "--from", "beta", "--to", "stable"),
                            "does not have version 1.0.0"),
                           (("promote", self.repo, "1.0.0", "--from", "stable", "--to", "stable"),
                            "same channel"),
                           (("pause", self.repo, "stable", "7"), "does not have version 7"),
                           (("add", self.repo, "stable"), "already"),
                           (("add", self.repo, "root"), "cannot be a channel"),
                           (("add", self.repo, "../x"), "cannot be a channel")):
            self.refused(channel(*args, ok=False), word)
        self.assertEqual(snapshot_of(self.repo), before)
        self.refused(channel("add", self.repo, "lts", ok=False), "role targets")
        self.assertFalse((self.keys / "lts.pem").exists())
        channel("add", self.repo, "lts", "--keys", self.keys / "offline")
        out = json.loads(publish("status", self.repo, "--json").stdout)
        self.assertEqual([c["channel"] for c in out["channels"]], ["stable", "beta", "lts"])
        self.assertEqual(out["channels"][0]["releases"][0]["version"], "1.0.0")

    def test_keys(self):
        """Missing and foreign keys are found before anything is built or written."""
        self.init()
        self.release("1.0.0")
        before = snapshot_of(self.repo)
        (self.keys / "stable.pem").rename(self.dir / "stable.pem")
        self.refused(self.release("1.1.0", ok=False), "stable.pem")
        run("openssl", "genpkey", "-algorithm", "ed25519", "-out", self.keys / "stable.pem")
        self.refused(self.release("1.1.0", ok=False), "no key of role stable")
        (self.keys / "stable.pem").write_text("nonsense\n")
        self.refused(self.release("1.1.0", ok=False), "stable.pem")
        self.assertEqual(snapshot_of(self.repo), before)
        # refresh needs but two keys
        shutil.rmtree(self.keys / "offline")
        (self.keys / "stable.pem").unlink()
        publish("refresh", self.repo, "--keys", self.keys)
        self.verify()
        self.refused(publish("init", self.dir / "two", "--image", "demo", "--keys", self.keys,
                             ok=False), "never overwritten")
        self.assertFalse((self.dir / "two").exists())
        self.refused(publish("init", self.repo, "--image", "demo", "--keys", self.dir / "k2",
                             ok=False), "not empty")

    def test_time(self):
        """Expiry, and refresh as the way out of it."""
        self.init()
        self.release("1.0.0")
        later = faketime("+10d")
        self.refused(publish("verify", self.repo, ok=False, prefix=later), "timestamp", "expired")
        p = publish("status", self.repo, prefix=later, ok=False)
        self.assertIn("EXPIRED", p.stdout)
        self.assertEqual((p.returncode, p.stderr), (1, ""))
        p = publish("export", self.repo, self.dir / "stick", "--channel", "stable", prefix=later)
        self.assertIn("timestamp has expired", p.stderr)
        publish("refresh", self.repo, "--keys", self.keys, prefix=later)
        p = publish("export", self.repo, self.dir / "stick", "--channel", "stable", prefix=later)
        self.assertEqual(p.stderr, "")
        publish("verify", self.repo, prefix=later)
        p = publish("refresh", self.repo, "--keys", self.keys, prefix=faketime("-30d"))
        self.assertIn("clock of this machine is wrong", p.stderr)
        self.assertEqual(publish("refresh", self.repo, "--keys", self.keys).stderr, "")
        much = faketime("+85d")
        stable = self.role("stable")["signed"]["version"]
        p = publish("refresh", self.repo, "--keys", self.keys, prefix=much)
        self.assertEqual(self.role("stable")["signed"]["version"], stable + 1)
        publish("verify", self.repo, prefix=much)
        last = faketime("+300d")
        p = publish("refresh", self.repo, "--keys", self.keys, prefix=last)
        self.assertIn("role targets expires", p.stderr)
        self.assertIn("role root expires", p.stderr)
        publish("refresh", self.repo, "--keys", self.keys, "--keys", self.keys / "offline",
                prefix=last)
        self.assertEqual(self.role("targets")["signed"]["version"], 2)
        publish("verify", self.repo, prefix=last)

    def test_tampered(self):
        """verify finds every file that is not what was signed."""
        self.init()
        self.release("1.0.0")
        self.verify()
        files = [p for p in sorted(self.repo.rglob("*.json")) + sorted(
            self.repo.glob("blobs/sha256/*")) if p.name not in ("proa-publish.json",)]
        old = {"1.stable.json", "1.snapshot.json"}  # what init made; no client asks for them
        rnd = random.Random(SEED)
        for path in files:
            if path.name in old:
                continue
            whole = path.read_bytes()
            cut = bytearray(whole)
            cut[rnd.randrange(len(cut))] ^= 1 << rnd.randrange(7)
            for bad in (bytes(cut), whole[:-1], None):
                with self.subTest(file=path.name, bad=bad if bad is None else len(bad)):
                    path.write_bytes(bad) if bad is not None else path.unlink()
                    self.refused(publish("verify", self.repo, ok=False))
                path.write_bytes(whole)
        self.verify()

    def test_stranger(self):
        """Metadata that somebody else put there is never signed along."""
        self.init()
        self.release("1.0.0")
        path = max(self.repo.glob("metadata/*.stable.json"))
        doc = json.loads(path.read_text())
        doc["signed"]["targets"]["stable/demo_1.0.0.json"]["custom"]["severity"] = "critical"
        path.write_text(json.dumps(doc))
        before = snapshot_of(self.repo)
        self.refused(publish("refresh", self.repo, "--keys", self.keys, ok=False), "stable.json")
        self.assertEqual(snapshot_of(self.repo), before)

    def test_gc(self):
        self.init("stable", "beta")
        for version in ("1.0.0", "1.1.0", "1.2.0"):
            self.release(version)
            self.change()
        publish("channel", "promote", self.repo, "1.0.0", "--from", "stable", "--to", "beta",
                "--keys", self.keys)
        for version in ("1.0.0", "1.1.0"):
            publish("channel", "remove-release", self.repo, "stable", version, "--keys", self.keys)
        before = snapshot_of(self.repo)
        plan = publish("gc", self.repo, "--keep", 0, "--dry-run").stdout
        self.assertEqual(snapshot_of(self.repo), before)
        publish("gc", self.repo, "--keep", 1)
        self.assertEqual(len(list(self.repo.glob("targets/stable/*"))), 2)  # 1.1.0 was one before
        publish("gc", self.repo, "--keep", 0)
        gone = set(before) - set(snapshot_of(self.repo))
        self.assertEqual(gone, set(re.findall(r"would remove (\S+)", plan)))
        self.assertEqual({p.name.split(".", 1)[1] for p in self.repo.glob("targets/*/*")},
                         {"demo_1.0.0.json", "demo_1.2.0.json"})
        self.assertTrue((self.repo / "metadata/1.root.json").exists())
        named = {b["sha256"] for v, c in (("1.0.0", "beta"), ("1.2.0", "stable"))
                 for b in self.manifest(v, c)["blobs"]}
        self.assertEqual({p.name for p in self.repo.glob("blobs/sha256/*")}, named)
        self.assertIn("2 releases", self.verify())
        self.release("1.3.0")  # a number that was gc'ed is not used again
        self.verify()


class Crash(Case):
    def start(self, version):
        return subprocess.Popen(
            [str(a) for a in (BIN / "proa-publish", "release", self.repo, "--keys", self.keys,
                              "--version", version, "--channel", "stable", "--level", 1, "--usr",
                              self.dir / "usr", "--kernel", self.dir / "vmlinuz", "--initrd",
                              self.dir / "initrd")],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def test_killed(self):
        """kill -9 at seeded instants: the repository stays valid, the next run succeeds."""
        rnd = random.Random(SEED)
        self.init()
        start = time.monotonic()
        self.release("1.0.0")
        whole = time.monotonic() - start
        published = 1
        for i in range(12):
            self.change()
            p = self.start("1.1.%d" % i)
            time.sleep(rnd.uniform(0, whole * 1.05))
            p.kill()
            p.communicate()
            out = self.verify()
            seen = int(re.search(r"(\d+) release", out)[1])
            self.assertIn(seen, (published, published + 1))
            published = seen
        self.change()
        self.release("2.0.0")
        self.assertIn("%d releases" % (published + 1), self.verify())
        self.assertEqual(list((self.repo / ".tmp").iterdir()), [])

    def test_writes(self):
        """strace-free power cut: a release undone file by file from its end stays valid."""
        self.init()
        self.release("1.0.0")
        before = snapshot_of(self.repo)
        timestamp = (self.repo / "metadata/timestamp.json").read_bytes()
        self.change()
        self.release("1.1.0")
        new = sorted(set(snapshot_of(self.repo)) - set(before))
        # all that is new is new names; the one file replaced is the timestamp
        changed = [n for n, h in snapshot_of(self.repo).items() if before.get(n, h) != h]
        self.assertEqual(changed, ["metadata/timestamp.json"])
        (self.repo / "metadata/timestamp.json").write_bytes(timestamp)
        self.assertIn("1 release ", self.verify())
        for name in new:
            (self.repo / name).unlink()
            self.assertIn("1 release ", self.verify())

    def test_two_at_once(self):
        self.init()
        self.release("1.0.0")
        lock = subprocess.Popen(["flock", self.repo / ".lock", "sh", "-c", "echo ok; read x"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lock.stdout.close)
        self.assertEqual(lock.stdout.readline(), "ok\n")
        before = snapshot_of(self.repo)
        self.refused(self.release("1.1.0", ok=False), "another proa-publish is at work")
        self.verify()
        self.assertEqual(snapshot_of(self.repo), before)
        lock.communicate("\n")
        self.release("1.1.0")

    def test_signal(self):
        """A signal ends a long release tidily."""
        self.init()
        (self.dir / "usr/lib/much").write_bytes(random.Random(SEED).randbytes(96 << 20))
        before = snapshot_of(self.repo)
        p = self.start("1.0.0")
        while not (self.repo / ".tmp/blob").exists() and p.poll() is None:
            time.sleep(0.01)
        p.send_signal(signal.SIGINT)
        err = p.communicate()[1]
        self.assertEqual(p.returncode, 1, err)
        self.assertIn("stopped by a signal", err)
        self.assertEqual(snapshot_of(self.repo), before)


if __name__ == "__main__":
    print("seed %d" % SEED)
    unittest.main()
