#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""updater/slot against sfdisk, sgdisk and fdisk: random disks, edits, damage, refusals.

slot-cli is the room on the command line; what it read and wrote is judged by the three tools.
PROA_SEED sets the seed, PROA_RUNS the number of random disks.
"""
import json, os, random, re, struct, subprocess, sys, tempfile, unittest, uuid, zlib
from concurrent.futures import ThreadPoolExecutor

from rot import flip

# syncs cost nothing there
TMP = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
BIN = os.environ.get("PROA_BIN", "build/bin")
CLI = os.path.join(BIN, "slot-cli")
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
RUNS = int(os.environ.get("PROA_RUNS", "300"))
MIB = 1 << 20
GROW, READONLY = 1 << 59, 1 << 60
TYPES = {
    "x86-64": ("8484680c-9521-48c6-9c11-b0720656f69e", "77ff5f63-e7b6-4633-acf4-1565b864c0e6"),
    "arm64": ("b0e01050-ee5f-4390-949a-9101b17104e9", "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e"),
    "riscv64": ("beaec34b-8442-439b-a40b-984381ed097d", "8f1056be-9b05-47c4-81d6-be53128e5b54"),
}
OTHERS = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0fc63daf-8483-4772-8e79-3d69d8477de4",
          "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "e7bb33fb-06cf-4e81-8273-e543b413e2e2"]
os.environ["PATH"] = "/usr/sbin:/sbin:" + os.environ.get("PATH", "/usr/bin:/bin")
os.environ["LC_ALL"] = "C.UTF-8"


def run(*argv, stdin=None, ok=True):
    p = subprocess.run(argv, input=stdin, capture_output=True, text=True)
    if ok and p.returncode != 0:
        raise AssertionError(f"{argv}: {p.returncode}\n{p.stdout}{p.stderr}")
    return p


def cli(img, arch, *words, ok=True):
    return run(CLI, img, arch, *words, ok=ok)


def shown(img, arch, *words):
    return json.loads(cli(img, arch, *words, "show").stdout.splitlines()[-1])


def flag_bits(text):
    bits = 0
    for word in re.split(r"[\s,]+", text or ""):
        word = word.replace("GUID:", "")
        names = {"RequiredPartition": 0, "NoBlockIOProtocol": 1, "LegacyBIOSBootable": 2}
        if word in names:
            bits |= 1 << names[word]
        elif word:
            bits |= 1 << int(word)
    return bits


class Disk:
    """A random layout, made by one of the tools."""

    def __init__(self, rng, path, arch, sector):
        self.path, self.arch, self.sector = path, arch, sector
        usr, hsh = TYPES[arch]
        kinds = [usr, usr, hsh, hsh] + [rng.choice(OTHERS) for _ in range(rng.randrange(4))]
        if rng.random() < 0.3:
            kinds += TYPES[rng.choice([a for a in TYPES if a != arch])]
        rng.shuffle(kinds)
        numbers = sorted(rng.sample(range(1, 13), len(kinds)))
        self.entries = rng.choice([128, 128, 128, 16, 256, 512]) if sector == 512 else rng.choice([128, 256])
        unit = MIB // sector
        at, parts = unit, {}
        places = []
        for _ in kinds:
            at += rng.choice([0, 0, 1, 3]) * unit
            size = rng.randrange(1, 9) * unit // 4
            places.append((at, size))
            at += -(-size // unit) * unit
        if rng.random() < 0.5:
            rng.shuffle(places)  # numbers not in the order of the disk
        for n, kind, (start, size) in zip(numbers, kinds, places):
            parts[n] = {"type": kind, "start": start, "size": size, "uuid": str(uuid.UUID(int=rng.getrandbits(128))),
                        "name": rng.choice(["", "_empty", "web_1.0.0", "web_2-rc.1", "Grün 日本", "x" * 36]),
                        "flags": rng.choice([0, 0, GROW, READONLY, GROW | (1 << 63), 1 << 2, 1 << 48])}
        self.parts = parts
        with open(path, "wb") as f:
            f.truncate((at + 2 * unit) * sector + rng.choice([0, 0, 512, 100]))
        if sector == 4096:
            self.make_bytes()
        elif rng.random() < 0.3:
            self.make_sgdisk()
        else:
            self.make_sfdisk()

    def make_sfdisk(self):
        text = f"label: gpt\ntable-length: {self.entries}\n"
        for n, p in self.parts.items():
            attrs = ",".join({0: "RequiredPartition", 2: "LegacyBIOSBootable"}.get(b) or str(b)
                             for b in range(64) if p["flags"] >> b & 1)
            attrs = re.sub(r"(^|,)(\d)", r"\1GUID:\2", attrs)
            text += (f'{n}: start={p["start"]}, size={p["size"]}, type={p["type"]}, uuid={p["uuid"]}'
                     + (f', name="{p["name"]}"' if p["name"] else "")
                     + (f', attrs="{attrs}"' if attrs else "") + "\n")
        p = subprocess.run(["sfdisk", "-q", self.path], input=text.encode(), capture_output=True)
        assert p.returncode == 0, (text, p)

    def make_sgdisk(self):
        argv = ["sgdisk", "-o", "-a", "1", "--resize-table=" + str(max(128, self.entries))]
        for n, p in self.parts.items():
            p["name"] = p["name"] if p["name"].isascii() else "plain"
            argv += [f'-n{n}:{p["start"]}:{p["start"] + p["size"] - 1}', f'-t{n}:{p["type"]}',
                     f'-u{n}:{p["uuid"]}', f'-c{n}:{p["name"]}']
            argv += [f"-A{n}:set:{b}" for b in range(64) if p["flags"] >> b & 1]
        run(*argv, self.path)

    def make_bytes(self):
        """By hand: no tool here makes 4096-byte sectors in a file. fdisk -b 4096 judges the result."""
        size = os.path.getsize(self.path) // 4096
        table = bytearray(self.entries * 128)
        for n, p in self.parts.items():
            struct.pack_into("<16s16sQQQ72s", table, (n - 1) * 128, uuid.UUID(p["type"]).bytes_le,
                             uuid.UUID(p["uuid"]).bytes_le, p["start"], p["start"] + p["size"] - 1, p["flags"],
                             p["name"].encode("utf-16-le"))
        sectors = len(table) // 4096

        def header(my, other, entries):
            h = struct.pack("<8s4sIIIQQQQ16sQIII", b"EFI PART", b"\0\0\1\0", 92, 0, 0, my, other, 2 + sectors,
                            size - sectors - 2, bytes(range(1, 17)), entries, self.entries, 128, zlib.crc32(table))
            return h[:16] + struct.pack("<I", zlib.crc32(h)) + h[20:]

        with open(self.path, "r+b") as f:
            f.seek(446)
            f.write(struct.pack("<BBBBBBBBII", 0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, size - 1))
            f.seek(510)
            f.write(b"\x55\xaa")
            for at, data in ((1, header(1, size - 1, 2)), (2, table), (size - 1 - sectors, table),
                             (size - 1, header(size - 1, 1, size - 1 - sectors))):
                f.seek(at * 4096)
                f.write(data)

    def slots(self):
        usr, hsh = TYPES[self.arch]
        u = sorted(n for n, p in self.parts.items() if p["type"] == usr)
        h = sorted(n for n, p in self.parts.items() if p["type"] == hsh)
        return {"A": (u[0], h[0]), "B": (u[1], h[1])}

    def read(self):
        return read_fdisk(self.path) if self.sector == 4096 else read_sfdisk(self.path)


def read_sfdisk(path):
    parts = {}
    for p in json.loads(run("sfdisk", "-J", path).stdout)["partitiontable"]["partitions"]:
        n = int(re.search(r"(\d+)$", p["node"]).group(1))
        parts[n] = {"type": p["type"].lower(), "start": p["start"], "size": p["size"], "uuid": p["uuid"].lower(),
                    "name": p.get("name", ""), "flags": flag_bits(p.get("attrs"))}
    return parts


def read_fdisk(path):
    out = run("fdisk", "-b", "4096", "-l", "--bytes", "-o", "Device,Start,Sectors,Type-UUID,UUID,Name,Attrs", path)
    parts = {}
    for line in out.stdout.splitlines():
        m = re.match(re.escape(path) + r"(\d+)\s+(\d+)\s+(\d+)\s+(\S{36})\s+(\S{36})\s*(.*?)\s*((?:GUID:|Leg).*)?$", line)
        if m:
            parts[int(m[1])] = {"type": m[4].lower(), "start": int(m[2]), "size": int(m[3]), "uuid": m[5].lower(),
                                "name": m[6], "flags": flag_bits(m[7])}
    return parts


def damage(rng, disk, which):
    """Flips one byte of what a checksum covers in the primary or the backup copy."""
    size = os.path.getsize(disk.path) // disk.sector * disk.sector
    with open(disk.path, "rb") as f:
        f.seek(disk.sector if which == "primary" else size - disk.sector)
        h = f.read(92)
    assert h[:8] == b"EFI PART", which
    table = int.from_bytes(h[72:80], "little") * disk.sector
    count = int.from_bytes(h[80:84], "little")
    head = disk.sector if which == "primary" else size - disk.sector
    flip(disk.path, head + rng.randrange(92) if rng.random() < 0.5 else table + rng.randrange(count * 128))


class RandomDisks(unittest.TestCase):
    def check_shown(self, disk, s, parts):
        self.assertEqual((s["sector"], s["n"]), (disk.sector, len(parts)))
        for name, numbers in disk.slots().items():
            for key, n in zip((name.lower(), name.lower() + "_hash"), numbers):
                p = parts[n]
                self.assertEqual(
                    s[key], {"number": n, "offset": p["start"] * disk.sector, "bytes": p["size"] * disk.sector,
                             "uuid": p["uuid"], "type": p["type"], "flags": p["flags"], "label": p["name"]})

    def check_sound(self, disk, numbers, root):
        if disk.sector == 4096:
            out = run("fdisk", "-b", "4096", "-w", "never", disk.path, stdin="v\nq\n")
            self.assertIn("No errors detected", out.stdout)
            self.assertNotRegex(out.stdout + out.stderr, "corrupt|mismatch")
            return
        out = run("sgdisk", "-v", disk.path).stdout
        self.assertIn("No problems found", out)
        if root:
            for n, half in zip(numbers, (root[:32], root[32:])):
                out = run("sgdisk", "-i", str(n), disk.path).stdout
                self.assertIn("Partition unique GUID: " + str(uuid.UUID(half)).upper(), out)

    def one(self, rng, path):
        arch = rng.choice(list(TYPES))
        disk = Disk(rng, path, arch, 4096 if rng.random() < 0.2 else 512)
        want = disk.read()
        self.assertEqual(want, disk.parts)
        self.check_shown(disk, shown(path, arch), want)
        for _ in range(rng.randrange(1, 3)):
            hurt = rng.choice([None, None, "primary", "backup"])
            if hurt:
                damage(rng, disk, hurt)
                s = shown(path, arch)
                self.assertEqual((s["primary_bad"], s["backup_bad"]), (hurt == "primary", hurt == "backup"))
                self.check_shown(disk, s, want)
            name = rng.choice("AB")
            numbers = disk.slots()[name]
            label = rng.choice(["_empty", "web_1.2.3", "y" * 36, "a_" + "7" * rng.randrange(1, 30)])
            root = None if rng.random() < 0.2 else "%064x" % rng.getrandbits(256)
            with open(path, "rb") as f:
                mbr = f.read(512)
            s = shown(path, arch, "mark", name, label, root or "-")
            got = disk.read()
            with open(path, "rb") as f:
                self.assertEqual(f.read(512), mbr)
            for n, half in zip(numbers, ("0:32", "32:64")):
                a, b = map(int, half.split(":"))
                want[n] = dict(want[n], name=label, flags=want[n]["flags"] & ~GROW | READONLY,
                               uuid=str(uuid.UUID(root[a:b])) if root else got[n]["uuid"])
            self.assertEqual(got, want)
            self.assertEqual(len({p["uuid"] for p in got.values()}), len(got))
            self.check_shown(disk, s, want)
            self.assertFalse(s["primary_bad"] or s["backup_bad"])
            self.check_sound(disk, numbers, root)
            if root:
                self.assertEqual(cli(path, arch, "of", root).stdout.strip(), name)

    def test_random(self):
        print(f"PROA_SEED={SEED} PROA_RUNS={RUNS}", flush=True)
        with tempfile.TemporaryDirectory(dir=TMP) as tmp, ThreadPoolExecutor(8) as pool:

            def job(i):
                path = os.path.join(tmp, f"disk{i}.img")
                try:
                    self.one(random.Random(SEED * 1000003 + i), path)
                    os.unlink(path)
                except Exception as x:
                    raise AssertionError(f"run {i} of seed {SEED}: {x}") from x

            for _ in pool.map(job, range(RUNS)):
                pass


class Damage(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory(dir=TMP)
        self.path = os.path.join(self.tmp.name, "disk.img")
        self.rng = random.Random(SEED)
        self.disk = Disk(self.rng, self.path, "x86-64", 512)

    def tearDown(self):
        self.tmp.cleanup()

    def content(self):
        with open(self.path, "rb") as f:
            return f.read()

    def test_both(self):
        damage(self.rng, self.disk, "primary")
        damage(self.rng, self.disk, "backup")
        before = self.content()
        p = cli(self.path, "x86-64", "mark", "A", "_empty", "-", ok=False)
        self.assertEqual(p.returncode, 1)
        self.assertRegex(p.stderr, r"^slot-cli: disk '.*disk.img': no GPT partition table is whole, [^\n]*\n$")
        self.assertEqual(self.content(), before)

    def test_repair_restores_every_byte(self):
        whole = self.content()
        for which in ("primary", "backup"):
            for _ in range(20):
                damage(self.rng, self.disk, which)
                self.assertNotEqual(self.content(), whole)
                s = shown(self.path, "x86-64", "repair")
                self.assertFalse(s["primary_bad"] or s["backup_bad"])
                self.assertEqual(self.content(), whole)

    def test_repair_of_whole_disk_writes_nothing(self):
        whole = self.content()
        cli(self.path, "x86-64", "repair")
        self.assertEqual(self.content(), whole)

    def test_primary_wiped(self):
        whole = self.content()
        with open(self.path, "r+b") as f:
            f.seek(512)
            f.write(bytes(33 * 512))
        s = shown(self.path, "x86-64")
        self.assertTrue(s["primary_bad"])
        shown(self.path, "x86-64", "repair")
        self.assertEqual(self.content(), whole)

    def test_old_backup(self):
        """Power cut after the backup was written: whole, newer than the primary. Primary rules."""
        old = self.content()
        cli(self.path, "x86-64", "mark", "B", "web_9", "ab" * 16 + "cd" * 16)
        new = self.content()
        end = len(old) // 512 * 512
        mixed = old[:MIB] + new[MIB:]
        self.assertNotEqual(mixed[end - 512:], old[end - 512:])
        with open(self.path, "wb") as f:
            f.write(mixed)
        s = shown(self.path, "x86-64")
        self.assertEqual((s["primary_bad"], s["backup_bad"]), (False, True))
        self.assertNotEqual(s["b"]["label"], "web_9")
        cli(self.path, "x86-64", "repair")
        self.assertEqual(self.content(), old)

    def test_grown(self):
        """A disk that grew keeps its backup where it was; only the marked entries change."""
        with open(self.path, "r+b") as f:
            f.truncate(os.path.getsize(self.path) // 512 * 512 + 8 * MIB)
        before = self.disk.read()
        cli(self.path, "x86-64", "mark", "B", "web_9", "ab" * 16 + "cd" * 16)
        after = self.disk.read()
        for n in before:
            if n not in self.disk.slots()["B"]:
                self.assertEqual(after[n], before[n])
        self.assertEqual({after[n]["name"] for n in self.disk.slots()["B"]}, {"web_9"})
        tail = self.content()[-8 * MIB:]
        self.assertEqual(tail.count(0), len(tail))


class Refusals(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory(dir=TMP)
        self.path = os.path.join(self.tmp.name, "disk.img")

    def tearDown(self):
        self.tmp.cleanup()

    def make(self, *parts):
        with open(self.path, "wb") as f:
            f.truncate(16 * MIB)
        text = "label: gpt\n"
        for kind, size, name in parts:
            kind = {"usr": TYPES["x86-64"][0], "hash": TYPES["x86-64"][1], "esp": OTHERS[0]}[kind]
            text += f'size={size}K, type={kind}, name="{name}"\n'
        run("sfdisk", "-q", self.path, stdin=text)

    def refused(self, pattern, *words, arch="x86-64", path=None):
        before = None
        if os.path.isfile(path or self.path):
            with open(path or self.path, "rb") as f:
                before = f.read()
        p = cli(path or self.path, arch, *words, ok=False)
        self.assertEqual(p.returncode, 1, p)
        self.assertRegex(p.stderr, pattern)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        if before is not None:
            with open(path or self.path, "rb") as f:
                self.assertEqual(f.read(), before)

    def good(self):
        self.make(("usr", 2048, "web_1.0.0"), ("hash", 64, "web_1.0.0_verity"), ("usr", 1024, "other_7"),
                  ("hash", 64, "_empty"))

    def test_disk(self):
        self.refused("disk '/nonexistent/x': no such disk", path="/nonexistent/x")
        self.refused("neither a disk nor an image file|Is a directory|too few", path=self.tmp.name)
        with open(self.path, "wb") as f:
            f.truncate(4 * MIB)
        self.refused("no GPT partition table is whole")
        run("sfdisk", "-q", self.path, stdin="label: dos\nsize=1M\n")
        self.refused("no GPT partition table is whole")
        with open(self.path, "wb") as f:
            f.write(b"short")
        self.refused("too few for a partition table")

    def test_no_protective_mbr(self):
        self.good()
        with open(self.path, "r+b") as f:
            f.write(bytes(512))
        self.refused("no protective MBR")

    def test_slots(self):
        self.make(("esp", 1024, "esp"))
        self.refused("no /usr partition for x86-64")
        self.make(("esp", 1024, "esp"), ("usr", 1024, "web_1"), ("hash", 64, "web_1"))
        self.refused(r"only one /usr partition for x86-64 \(number 2\)")
        self.make(("usr", 1024, "web_1"), ("usr", 1024, "web_1"), ("hash", 64, "web_1"))
        self.refused(r"two usr partitions for x86-64 \(numbers 1 and 2\) but only one usr-verity")
        self.make(("usr", 1024, "web_1"), ("usr", 1024, "web_1"))
        self.refused("but no usr-verity")
        self.make(*[(k, 64, "web_1") for k in ("usr", "hash") * 3])
        self.refused("3 usr and 3 usr-verity")
        self.good()
        self.refused("no /usr partition for arm64", arch="arm64")
        self.refused("architecture 'vax' is not known", arch="vax")

    def test_ours(self):
        self.good()
        cli(self.path, "x86-64", "ours", "A", "web")
        self.refused(r"partition 3 \(slot B\) is labelled 'other_7', which is not a release of 'web'; if it may be "
                     r"overwritten, mark it as free: sfdisk --part-label .*disk.img 3 _empty", "ours", "B", "web")
        run("sfdisk", "-q", "--part-label", self.path, "3", "_empty")
        cli(self.path, "x86-64", "ours", "B", "web")

    def test_fits(self):
        self.good()
        cli(self.path, "x86-64", "fits", "B", str(1 << 20), str(1 << 16))
        self.refused(r"slot B's data partition \(number 3\) holds 1\.0 MB but the image needs 2\.0 MB: 951 KB short"
                     r"|slot B's data partition \(number 3\) holds .* but the image needs .*: .* short",
                     "fits", "B", "2000000", "65536")
        self.refused(r"slot A's hash partition \(number 2\) holds .* short", "fits", "A", "2000000", "65537")

    def test_mark(self):
        self.good()
        root = "%064x" % 12345
        self.refused("slot B is running", "protect", "B", "mark", "B", "web_2", root)
        self.refused("slot B is running", "protect", "B", "area", "B", "data", "rw")
        self.refused("has 1 to 36 characters", "mark", "B", "w" * 37, root)
        self.refused("printable ASCII", "mark", "B", "web 2", root)
        self.refused("halves of the root hash are equal", "mark", "B", "web_2", "ab" * 32)
        cli(self.path, "x86-64", "mark", "A", "web_2", root)
        self.refused(r"partition 1 already carries PARTUUID 00000000-0000-0000-0000-000000000000",
                     "mark", "B", "web_2", root)
        self.refused("neither slot has the PARTUUIDs", "of", "77" * 32)

    def test_area(self):
        self.good()
        s = shown(self.path, "x86-64")
        out = cli(self.path, "x86-64", "area", "B", "data", "rw", "area", "B", "hash", "ro").stdout.split()
        self.assertEqual([int(w) for w in out],
                         [s["b"]["offset"], s["b"]["bytes"], s["b_hash"]["offset"], s["b_hash"]["bytes"]])


class BlockDevice(unittest.TestCase):
    """A loop device with 4096-byte sectors, where this machine allows one."""

    def test_loop(self):
        with tempfile.TemporaryDirectory(dir=TMP) as tmp:
            path = os.path.join(tmp, "disk.img")
            disk = Disk(random.Random(SEED), path, "x86-64", 4096)
            p = run("losetup", "-b", "4096", "-f", "--show", path, ok=False)
            if p.returncode != 0:
                self.skipTest("no loop devices here")
            dev = p.stdout.strip()
            try:
                s = shown(dev, "x86-64", "mark", "B", "web_3", "12" * 16 + "34" * 16, "area", "B", "data", "rw")
                self.assertEqual((s["sector"], s["b"]["label"]), (4096, "web_3"))
                parts = {int(re.search(r"(\d+)$", q["node"]).group(1)): q for q in
                         json.loads(run("sfdisk", "-J", dev).stdout)["partitiontable"]["partitions"]}
                self.assertEqual({parts[n]["name"] for n in disk.slots()["B"]}, {"web_3"})
            finally:
                run("losetup", "-d", dev)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
