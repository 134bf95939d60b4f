#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Deltas of real erofs pairs by image-cli, judged by cmp and veritysetup, beside zstd and xdelta3.

Environment: PROA_BIN (directory of the programs), PROA_SEED, PROA_RUNS.
"""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import unittest

BIN = pathlib.Path(os.environ.get("PROA_BIN", "build/bin"))
CLI = str(BIN / "image-cli")
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
RUNS = int(os.environ.get("PROA_RUNS", "4"))
SALT = "5a" * 32
SOURCES = [p for p in ("/usr/lib/python3/dist-packages", "/usr/lib/python3.11/json", "/usr/lib/python3.11/email",
                       "/usr/lib/python3.11/asyncio", "/usr/lib/git-core") if os.path.isdir(p)]


def run(*args, ok=True):
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False)
    if ok and p.returncode:
        raise AssertionError(f"{args}: {p.returncode}: {p.stderr}")
    return p


class Delta(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"PROA_SEED={SEED}", flush=True)

    def setUp(self):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        tmp = tempfile.TemporaryDirectory(dir=base)
        self.addCleanup(tmp.cleanup)
        self.dir = pathlib.Path(tmp.name)
        self.rnd = random.Random(SEED)

    def tree_new(self):
        """Some real files of this machine, at most 12 MiB of them."""
        tree, left = self.dir / "tree", 12 << 20
        tree.mkdir()
        names = [f for s in SOURCES for f in pathlib.Path(s).rglob("*") if f.is_file() and not f.is_symlink()]
        names += [f for f in sorted(pathlib.Path("/usr/bin").iterdir()) if f.is_file() and not f.is_symlink()]
        self.rnd.shuffle(names)
        for i, f in enumerate(names):
            n = f.stat().st_size
            if n < 2 << 20 and n < left:
                (tree / str(i % 7)).mkdir(exist_ok=True)
                shutil.copyfile(f, tree / str(i % 7) / f"{i}-{f.name}")
                left -= n

    def tree_change(self):
        """A release's worth: patched, grown, renamed, removed, new files."""
        rnd = self.rnd
        names = sorted(p for p in (self.dir / "tree").rglob("*") if p.is_file())
        for f in rnd.sample(names, max(1, len(names) // 20)):
            data = bytearray(f.read_bytes() or b"x")
            kind = rnd.randrange(5)
            at = rnd.randrange(len(data))
            if kind == 0:
                for _ in range(50):
                    data[rnd.randrange(len(data))] = rnd.randrange(256)
            elif kind == 1:
                data[at:at] = rnd.randbytes(rnd.randrange(1, 5000))
            elif kind == 2:
                del data[at:at + rnd.randrange(1, 5000)]
            elif kind == 3:
                f.unlink()
                f = f.with_name("renamed-" + f.name)
            f.write_bytes(data)
        (self.dir / "tree" / "0" / f"new{rnd.random()}").write_bytes(b"something new " * rnd.randrange(1, 9000))

    def image(self, name):
        run("mkfs.erofs", "-Enoinline_data", "-T0", "--all-root", "-U", "00000000-0000-0000-0000-00000000000a",
            self.dir / name, self.dir / "tree")
        n = (self.dir / name).stat().st_size
        os.truncate(self.dir / name, -(-n // 4096) * 4096)
        out = self.dir / f"{name}.d"
        out.mkdir()
        run(CLI, "encode", self.dir / name, out, "--salt", SALT)
        return (self.dir / name).stat().st_size

    def slot(self, name, like=None):
        for part, n in (("data", 16 << 20), ("hash", 1 << 20)):
            f = self.dir / f"{name}.{part}"
            if like:
                shutil.copyfile(self.dir / f"{like}.{part}", f)
            else:
                f.unlink(missing_ok=True)
                f.touch()
                os.truncate(f, n)
        return self.dir / f"{name}.data", self.dir / f"{name}.hash"

    def check(self, slot, name):
        n = (self.dir / name).stat().st_size
        run("cmp", "-n", n, slot[0], self.dir / name)
        root = (self.dir / f"{name}.d" / "id").read_text().split()[0]
        run("veritysetup", "verify", slot[0], slot[1], root)

    def write(self, name, slot, *args, ok=True):
        p = run(CLI, "write", self.dir / f"{name}.d", *slot, *args, ok=ok)
        return p, json.loads(p.stdout) if p.stdout.startswith("{") else None

    def test_pairs(self):
        self.tree_new()
        self.image("r0")
        run_slot = self.slot("run")
        self.write("r0", run_slot)
        for k in range(1, RUNS + 1):
            old, new = f"r{k - 1}", f"r{k}"
            self.tree_change()
            size = self.image(new)
            delta = self.dir / "delta"
            d = json.loads(run(CLI, "diff", self.dir / old, self.dir / f"{old}.d", self.dir / new,
                               self.dir / f"{new}.d", delta, "--level", 19).stdout)
            self.assertEqual(d["in_place"] + d["moved"] + d["zero"] + d["fresh"], size)
            self.peers(old, new, d["blob"], size)
            base = ["--base-data", run_slot[0], "--base-hash", run_slot[1]]
            with_delta = base + ["--base-dir", self.dir / f"{old}.d", "--delta", delta]
            # the delta alone, into an empty slot
            to = self.slot("to")
            _, s = self.write(new, to, *with_delta, "--only")
            self.check(to, new)
            self.assertEqual(s["fetched"] + s["head"], d["blob"])
            # cut off, then resumed
            to = self.slot("to")
            cut = self.rnd.randrange(d["head"], d["blob"] + 1)
            _, a = self.write(new, to, *with_delta, "--dies-at", cut, ok=False)
            _, b = self.write(new, to, *with_delta, "--resume")
            self.check(to, new)
            self.assertLessEqual((a["fetched"] if a else 0) + b["fetched"], d["blob"] + 65536 + 262144)
            # from any base, and from the delta over a slot that holds the base
            to = self.slot("to")
            _, s = self.write(new, to, *base)
            self.check(to, new)
            self.assertEqual(s["copied"], d["in_place"] + d["moved"])
            to = self.slot("to", "run")
            _, s = self.write(new, to, *with_delta)
            self.check(to, new)
            self.assertGreaterEqual(s["spared"], d["in_place"])
            # a wrong byte in the delta, rot in the base: fetched elsewhere
            rot = self.slot("rot", "run")
            with open(rot[0], "r+b") as f:
                for _ in range(20):
                    f.seek(self.rnd.randrange(size - 1))
                    f.write(self.rnd.randbytes(1))
            to = self.slot("to")
            self.write(new, to, "--base-data", rot[0], "--base-hash", rot[1], "--base-dir",
                       self.dir / f"{old}.d", "--delta", delta, "--flip-at",
                       self.rnd.randrange(d["head"], d["blob"] + 1))
            self.check(to, new)
            run_slot = self.slot("run", "to")

    def peers(self, old, new, blob, size):
        """Sizes beside those of others, to be read; and a bound that a broken prefix would miss."""
        run("zstd", "-qf", "-19", "--long=27", f"--patch-from={self.dir / old}", self.dir / new, "-o",
            self.dir / "z")
        zstd = (self.dir / "z").stat().st_size
        text = f"image {size}, delta {blob}, zstd --patch-from {zstd}"
        if shutil.which("xdelta3"):
            run("xdelta3", "-6", "-f", "-e", "-s", self.dir / old, self.dir / new, self.dir / "x")
            text += f", xdelta3 {(self.dir / 'x').stat().st_size}"
        print(text, flush=True)
        self.assertLess(blob, 2 * zstd + 65536)

    def test_file_map(self):
        """Every file of an image is found where it lies, and its like in an older image."""
        rnd, trees, where = self.rnd, [], {}
        for k, version in enumerate(("6.1.0-50-amd64", "6.1.0-56-amd64")):
            tree = self.dir / version
            names = [f"lib/modules/{version}/kernel/d{i % 9}/m{i}.ko" for i in range(60)]
            names += [f"share/a{chr(97 + i % 26)}/name-{'x' * (i % 200)}y{chr(97 + i // 26)}" for i in range(400)]
            names += [f"lib/lib{c}.so.{k}.2" for c in "abcdef"]
            for name in names:
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                data = rnd.randbytes(rnd.choice((10, 4096, 4097, rnd.randrange(1, 60000))))
                (tree / name).write_bytes(data)
                where[data] = (k, name)
            (tree / "link").symlink_to("lib")
            (tree / "empty").touch()
            out = self.dir / f"map{k}"
            run("mkfs.erofs", "-Enoinline_data", *([] if k else ["-Eforce-inode-extended"]), out, tree)
            trees.append(out.read_bytes())
        plain = lambda name: re.sub(r"\d+", "0", name)
        seen, found = 0, 0
        for line in run(CLI, "files", self.dir / "map0", self.dir / "map1").stdout.splitlines():
            block, size, was, was_size = map(int, line.split())
            file = where.get(trees[1][block * 4096:block * 4096 + size])
            if not file:
                continue  # a directory
            seen += 1
            self.assertEqual(file[0], 1)
            old = where[trees[0][was * 4096:was * 4096 + was_size]]
            self.assertEqual(old[0], 0)
            self.assertEqual(plain(old[1]), plain(file[1]))
            found += re.sub("6.1.0-56", "6.1.0-50", file[1]) == old[1]
        self.assertEqual(seen, 466)
        self.assertGreaterEqual(found, 400)

    def test_file(self):
        """A UKI: sections move by some bytes; the kernel lies in the new /usr as well."""
        rnd = self.rnd
        for k in range(20):
            kernel, initrd = rnd.randbytes(rnd.randrange(1, 400000)), rnd.randbytes(rnd.randrange(1, 900000))
            a, b, o = self.dir / "a", self.dir / "b", self.dir / "o"
            usr = self.dir / "usr"
            a.write_bytes(b"MZ" + rnd.randbytes(500) + rnd.randbytes(len(kernel)) + bytes(333) + initrd)
            b.write_bytes(b"MZ" + rnd.randbytes(512 + k * 16) + kernel + bytes(600) + initrd)
            usr.write_bytes(rnd.randbytes(8192) + kernel + bytes(-len(kernel) % 4096))
            second = [usr] if k % 2 else []
            run(CLI, "diff-file", a, b, self.dir / "d", *second)
            run(CLI, "patch-file", a, self.dir / "d", b, o, *second)
            self.assertEqual(o.read_bytes(), b.read_bytes())
            if second:
                self.assertLess((self.dir / "d").stat().st_size, 9000)
            # another base is refused before anything is made of it
            data = bytearray(a.read_bytes())
            data[-1] ^= 1
            a.write_bytes(data)
            p = run(CLI, "patch-file", a, self.dir / "d", b, o, *second, ok=False)
            self.assertEqual(p.returncode, 1)
            self.assertIn("another base", p.stderr)


if __name__ == "__main__":
    unittest.main()
