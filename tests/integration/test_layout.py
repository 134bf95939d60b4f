#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images that lie like earlier ones: random trees that change from release to release, read back by
fsck.erofs and by a reader made from the kernel's header, compared with the trees they came from.

Environment: PROA_BIN (directory of the programs), PROA_SEED, PROA_NO_XATTR (a file system without extended
attributes will do).
"""
import filecmp
import os
import pathlib
import random
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import unittest

from erofs_reader import BLOCK, Erofs

BIN = pathlib.Path(os.environ.get("PROA_BIN", "build/bin")).resolve()
SEED = int(os.environ.get("PROA_SEED", "0") or 0) or random.SystemRandom().randrange(1, 1 << 32)
BLOCKS_AT = 1024 + 36  # of a superblock: how many blocks there are
ENV = os.environ | {"SOURCE_DATE_EPOCH": "1700000000", "LC_ALL": "C"}


def publish(*args, path=os.environ["PATH"]):
    return subprocess.run([BIN / "proa-publish", "image", *args, "--image", "demo"], env=ENV | {"PATH": path},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


def has_xattrs():
    """Whether files have extended attributes where this test works; without them it fails unless told not to."""
    with tempfile.NamedTemporaryFile() as f:
        try:
            os.setxattr(f.name, "user.proa", b"here")
            return True
        except OSError as e:
            print(f"NOT TESTED: extended attributes: {tempfile.gettempdir()}: {e.strerror}", flush=True)
    if "PROA_NO_XATTR" not in os.environ:
        raise SystemExit("set TMPDIR to a file system that has them, or PROA_NO_XATTR=1 to do without")
    return False


class Tree:
    """A directory that changes as releases do."""

    def __init__(self, path, rnd):
        self.path, self.rnd, self.n = path, rnd, 0
        (path / "lib").mkdir(parents=True)
        (path / "lib/os-release").write_text("IMAGE_ID=demo\n")

    def size(self):
        return self.rnd.choice((0, 1, BLOCK - 1, BLOCK, BLOCK + 1, self.rnd.randrange(60000),
                                self.rnd.randrange(9000), self.rnd.randrange(9000)))

    def name(self):
        self.n += 1
        return f"{'x' * self.rnd.choice((1, 3, 9, 60))}{self.n}.{self.rnd.randrange(100)}"

    def folders(self):
        return [self.path] + [p for p in sorted(self.path.rglob("*")) if p.is_dir() and not p.is_symlink()]

    def plain(self):
        return [p for p in sorted(self.path.rglob("*")) if p.is_file() and not p.is_symlink()
                and p.name != "os-release"]

    def mark(self, path):
        """Modes, and extended attributes."""
        if not path.is_symlink():
            path.chmod(self.rnd.choice((0o644, 0o755, 0o4755, 0o600)) if path.is_file() else 0o755)
        for name, value in (("user.rare", self.rnd.randbytes(self.rnd.randrange(90))),
                            ("user.common", b"often the same")):
            if self.rnd.randrange(4) == 0 and path.is_file() and not path.is_symlink():
                if XATTRS:
                    os.setxattr(path, name, value)

    def add(self, folder):
        path, rnd = folder / self.name(), self.rnd
        kind = rnd.randrange(12)
        files = self.plain()
        if kind == 0:
            path.symlink_to("y/" * rnd.choice((1, 20, 450)))
        elif kind == 1:
            path.mkdir()
        elif kind == 2 and files:
            os.link(rnd.choice(files), path)
        elif kind == 3 and os.geteuid() == 0:
            os.mknod(path, rnd.choice((stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK)) | 0o600,
                     os.makedev(rnd.randrange(1, 255), rnd.randrange(255)))
        elif kind == 4:
            with open(path, "wb") as f:
                f.truncate(200000)  # sparse
                f.seek(100000)
                f.write(rnd.randbytes(100))
        else:
            path.write_bytes(rnd.randbytes(self.size()))
        self.mark(path)

    def change(self, n):
        for _ in range(n):
            folders, files, rnd = self.folders(), self.plain(), self.rnd
            kind = rnd.randrange(10)
            if kind < 4 or not files:
                self.add(rnd.choice(folders))
            elif kind < 6:
                rnd.choice(files).unlink()
            elif kind < 9:  # a new file in its place: hard links go on with the old one
                path = rnd.choice(files)
                data = path.read_bytes()
                path.unlink()
                at = rnd.randrange(len(data) + 1)
                path.write_bytes(data[:at] + rnd.randbytes(rnd.choice((1, 1, 5000))) + data[at:])
            elif len(folders) > 20:
                shutil.rmtree(rnd.choice(folders[2:]))


class Layout(unittest.TestCase):
    def setUp(self):
        print(f"PROA_SEED={SEED}", flush=True)
        self.rnd = random.Random(f"{SEED} {self.id()}")
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.dir = pathlib.Path(tmp.name)

    def build(self, tree, name, *more):
        p = publish(tree, self.dir / name, *more)
        self.assertEqual(p.returncode, 0, p.stderr)
        return p.stdout

    def compare(self, image, tree):
        """All that the tree holds, and nothing else."""
        fs = Erofs(image.read_bytes())
        paths = {"": tree} | {f"/{p.relative_to(tree)}": p for p in tree.rglob("*")}
        self.assertEqual(set(fs.files), set(paths))
        links = {}
        for name, path in paths.items():
            i, st = fs.files[name], path.lstat()
            self.assertEqual((i.mode, i.uid, i.gid), (st.st_mode, 0, 0), name)
            if stat.S_ISREG(st.st_mode):
                self.assertEqual(i.data, path.read_bytes(), name)
                self.assertEqual(i.links, st.st_nlink, name)
                links.setdefault(st.st_ino, set()).add(i.nid)
                self.assertEqual(i.xattr, {k: os.getxattr(path, k) for k in os.listxattr(path)}, name)
            elif stat.S_ISLNK(st.st_mode):
                self.assertEqual(i.data.decode(), os.readlink(path), name)
            elif not stat.S_ISDIR(st.st_mode):
                major, minor = os.major(st.st_rdev), os.minor(st.st_rdev)
                self.assertEqual(i.raw, minor & 0xff | major << 8 | (minor & ~0xff) << 12, name)
        self.assertTrue(all(len(x) == 1 for x in links.values()))
        self.assertEqual(len(fs.nids), fs.inodes)
        self.assertEqual(sorted(i.ino for i in fs.nids.values()), list(range(1, len(fs.nids) + 1)))
        self.assertEqual(fs.blocks * BLOCK, image.stat().st_size)
        places = sorted(fs.places)
        for a, b in zip(places, places[1:]):
            self.assertLessEqual(a[0] + a[1], b[0])
        self.judge(image, tree)
        return fs

    def judge(self, image, tree):
        """erofs-utils' own opinion, checksum included."""
        out = self.dir / "extracted"
        shutil.rmtree(out, ignore_errors=True)
        p = subprocess.run(["fsck.erofs", f"--extract={out}", image], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual((p.returncode, re.findall(r"<E>.*", p.stdout)), (0, []), p.stdout)
        for path in tree.rglob("*"):
            if path.is_file() and not path.is_symlink():
                self.assertTrue(filecmp.cmp(path, out / path.relative_to(tree), shallow=False), path)

    def stays(self, old, new):
        """How many files and inodes of those that both hold unchanged lie where they lay."""
        same = kept = nids = 0
        for path, i in new.files.items():
            was = old.files.get(path)
            if was and was.data == i.data and stat.S_ISREG(i.mode) and len(i.data) and i.links == was.links == 1:
                same += 1
                kept += was.raw == i.raw
                nids += was.nid == i.nid
        return same, kept, nids

    def test_generations(self):
        for start in (30, 400):
            tree = Tree(self.dir / f"tree{start}", self.rnd)
            for _ in range(start):
                tree.add(self.rnd.choice(tree.folders()))
            self.build(tree.path, "0")
            old = self.compare(self.dir / "0", tree.path)
            afresh = 0
            for g in range(1, 9):
                tree.change(self.rnd.choice((1, 5, 20, 60)))
                out = self.build(tree.path, str(g), "--like", self.dir / str(g - 1))
                new = self.compare(self.dir / str(g), tree.path)
                same, kept, nids = self.stays(old, new)
                if "afresh" in out:
                    afresh += 1
                else:
                    self.assertIn(f"layout      like {self.dir / str(g - 1)}", out)
                    # what made the head larger moves; xattrs that come or go make an inode larger
                    self.assertGreaterEqual(kept, same * 0.7 - 10, out)
                    self.assertGreaterEqual(nids, same * 0.9 - 3, out)
                old = new
            self.assertLess(afresh, 8)
            self.build(tree.path, "again", "--like", self.dir / "7")
            self.assertTrue(filecmp.cmp(self.dir / "8", self.dir / "again", shallow=False))
            # unchanged: the same image
            self.build(tree.path, "same", "--like", self.dir / "8")
            self.assertTrue(filecmp.cmp(self.dir / "8", self.dir / "same", shallow=False))

    def test_holes(self):
        """Room that is left over is filled again, and never more than a tenth of the image."""
        tree = Tree(self.dir / "tree", self.rnd)
        for k in range(60):
            (tree.path / f"f{k}").write_bytes(self.rnd.randbytes(100000))
        self.build(tree.path, "0")
        for k in range(0, 60, 3):
            (tree.path / f"f{k}").unlink()
        out = self.build(tree.path, "1", "--like", self.dir / "0")
        self.assertIn("layout      afresh", out)
        self.compare(self.dir / "1", tree.path)
        for k in range(0, 60, 3):  # others take the room of those that went
            (tree.path / f"g{k}").write_bytes(self.rnd.randbytes(99000))
        out = self.build(tree.path, "2", "--like", self.dir / "0")
        self.assertIn("layout      like", out)
        self.compare(self.dir / "2", tree.path)
        self.assertLess((self.dir / "2").stat().st_size, (self.dir / "0").stat().st_size * 1.1)

    def test_large(self):
        """A large file stays though it changed; small ones that changed lie together."""
        tree = Tree(self.dir / "tree", self.rnd)
        data = {k: self.rnd.randbytes(2000000 if k == 20 else 30000) for k in range(200)}
        for k in data:
            (tree.path / f"f{k:03}").write_bytes(data[k])
        self.build(tree.path, "0")
        for k in (20, 50, 100, 150):
            (tree.path / f"f{k:03}").write_bytes(self.rnd.randbytes(len(data[k])))
        self.build(tree.path, "1", "--like", self.dir / "0")
        old = Erofs((self.dir / "0").read_bytes())
        new = self.compare(self.dir / "1", tree.path)
        moved = [k for k in data if old.files[f"/f{k:03}"].raw != new.files[f"/f{k:03}"].raw]
        self.assertEqual(moved, [50, 100, 150])
        places = [new.files[f"/f{k:03}"].raw for k in moved]
        self.assertEqual(places, [places[0], places[0] + 8, places[0] + 16])
        self.assertTrue(all(i.nid == old.files[p].nid for p, i in new.files.items()))

    def test_refused(self):
        tree = Tree(self.dir / "tree", self.rnd)
        for _ in range(20):
            tree.add(self.rnd.choice(tree.folders()))
        self.build(tree.path, "good")
        for name, args in (("inline", ()), ("lz4", ("-zlz4",)), ("chunks", ("--chunksize=4096",))):
            subprocess.run(["mkfs.erofs", *args, self.dir / name, tree.path], check=True, stdout=subprocess.DEVNULL)
        (self.dir / "noise").write_bytes(self.rnd.randbytes(9000))
        cut = (self.dir / "good").read_bytes()
        (self.dir / "cut").write_bytes(cut[:len(cut) // 2])
        blocks, = struct.unpack_from("<I", cut, BLOCKS_AT)
        self.assertEqual(blocks * BLOCK, len(cut))
        for name, last in (("extra", b"x".rjust(BLOCK, b"\0")), ("spare", bytes(BLOCK))):
            more = bytearray(cut + last)
            struct.pack_into("<I", more, BLOCKS_AT, blocks + 1)
            (self.dir / name).write_bytes(more)
        (self.dir / "empty").touch()
        for name, why in (("lz4", "compressed, in chunks"), ("chunks", "compressed, in chunks"), ("noise", ""),
                          ("cut", ""), ("extra", "it holds bytes that belong to no file"), ("empty", "is no image"),
                          ("nowhere", "No such file")):
            p = publish(tree.path, self.dir / "out", "--like", self.dir / name)
            self.assertEqual((p.returncode, p.stdout), (1, ""), name)
            self.assertEqual(len(p.stderr.splitlines()), 1, p.stderr)
            self.assertIn(name, p.stderr)
            self.assertIn(why, p.stderr)
        self.assertEqual([p.name for p in self.dir.glob("out*")], [])
        for name in ("inline", "spare"):  # files have places in the one, a block of zeros is no matter in the other
            self.build(tree.path, "out", "--like", self.dir / name)
            self.compare(self.dir / "out", tree.path)
        p = subprocess.run([BIN / "proa-publish", "status", self.dir, "--like", self.dir / "good"],
                           stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(p.returncode, 2)
        self.assertIn("--like is not for status", p.stderr)

    def test_left_alone(self):
        """A mkfs.erofs that does what is not understood: its image is taken as it is, and that is said."""
        tree = Tree(self.dir / "tree", self.rnd)
        (tree.path / "words").write_text("again and " * 30000)
        self.build(tree.path, "good")
        tools = self.dir / "tools"
        tools.mkdir()
        (tools / "mkfs.erofs").write_text(f"""#!/bin/sh -e
{shutil.which("mkfs.erofs")} -zlz4 "$@"
while [ $# -gt 2 ]; do shift; done
cp "$1" {self.dir}/made
""")
        (tools / "mkfs.erofs").chmod(0o755)
        for like in ((), ("--like", self.dir / "good")):
            out = self.dir / "out"
            p = publish(tree.path, out, *like, path=f"{tools}:{os.environ['PATH']}")
            self.assertEqual(p.returncode, 0, p.stderr)
            self.assertIn("warning: the image stays as mkfs.erofs made it", p.stderr)
            self.assertIn("compressed, in chunks", p.stderr)
            self.assertNotIn("layout", p.stdout)
            self.assertTrue(filecmp.cmp(out, self.dir / "made", shallow=False))
            self.judge(out, tree.path)
            for name in ("out", "made"):
                (self.dir / name).unlink()
            self.assertEqual([p.name for p in self.dir.glob("out*")], [])


if __name__ == "__main__":
    XATTRS = has_xattrs()
    unittest.main()
