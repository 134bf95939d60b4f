#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/format.md is enough for a second implementation: format_reader.py, written from that page,
restores every image and UKI of random repositories that proa-publish makes: in full, by every
delta, and from any base, compared byte for byte with what was published. What format_writer.py makes
is read by Proa's own reader, and both readers refuse the same spoilt deltas.

Environment: PROA_BIN (directory of the programs), PROA_SEED.
"""
import hashlib
import pathlib
import random
import re
import shutil
import struct
import tempfile
import unittest

import format_reader as fr
import format_writer as fw
from publish_lab import BIN, SEED, Case, publish, run
from test_publish import make_inputs

BLOCK, FANOUT = 4096, 128
WORDS = [w.encode() for w in "unit slot boot the of hash tree leaf root mount path with from into x=1 exec".split()]


def text(rnd, n):
    out = bytearray()
    while len(out) < n:
        out += b" ".join(rnd.choices(WORDS, k=40)) + b"\n%x" % rnd.getrandbits(24)
    return bytes(out[:n])


def some(rnd, n):
    """Bytes that compress, do not, or are zero."""
    return rnd.choices((text, lambda r, k: r.randbytes(k), lambda r, k: bytes(k)), (6, 4, 1))[0](rnd, n)


def content(rnd, n):
    out = bytearray()
    while len(out) < n:
        out += some(rnd, rnd.randrange(1, 200000))
    return bytes(out[:n])


def edited(rnd, data, unit, edits):
    """Moved, zeroed, inserted, removed, patched, new: offsets in units for whole blocks."""
    data = bytearray(data)
    for _ in range(edits):
        size = len(data) // unit
        at = rnd.randrange(size) * unit
        n = min(rnd.randrange(1, max(2, min(size, 200000 // unit))) * unit, len(data) - at)
        kind = rnd.randrange(7)
        if kind == 0 and len(data) > n:
            moved = data[at:at + n]
            del data[at:at + n]
            to = rnd.randrange(len(data) // unit + 1) * unit
            data[to:to] = moved
        elif kind == 1:
            data[at:at + n] = bytes(n)
        elif kind == 2:
            data[at:at] = some(rnd, n)
        elif kind == 3 and len(data) > n:
            del data[at:at + n]
        elif kind == 4:
            for _ in range(rnd.randrange(1, 60)):
                data[rnd.randrange(len(data))] ^= rnd.randrange(1, 256)
        elif kind == 5:  # inserted inside, what is behind moves by less than a block
            few = min(rnd.randrange(1, 900), n)
            data[at:at + n] = (rnd.randbytes(few) + data[at:at + n])[:n]
        else:
            data[at:at + n] = some(rnd, n)
    return bytes(data)


def pe(rnd, sections):
    """A UKI by hand: sections at random multiples of 512, and bytes behind them, of odd length."""
    table, body, at = [], [], 512 * rnd.randrange(2, 9)
    start, address = at, 4096
    for name, data in sections:
        room = len(data) + 512 * rnd.randrange(0, 3)
        room += -room % 512
        table.append(struct.pack("<8sIIII12xI", name, len(data), address, room, at, 0x40000040))
        body.append(data.ljust(room, b"\0"))
        at += room
        address += len(data) + -len(data) % 4096
    optional = struct.pack("<HBBIIIIIQIIHHHHHHIIIIHHQQQQII", 0x20b, 2, 0, 0, at, 0, 4096, 4096, 1 << 30, 4096, 512,
                           0, 0, 0, 0, 0, 0, 0, address, start, 0, 10, 0, 0, 0, 0, 0, 0, 16) + bytes(128)
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0" + struct.pack(
        "<HHIIIHH", 0x8664, len(table), 0, 0, 0, len(optional), 0x22e) + optional + b"".join(table)
    return head.ljust(start, b"\0") + b"".join(body) + rnd.randbytes(rnd.choice((0, 1, 7, 4095)))


class World:
    """What the next release is made of."""

    def __init__(self, rnd):
        self.rnd, self.salt = rnd, None
        self.image = content(rnd, BLOCK * rnd.choice((2, 16, 127, 128, 129, *[rnd.randrange(130, 900)] * 6)))
        self.kernel, self.initrd = content(rnd, rnd.randrange(1000, 400000)), content(rnd, 77777)

    def with_kernel(self):
        """The kernel lies in the image as well."""
        data = self.kernel + bytes(-len(self.kernel) % BLOCK)
        at = self.rnd.randrange(len(self.image) // BLOCK + 1) * BLOCK
        return self.image[:at] + data + self.image[at:]

    def change(self, what):
        if what in ("usr", "both"):
            self.image = edited(self.rnd, self.image, BLOCK, self.rnd.randrange(1, 8))
        if what in ("uki", "both"):
            self.initrd = edited(self.rnd, self.initrd, 1, self.rnd.randrange(1, 4))
        if what == "kernel":
            self.kernel = content(self.rnd, self.rnd.randrange(100000, 400000))
            self.image = self.with_kernel()

    def uki(self, root, version):
        parts = [(b".osrel", b"ID=demo\nIMAGE_ID=web\nIMAGE_VERSION=%s\n" % version.encode()),
                 (b".cmdline", b"quiet usrhash=" + root.hex().encode()), (b".uname", b"6.1.0-9-cloud-amd64"),
                 (b".linux", self.kernel), (b".initrd", self.initrd)]
        return pe(random.Random(self.rnd.getrandbits(8)), parts)


class Format(Case):
    SALT = hashlib.sha256(b"of this test").digest()

    def setUp(self):
        super().setUp()
        self.seen = {}

    def count(self, what, n=1):
        self.seen[what] = self.seen.get(what, 0) + n

    def release(self, version, image, uki, salt, *more):
        (self.dir / "image").write_bytes(image)
        (self.dir / "uki").write_bytes(uki)
        return publish("release", self.repo, "--keys", self.keys, "--channel", "stable", "--version", version,
                       "--usr", self.dir / "image", "--uki", self.dir / "uki", "--salt", salt.hex(), *more)

    def read(self, version, image, uki, bases, rnd):
        """One release by all ways; the reader's Release."""
        r = fr.Repository(self.repo).manifest("stable", "web", version)
        self.assertEqual(r.image_full(), image)
        self.assertEqual(r.uki_full(), uki)
        self.count("full")
        for old, old_image, old_uki in bases:
            leaves = fr.hash_blocks(old_image, old.salt)
            got, fetched, again = r.image_any_base(old_image, leaves)
            self.assertEqual((got, again), (image, 0))
            self.assertLessEqual(fetched, r.entry("usr-full")["bytes"])
            self.count("any base")
            self.count("any base spared", fetched < r.entry("usr-full")["bytes"] / 2)
            if r.entry("usr-delta", old.root):
                self.assertEqual(r.image_delta(old.root, old_image), (image, 0))
                self.count("usr-delta")
                self.features(fr.Delta(r.read("usr-delta", old.root), BLOCK, r.root, len(image),
                                       [(old.root, old_image)]))
                self.rot(r, old, old_image, leaves, image, rnd)
            if r.entry("uki-delta", old.uki):
                self.assertEqual(r.uki_delta(old.uki, old_uki, image), uki)
                self.count("uki-delta")
                self.features(fr.Delta(r.read("uki-delta", old.uki), 1, r.uki, len(uki),
                                       [(old.uki, old_uki), (r.root, image)]))
        if r.entry("uki-delta", r.root):
            self.assertEqual(r.uki_own(image), uki)
            self.count("uki-delta from its own /usr")
        return r

    def features(self, delta):
        """What occurs in a delta, so that this test cannot become one of nothing."""
        for kind in {k for k, _, _ in delta.pieces}:
            self.count("unit %d kind %d" % (delta.unit, kind))
        for frame in delta.frames:
            for which in {w for w, _, _ in frame[3]}:
                self.count("unit %d prefix of source %d" % (delta.unit, which))
            self.count("several extents", len(frame[3]) > 1)
            self.count("unit %d told by differences" % delta.unit, frame[4] > 0)
        self.count("several frames", len(delta.frames) > 1)

    def rot(self, r, old, old_image, leaves, image, rnd):
        """A base that is not what its hashes say: the groups that took from there are fetched."""
        bad = bytearray(old_image)
        for _ in range(3):
            bad[rnd.randrange(len(bad))] ^= 1
        got, again = r.image_delta(old.root, bytes(bad))
        self.assertEqual(got, image)
        got, _, more = r.image_any_base(bytes(bad), leaves)
        self.assertEqual(got, image)
        self.count("rotten groups", again + more)

    def judge_area(self, r, image):
        """The hash area, by veritysetup."""
        root, area = fr.hash_area(image, r.salt)
        (self.dir / "data").write_bytes(image)
        uuid = root[:16].hex()
        uuid = "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]))
        out = run("veritysetup", "format", "--salt", r.salt.hex() or "-", "--uuid", uuid, self.dir / "data",
                  self.dir / "area").stdout
        self.assertEqual(re.search(r"Root hash:\s+(\w+)", out)[1], root.hex())
        made = (self.dir / "area").read_bytes()
        self.assertEqual(made + bytes(-len(made) % BLOCK), area)
        self.assertEqual(len(area), r.manifest["usr"]["hash_bytes"])
        (self.dir / "area").unlink()

    def test_random(self):
        """Repositories of a few releases, each with deltas from all before it."""
        for case in range(5):
            with self.subTest(case=case, seed=SEED):
                self.repo, self.keys = self.dir / ("repo%d" % case), self.dir / ("keys%d" % case)
                self.repository(random.Random("%d %d" % (SEED, case)), case)
        for what in ("any base spared", "rotten groups", "several frames", "several extents",
                     "unit 4096 prefix of source 0", "unit 1 prefix of source 0", "unit 4096 told by differences",
                     "uki-delta from its own /usr",
                     *["unit 4096 kind %d" % k for k in range(3)], *["unit 1 kind %d" % k for k in range(4)]):
            self.assertGreater(self.seen.get(what, 0), 0, self.seen)

    def repository(self, rnd, case):
        self.init()
        world, done = World(rnd), []
        salt = rnd.choice((self.SALT, self.SALT, rnd.randbytes(rnd.randrange(33))))
        for n in range(4):
            if n:
                what = rnd.choice(("usr", "uki", "both", "both", "nothing"))
                world.change("kernel" if n == 2 and case < 2 else what)
            if n and rnd.random() < 0.1:
                salt = rnd.randbytes(32)
            version, level = "1.%d.0" % n, rnd.choice((1, 3, 9, 19))
            uki = world.uki(fr.hash_area(world.image, salt)[0], version)
            bases = [b for _, b, _, _ in done] or ["none"]
            self.release(version, world.image, uki, salt, "--level", level,
                         *[x for b in bases for x in ("--from", b)])
            r = self.read(version, world.image, uki, [(o, i, u) for o, _, i, u in done], rnd)
            if n == 0:
                self.judge_area(r, world.image)
            done.append((r, version, world.image, uki))

    def test_edges(self):
        """Trees of no level, one and two, and no salt."""
        self.init()
        rnd, world = random.Random(SEED + 3), World(random.Random(SEED))
        for n, (blocks, salt) in enumerate(((1, self.SALT), (1, b""), (128, b""), (129, self.SALT))):
            image, version = content(rnd, blocks * BLOCK), "1.%d.0" % n
            uki = world.uki(fr.hash_area(image, salt)[0], version)
            self.release(version, image, uki, salt, "--from", "none")
            self.judge_area(self.read(version, image, uki, [], rnd), image)

    def test_frames(self):
        """From the release before, no block is fetched that is there, but single ones between others."""
        self.init()
        rnd, world = random.Random(SEED + 4), World(random.Random(SEED))
        image, old, spared = content(rnd, 3000 * BLOCK), None, 0
        for n in range(4):
            version = "1.%d.0" % n
            self.release(version, image, world.uki(fr.hash_area(image, self.SALT)[0], version), self.SALT)
            index = fr.Repository(self.repo).manifest("stable", "web", version).index()
            there = {fr.hash_blocks(bytes(BLOCK), self.SALT)[0][:8], *(old.cut if old else ())}
            missing = {b for b, cut in enumerate(index.cut) if cut not in there}
            if old:
                frames = {index.holder(b) for b in missing}
                more = {b for i in frames for b in range(index.frames[i][2], sum(index.frames[i][2:]))} - missing
                self.assertEqual([b for b in more if not {b - 1, b + 1} <= missing], [])
                spared += len(missing) < len(index.cut) - 500 and len(frames) > 2
            old, image = index, edited(rnd, image, BLOCK, rnd.randrange(3, 30))
        self.assertGreater(spared, 0)

    def test_three_levels(self):
        """A tree of three levels, and the index of it; nearly all zeros."""
        self.init()
        rnd = random.Random(SEED)
        image = bytearray(BLOCK * (FANOUT * FANOUT + rnd.randrange(1, 500)))
        image[5 * BLOCK:9 * BLOCK], image[-2 * BLOCK:] = rnd.randbytes(4 * BLOCK), rnd.randbytes(2 * BLOCK)
        world = World(rnd)
        uki = world.uki(fr.hash_area(image, self.SALT)[0], "1.0.0")
        self.release("1.0.0", image, uki, self.SALT, "--level", 1)
        r = fr.Repository(self.repo).manifest("stable", "web", "1.0.0")
        got, fetched, again = r.image_any_base(image[:6 * BLOCK], fr.hash_blocks(image[:6 * BLOCK], self.SALT))
        self.assertEqual((got == image, again, fetched < 20 * BLOCK), (True, 0, True))
        self.assertEqual(r.uki_full(), uki)
        self.judge_area(r, image)

    def test_built(self):
        """From a directory: erofs, a UKI by objcopy, the default bases and salt."""
        self.init()
        rnd, kept = random.Random(SEED + 1), []
        make_inputs(self.dir, rnd)
        for version in ("1.0.0", "1.1.0"):
            publish("release", self.repo, "--keys", self.keys, "--channel", "stable", "--version", version, "--usr",
                    self.dir / "usr", "--kernel", self.dir / "vmlinuz", "--initrd", self.dir / "initrd")
            r = fr.Repository(self.repo).manifest("stable", "web", version)
            image, uki = r.image_full(), r.uki_full()
            self.read(version, image, uki, kept, rnd)
            kept = [(r, image, uki)]
            for name in ("usr/bin/bash", "initrd"):
                old = (self.dir / name).read_bytes()
                (self.dir / name).write_bytes(edited(rnd, old, 1, 3))
        self.assertEqual((self.seen["usr-delta"], self.seen["uki-delta"]), (1, 1))


