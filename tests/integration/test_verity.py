# SPDX-License-Identifier: Apache-2.0
"""proa-verity against veritysetup: the same bytes, the same verdicts. PROA_SEED repeats a run."""
import json, os, pathlib, random, subprocess, tempfile, unittest
from concurrent.futures import ThreadPoolExecutor

from rot import flip

PROGRAM = os.path.join(os.environ.get("PROA_BIN", "build/bin"), "proa-verity")
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
IMAGES = int(os.environ.get("PROA_IMAGES") or 1000)
UUID = "5d1be0a4-a2be-4ac0-8e6a-3d8c8a07c1b2"
SIZES = (512, 1024, 2048, 4096)
EDGES = (1, 2, 3, 127, 128, 129, 255, 256, 257)


def run(*argv):
    return subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, env={**os.environ, "LC_ALL": "C"})


def ours(*argv):
    return run(PROGRAM, *argv)


def theirs(*argv):
    return run("veritysetup", *argv)


def make_options(rng, case):
    salt_n = rng.choice((0, 1, 3, 31, 32, 64, 255, 256, rng.randrange(257)))
    o = {"data-block-size": rng.choice(SIZES), "hash-block-size": rng.choice(SIZES),
         "hash": rng.choice(("sha1", "sha256", "sha256", "sha512")),
         "format": 0 if case % 4 == 3 else 1,
         "salt": rng.randbytes(salt_n).hex() or "-", "uuid": UUID}
    return o, ["--%s=%s" % kv for kv in o.items()]


def make_data(rng, case, block, path):
    if case % 100 == 99:
        blocks = rng.choice((16383, 16384, 16385)) if block == 512 else rng.randrange(1, 1500)
    elif case % 3 == 0:
        blocks = rng.choice(EDGES)
    else:
        blocks = rng.randrange(1, 200)
    tail = rng.randrange(block) if case % 7 == 6 else 0 # less than a block: not covered
    path.write_bytes(rng.randbytes(blocks * block + tail))
    return blocks


def root_of(text):
    return next(l.split()[-1] for l in text.splitlines() if l.startswith("Root hash:"))


