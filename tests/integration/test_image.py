#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Blobs and slots made by image-cli, judged by zstd and veritysetup on random images.

Environment: PROA_BIN (directory of the programs), PROA_SEED, PROA_RUNS.
"""
import json
import os
import pathlib
import random
import struct
import subprocess
import tempfile
import unittest

BIN = pathlib.Path(os.environ.get("PROA_BIN", "build/bin"))
CLI = str(BIN / "image-cli")
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
RUNS = int(os.environ.get("PROA_RUNS", "200"))
BLOCK, FRAME, GROUP = 4096, 2097152, 524288
M64 = (1 << 64) - 1
P = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579,
     2870177450012600261)


def rotl(x, n):
    return ((x << n) | (x >> (64 - n))) & M64


def xxh64(data):
    """XXH64 with seed 0, from its specification: what seek table and frames end with."""
    def rnd(acc, lane):
        return rotl((acc + lane * P[1]) & M64, 31) * P[0] & M64
    n, at = len(data), 0
    if n >= 32:
        v = [(P[0] + P[1]) & M64, P[1], 0, -P[0] & M64]
        while at + 32 <= n:
            v = [rnd(a, l) for a, l in zip(v, struct.unpack_from("<4Q", data, at))]
            at += 32
        h = sum(rotl(a, r) for a, r in zip(v, (1, 7, 12, 18))) & M64
        for a in v:
            h = ((h ^ rnd(0, a)) * P[0] + P[3]) & M64
    else:
        h = P[4]
    h = (h + n) & M64
    while at + 8 <= n:
        h = (rotl(h ^ rnd(0, struct.unpack_from("<Q", data, at)[0]), 27) * P[0] + P[3]) & M64
        at += 8
    while at + 4 <= n:
        h = (rotl(h ^ struct.unpack_from("<I", data, at)[0] * P[0] & M64, 23) * P[1] + P[2]) & M64
        at += 4
    for b in data[at:]:
        h = rotl(h ^ b * P[4] & M64, 11) * P[0] & M64
    for shift, mul in ((33, P[1]), (29, P[2]), (32, 1)):
        h = (h ^ h >> shift) * mul & M64
    return h


def run(*args, ok=True):
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False)
    if ok and p.returncode:
        raise AssertionError(f"{args}: {p.returncode}: {p.stderr}")
    return p


def make_image(rnd, path, blocks):
    noise = rnd.randbytes(4 * BLOCK)
    kinds = [bytes(BLOCK), (b"%d the same words again " % blocks * 200)[:BLOCK],
             noise[:BLOCK], noise[BLOCK:2 * BLOCK]]
    with open(path, "wb") as f:
        for _ in range(blocks):
            block = bytearray(rnd.choice(kinds))
            block[rnd.randrange(BLOCK)] = rnd.randrange(256)
            f.write(block)


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"PROA_SEED={SEED}", flush=True)

    def setUp(self):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.tmp = tempfile.TemporaryDirectory(dir=base)
        self.dir = pathlib.Path(self.tmp.name)
        self.rnd = random.Random(SEED)

    def tearDown(self):
        self.tmp.cleanup()

    def encode(self, blocks, salt):
        out = self.dir / "out"
        out.mkdir(exist_ok=True)
        make_image(self.rnd, self.dir / "img", blocks)
        args = ["--level", self.rnd.choice([1, 3, 9]), "--threads", self.rnd.choice([1, 2, 3]),
                "--frames", self.rnd.getrandbits(40)]
        if salt:
            args += ["--salt", salt.hex()]
        return run(CLI, "encode", self.dir / "img", out, *args).stdout.strip(), out

    def slot(self, data, tree):
        """Two files full of old bytes, somewhat larger than the image."""
        more = [self.rnd.choice([0, 512, 4096, 70000]) for _ in "dh"]
        (self.dir / "d").write_bytes(self.rnd.randbytes(4096) * (data // 4096) + b"\xa5" * more[0])
        (self.dir / "h").write_bytes(self.rnd.randbytes(tree) + b"\x5a" * more[1])

    def check_slot(self, root, salt, out):
        """The image and the very tree that veritysetup makes; nothing behind it was touched."""
        img = (self.dir / "img").read_bytes()
        data, tree = (self.dir / "d").read_bytes(), (self.dir / "h").read_bytes()
        self.assertEqual(data[:len(img)], img)
        self.assertEqual(data[len(img):].strip(b"\xa5"), b"")
        uuid = f"{root[:8]}-{root[8:12]}-{root[12:16]}-{root[16:20]}-{root[20:32]}"
        (self.dir / "v").write_bytes(b"")
        p = run("veritysetup", "format", self.dir / "img", self.dir / "v", "--uuid", uuid,
                "--salt", salt.hex() or "-")
        self.assertIn(root, p.stdout)
        want = (self.dir / "v").read_bytes()
        want += bytes(-len(want) % BLOCK)  # with one data block the file ends with the superblock
        self.assertEqual(tree[:len(want)], want)
        self.assertEqual(tree[len(want):].strip(b"\x5a"), b"")
        run("veritysetup", "verify", self.dir / "d", self.dir / "h", root)
        run(CLI, "prove", out, self.dir / "d", self.dir / "h")

    def check_blob(self, out):
        img, full = (self.dir / "img").read_bytes(), (out / "full.zst").read_bytes()
        p = subprocess.run(["zstd", "-dc", out / "full.zst"], capture_output=True, check=True)
        self.assertEqual(p.stdout, img)
        n, flags, magic = struct.unpack("<IBI", full[-9:])
        self.assertEqual((flags, magic), (0x80, 0x8F92EAB1))
        at = len(full) - 17 - 12 * n
        self.assertEqual(struct.unpack_from("<II", full, at), (0x184D2A5E, 9 + 12 * n))
        rows = [struct.unpack_from("<III", full, at + 8 + 12 * i) for i in range(n)]
        self.assertEqual((sum(r[0] for r in rows), sum(r[1] for r in rows)), (at, len(img)))
        self.assertTrue(all(0 < r[1] <= FRAME and r[1] % BLOCK == 0 for r in rows), rows)
        i = self.rnd.randrange(n)  # one frame alone, and its checksum from another implementation
        off = sum(r[0] for r in rows[:i])
        p = subprocess.run(["zstd", "-dc"], input=full[off:off + rows[i][0]], capture_output=True,
                           check=True)
        start = sum(r[1] for r in rows[:i])
        raw = img[start:start + rows[i][1]]
        self.assertEqual(p.stdout, raw)
        self.assertEqual(rows[i][2], xxh64(raw) & 0xffffffff)
        return at, max(r[0] for r in rows)

    def write(self, out, *args, ok=True):
        p = run(CLI, "write", out, self.dir / "d", self.dir / "h", *args, ok=ok)
        return p, json.loads(p.stdout) if p.stdout else None

    def test_random_images(self):
        sizes = [1, 2, 15, 16, 17, 127, 128, 129, 256, 257]
        for k in range(RUNS):
            blocks = sizes[k] if k < len(sizes) else 1 + int(self.rnd.random() ** 3 * 5120)
            salt = self.rnd.randbytes(self.rnd.choice([0, 1, 32, 32, 256]))
            with self.subTest(k=k, blocks=blocks, salt=len(salt)):
                root, out = self.encode(blocks, salt)
                leaves = -(-blocks // 128)
                self.slot(blocks * BLOCK, BLOCK * (1 + (blocks > 1) * leaves + (leaves > 1)))
                frames, longest = self.check_blob(out)
                if k % 3:
                    _, s = self.write(out)
                    self.assertEqual((s["fetched"], s["kept"]), (frames, 0))
                    self.assertEqual(s["hashed"], 2 * blocks * BLOCK)
                else:  # cut off, then a wrong byte, then the rest
                    cut = self.rnd.randrange(frames)
                    p, a = self.write(out, "--dies-at", cut, ok=False)
                    self.assertEqual(p.returncode, 1)
                    self.assertIn("source died", p.stderr)
                    p, _ = self.write(out, "--resume", "--flip-at", self.rnd.randrange(frames),
                                      ok=False)
                    self.assertIn(p.returncode, (0, 1))
                    _, c = self.write(out, "--resume")
                    self.assertLessEqual(a["fetched"] + c["fetched"], frames + GROUP + 8192 + 2 * longest)
                self.check_slot(root, salt, out)

    def test_past_the_page_cache(self):
        """On a file system that takes direct I/O, rot below the cache's back is seen."""
        with tempfile.TemporaryDirectory(dir=os.environ.get("PROA_DISK", "/var/tmp")) as t:
            self.dir = pathlib.Path(t)
            root, out = self.encode(3000, b"\x01" * 32)
            self.slot(3000 * BLOCK, BLOCK * 26)
            self.write(out)
            self.check_slot(root, b"\x01" * 32, out)
            with open(self.dir / "d", "r+b") as f:
                f.seek(2999 * BLOCK + 17)
                b = f.read(1)[0]
                f.seek(2999 * BLOCK + 17)
                f.write(bytes([b ^ 1]))
            p = run(CLI, "prove", out, self.dir / "d", self.dir / "h", ok=False)
            self.assertEqual(p.returncode, 1)
            self.assertIn("data block 2999", p.stderr)

    def test_pack(self):
        for n in (1, 100, 65535, 65536, 65537, 1000001):
            raw = self.rnd.randbytes(n // 2) + bytes(n - n // 2)
            (self.dir / "f").write_bytes(raw)
            run(CLI, "pack", self.dir / "f", self.dir / "z")
            p = subprocess.run(["zstd", "-dc", self.dir / "z"], capture_output=True, check=True)
            self.assertEqual(p.stdout, raw)
            run(CLI, "unpack", self.dir / "z", self.dir / "u", (self.dir / "z").stat().st_size, n)
            self.assertEqual((self.dir / "u").read_bytes(), raw)
        # what the zstd program itself packs is restored as well, unless it wants a huge window
        (self.dir / "f").write_bytes(raw * 12)
        for args, code in (("-3", 0), ("-19", 0), ("--long=27", 1)):
            run("zstd", "-qf", args, self.dir / "f", "-o", self.dir / "z")
            p = run(CLI, "unpack", self.dir / "z", self.dir / "u",
                    (self.dir / "z").stat().st_size, len(raw) * 12, ok=False)
            self.assertEqual(p.returncode, code, f"{args}: {p.stderr}")

    def test_same_bytes(self):
        """The blob depends on image and level only, not on the number of threads."""
        make_image(self.rnd, self.dir / "img", 1234)
        got = set()
        for threads in (1, 2, 5):
            out = self.dir / f"t{threads}"
            out.mkdir()
            run(CLI, "encode", self.dir / "img", out, "--threads", threads)
            got.add(((out / "full.zst").read_bytes(), (out / "index").read_bytes()))
        self.assertEqual(len(got), 1)

    def test_inspect(self):
        tree = self.dir / "tree"
        (tree / "deep" / "er").mkdir(parents=True)
        for i in range(300):
            (tree / "deep" / "er" / f"file{i}").write_bytes(b"text " * (i * 7 % 2000))
        for args, want in (
                (["mkfs.erofs", "-Enoinline_data", "img", "tree"], "1 0 0"),
                (["mkfs.erofs", "img", "tree"], "1 0 1"),
                (["mkfs.erofs", "-zlz4hc", "-Enoinline_data", "img", "tree"], "1 1 0"),
                (["mksquashfs", "tree", "img", "-noappend"], "2 0 0"),
                (["mkfs.ext4", "-q", "-F", "img", "4M"], "3 0 0"),
                (["truncate", "-s", "1M", "img"], "0 0 0")):
            (self.dir / "img").unlink(missing_ok=True)
            try:
                subprocess.run(args, cwd=self.dir, check=True, capture_output=True)
            except FileNotFoundError:
                continue  # a builder that is not installed has nothing to judge
            lines = run(CLI, "inspect", self.dir / "img").stdout.splitlines()
            self.assertEqual(lines[0].split()[:3], want.split(), args)
            self.assertEqual(len(lines) > 1, want != "1 0 0", lines)


if __name__ == "__main__":
    unittest.main()