class Written(unittest.TestCase):
    """What the second writer makes, read by Proa's own reader."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="proa-format."))
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.rnd = random.Random(SEED + 2)

    def blobs(self, name, image, salt):
        """A directory as image-cli takes it; the root hash."""
        root, folder = fr.hash_area(image, salt)[0], self.dir / name
        folder.mkdir()
        blob, sizes = fw.full(self.rnd, image, self.rnd.choice((1, 3, 9)))
        (folder / "full.zst").write_bytes(blob)
        (folder / "index").write_bytes(fw.index(image, salt, sizes))
        (folder / "id").write_text("%s %d %s" % (root.hex(), len(image) // BLOCK, salt.hex()))
        return root

    def slot(self, name, size):
        for part in ("data", "hash"):
            with open(self.dir / (name + "." + part), "wb") as f:
                f.truncate(size)
        return self.dir / (name + ".data"), self.dir / (name + ".hash")

    def write(self, name, image, *more):
        to = self.slot("to", 32 << 20)
        run(BIN / "image-cli", "write", self.dir / name, *to, *more)
        self.assertEqual(to[0].read_bytes()[:len(image)], image)
        return to

    def test_images(self):
        """In full, from any base, and by a random delta alone."""
        rnd = self.rnd
        for k in range(10):
            with self.subTest(k=k, seed=SEED):
                salt = rnd.randbytes(rnd.choice((1, 32, 256)))
                old = content(rnd, BLOCK * rnd.choice((1, 128, rnd.randrange(2, 700))))
                delta = fw.Delta(rnd, BLOCK, [(fr.hash_area(old, salt)[0], old)], rnd.randrange(1, 2 << 20))
                base = self.blobs("old%d" % k, old, salt)
                root = self.blobs("new%d" % k, delta.target, salt)
                blob = delta.blob(root)
                (self.dir / "delta").write_bytes(blob)
                mine = fr.Delta(blob, BLOCK, root, len(delta.target), [(base, old)]).restore()
                self.assertEqual(mine, delta.target)
                for a, b in zip(self.slot("run", 32 << 20), self.write("old%d" % k, old)):
                    b.replace(a)
                run_slot = ["--base-data", self.dir / "run.data", "--base-hash", self.dir / "run.hash"]
                self.write("new%d" % k, delta.target, *run_slot)
                self.write("new%d" % k, delta.target, *run_slot, "--base-dir", self.dir / ("old%d" % k), "--delta",
                           self.dir / "delta", "--only")

    def test_files(self):
        """Random deltas of a UKI, from one source and from two."""
        rnd, (a, b, d, o, u) = self.rnd, [self.dir / x for x in "abdou"]
        for k in range(30):
            with self.subTest(k=k, seed=SEED):
                old, usr = content(rnd, rnd.randrange(1, 700000)), content(rnd, BLOCK * rnd.randrange(1, 200))
                root = fr.hash_area(usr, b"\1")[0]
                sources = [(hashlib.sha256(old).digest(), old), (root, usr)][:1 + k % 2]
                delta = fw.Delta(rnd, 1, sources, rnd.randrange(1, 1 << 20))
                name = hashlib.sha256(delta.target).digest()
                blob = delta.blob(name)
                self.assertEqual(fr.Delta(blob, 1, name, len(delta.target), sources).restore(), delta.target)
                for path, data in ((a, old), (b, delta.target), (d, blob), (u, usr)):
                    path.write_bytes(data)
                run(BIN / "image-cli", "patch-file", a, d, b, o, *([u, root.hex()] if k % 2 else []))
                self.assertEqual(o.read_bytes(), delta.target)

    def spoilt(self, data):
        """A byte or two changed, added or removed; or only a varint longer than it need be."""
        data = bytearray(data)
        if self.rnd.random() < 0.3:
            at = self.rnd.choice([i for i, b in enumerate(data) if b < 0x80])
            data[at:at + 1] = bytes((data[at] | 0x80, 0))
            return bytes(data)
        for _ in range(self.rnd.randrange(1, 3)):
            at = self.rnd.randrange(len(data))
            data[at:at + self.rnd.randrange(2)] = bytes(self.rnd.choice(((), (0,), (1,), (0x80,), (0xff,),
                                                                         (self.rnd.randrange(256),))))
        return bytes(data) or b"\0"

    def test_spoilt(self):
        """What one reader takes, and what it makes of it, so does the other."""
        rnd, (a, b, d, o) = self.rnd, [self.dir / x for x in "abdo"]
        seen = {}
        for k in range(120):
            if k % 20 == 0:
                old = content(rnd, rnd.randrange(100, 30000))
                sources = [(hashlib.sha256(old).digest(), old)]
                delta = fw.Delta(rnd, 1, sources, rnd.randrange(1, 90000))
                name = hashlib.sha256(delta.target).digest()
                a.write_bytes(old)
                b.write_bytes(delta.target)
            kind = k % 4
            blob = bytearray(delta.blob(name, self.spoilt if kind == 0 else None))
            if kind == 1:
                at = rnd.choice((8, 12, 16, 20, 24, 28, 64, 72, 80, 84, 88, 128, 168, rnd.randrange(256)))
                blob[at] = rnd.choice((0, 1, 2, blob[at] ^ 1, rnd.randrange(256)))
            elif kind == 2:
                blob[rnd.randrange(256, len(blob))] ^= 1 << rnd.randrange(8)
            elif kind == 3 and k % 3 == 0:
                blob = delta.blob(name, None, (64, 65))
            elif kind == 3:
                blob = blob[:rnd.randrange(len(blob))] if rnd.random() < 0.5 else blob + b"x"
            d.write_bytes(blob)
            o.unlink(missing_ok=True)
            with self.subTest(k=k, seed=SEED):
                try:
                    mine = fr.Delta(bytes(blob), 1, name, len(delta.target), sources).restore()
                except fr.Bad:
                    mine = None
                p = run(BIN / "image-cli", "patch-file", a, d, b, o, ok=False)
                self.assertEqual((p.returncode != 0), mine is None, p.stderr)
                if mine is not None:
                    self.assertEqual(o.read_bytes(), mine)
                seen[mine is None] = seen.get(mine is None, 0) + 1
        self.assertGreater(min(seen.get(True, 0), seen.get(False, 0)), 5, seen)


if __name__ == "__main__":
    unittest.main(verbosity=2)