class Case:
    """One random image in a directory of its own."""

    def __init__(self, top, case):
        self.rng = random.Random("%d/%d" % (SEED, case))
        self.name = "seed %d case %d" % (SEED, case)
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=top))
        self.data, self.a, self.b = self.dir / "data", self.dir / "a", self.dir / "b"
        self.opts, self.argv = make_options(self.rng, case)
        self.blocks = make_data(self.rng, case, self.opts["data-block-size"], self.data)

    def fail(self, what):
        raise AssertionError("%s %s: %s" % (self.name, self.opts, what))

    def expect(self, ok, what):
        if not ok:
            self.fail(what)

    def formats(self):
        t = theirs("format", *self.argv, self.data, self.b)
        self.expect(t.returncode == 0, t.stderr)
        o = ours("format", *self.argv, self.data, self.a)
        self.expect(o.returncode == 0, o.stderr)
        self.root = root_of(t.stdout)
        self.expect(o.stdout == self.root + "\n", "root %s, not %s" % (o.stdout, self.root))
        self.expect(self.a.read_bytes() == self.b.read_bytes(), "hash areas differ")

    def verdicts(self):
        """The same verdict on what is right, and on one way of being wrong."""
        root, kind = self.root, self.rng.randrange(5)
        if kind == 1:
            at = self.rng.randrange(self.blocks * self.opts["data-block-size"])
            flip(self.data, at)
        elif kind == 2 and self.a.stat().st_size > self.opts["hash-block-size"]:
            at = self.rng.randrange(self.opts["hash-block-size"], self.a.stat().st_size)
            flip(self.a, at)
        elif kind == 3:
            root = ("0" if root[0] != "0" else "1") + root[1:]
        elif kind == 4:
            # not the letters of the hash's name: veritysetup takes "Sha256", the kernel does not
            flip(self.a, self.rng.choice([i for i in range(512) if i not in (32, 33, 34)]))
        t = theirs("verify", self.data, self.a, root)
        o = ours("verify", self.data, self.a, root)
        self.expect(o.returncode in (0, 1) and not o.stdout, "rc %d" % o.returncode)
        self.expect((t.returncode == 0) == (o.returncode == 0),
                    "kind %d: veritysetup says %d %s, we say %d %s"
                    % (kind, t.returncode, t.stderr, o.returncode, o.stderr))
        if kind in (1, 3):
            self.expect(o.returncode == 1 and o.stderr.count("\n") == 1, o.stderr)
        if kind == 1:
            bs = self.opts["data-block-size"]
            self.expect("data block %d (byte %d)" % (at // bs, at // bs * bs) in o.stderr,
                        "block %d not named: %s" % (at // bs, o.stderr))

    def root_again(self):
        o = ours("root", self.data, self.a)
        self.expect(o.returncode == 0 and o.stdout == self.root + "\n", "root: " + o.stderr)
        d = ours("dump", "--json", self.a)
        self.expect(d.returncode == 0, d.stderr)
        j = json.loads(d.stdout)
        want = {"uuid": UUID, "hashType": self.opts["format"], "dataBlocks": self.blocks,
                "dataBlockSize": self.opts["data-block-size"],
                "hashBlockSize": self.opts["hash-block-size"], "algorithm": self.opts["hash"],
                "salt": self.opts["salt"].replace("-", "")}
        self.expect(want.items() <= j.items(), "dump says %s" % j)

    def done(self):
        for f in (self.data, self.a, self.b):
            f.unlink(missing_ok=True)
        self.dir.rmdir()


class Verity(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.dir = pathlib.Path(self.tmp.name)
        self.addCleanup(self.tmp.cleanup)

    def one(self, case):
        c = Case(self.dir, case)
        c.formats()
        if case % 5 == 0:
            c.root_again()
        c.verdicts()
        c.done()

    def test_random_images(self):
        print("seed", SEED)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = sum(1 for _ in pool.map(self.one, range(IMAGES)))
        print(done, "images")

    def refused(self, argv, *words, rc=1):
        r = ours(*argv)
        self.assertEqual(r.returncode, rc, r.stderr)
        self.assertEqual(r.stdout, "")
        self.assertEqual(r.stderr.count("\n"), 1, r.stderr)
        self.assertTrue(r.stderr.startswith("proa-verity: "), r.stderr)
        for w in words:
            self.assertIn(w, r.stderr)

    def test_refusals(self):
        data, hash_, small, void = (self.dir / n for n in ("data", "hash", "small", "void"))
        data.write_bytes(bytes(8192))
        small.write_bytes(bytes(511))
        void.write_bytes(b"")
        kept = b"something else" * 100
        for bad, words in ((small, ("less than one block",)), (void, ("less than one block",)),
                           (self.dir / "absent", ("absent", "No such file")),
                           (self.dir, ("neither a file nor a block device",))):
            hash_.write_bytes(kept)
            self.refused(("format", bad, hash_), *words)
            self.assertEqual(hash_.read_bytes(), kept)
            self.refused(("format", bad, self.dir / "new"), *words)
            self.assertFalse((self.dir / "new").exists())
        self.refused(("format", data, data), "same file")
        self.assertEqual(data.read_bytes(), bytes(8192))
        self.refused(("format", "--data-block-size=1000", data, hash_), "1000", "512")
        self.refused(("format", "--hash-block-size=8192", data, hash_), "8192")
        self.assertEqual(hash_.read_bytes(), kept)
        self.refused(("verify", data, hash_, "00" * 32), "hash", "no verity superblock")
        self.refused(("dump", void), "void", "no verity superblock")
        if not os.geteuid() == 0:
            self.refused(("format", data, "/proc/version"), "/proc/version")

    def test_short_data_and_tree(self):
        data, hash_ = self.dir / "data", self.dir / "hash"
        data.write_bytes(bytes(300 * 4096))
        root = ours("format", data, hash_).stdout.strip()
        self.assertEqual(ours("verify", data, hash_, root).returncode, 0)
        os.truncate(hash_, 8192)
        self.refused(("verify", data, hash_, root), "hash area", "8192")
        self.assertEqual(ours("root", data, hash_).stdout.strip(), root)
        os.truncate(data, 299 * 4096)
        self.refused(("root", data, hash_), "data", str(299 * 4096))

    def test_usage(self):
        for argv, words in (((), ("no command",)), (("frobnicate",), ("no such command",)),
                            (("format", "x"), ("arguments",)), (("dump", "a", "b"), ("arguments",)),
                            (("--bogus",), ("--bogus",)), (("--salt",), ("--salt",)),
                            (("format", "--salt=abc", "x", "y"), ("--salt",)),
                            (("format", "--salt=" + "00" * 257, "x", "y"), ("--salt",)),
                            (("format", "--uuid=1", "x", "y"), ("--uuid",)),
                            (("format", "--hash=md5", "x", "y"), ("md5",)),
                            (("format", "--format=2", "x", "y"), ("--format",)),
                            (("format", "--threads=0", "x", "y"), ("--threads",)),
                            (("verify", "--salt=-", "x", "y", "z"), ("format only",))):
            self.refused(argv, *words, rc=2)
        self.assertEqual(ours("--help").returncode, 0)
        self.assertIn("Exit status", ours("--help").stdout)
        self.assertRegex(ours("--version").stdout, r"^proa-verity \d+\.\d+\.\d+\n$")

    def test_random_defaults(self):
        data = self.dir / "data"
        data.write_bytes(os.urandom(5 * 4096))
        roots = set()
        for i in range(3):
            h = self.dir / ("h%d" % i)
            root = ours("format", data, h).stdout.strip()
            roots.add(root)
            self.assertEqual(theirs("verify", data, h, root).returncode, 0)
        self.assertEqual(len(roots), 3)

    def test_full_disk(self):
        data = self.dir / "data"
        data.write_bytes(bytes(8192))
        self.refused(("format", data, "/dev/full"), "/dev/full")


if __name__ == "__main__":
    unittest.main(verbosity=2)
