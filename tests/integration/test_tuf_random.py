#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two clients, one random repository: the library behind tuf-client (through tuf-batch) and a
reference client written in Python from the specification (tuf_reference.py) meet the same hostile
repository, turn after turn, each with its own store. They must agree on the verdict, on its reason, on
every byte of the store, on what was downloaded and on what was asked for.

PROA_SEED chooses the cases, PROA_TUF_CASES how many there are. A case that differs is kept in
PROA_KEEP (a directory), if that is set."""
import collections, os, pathlib, random, shutil, subprocess, sys, tempfile, unittest, urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tuf_reference import Client, Refused
from tuf_world import DAY, PATHS, World, key_pool

BIN = os.environ.get("PROA_BIN", "build/bin")
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
CASES = int(os.environ.get("PROA_TUF_CASES", "600"))
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# where the order of two checks within one file is nobody's business
SAME = {"wrong-type": "shape", "malformed": "shape", "duplicate-signature": "shape",
        "wrong-key-id": "unsigned"}


class Ours:
    """tuf-batch and its directories."""

    def __init__(self, folder):
        self.dir = folder
        self.p = subprocess.Popen([BIN + "/tuf-batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True, errors="surrogateescape")
        self.count = 0

    def start(self):
        """A new store and an empty repository."""
        self.count += 1
        self.case = self.dir / str(self.count)
        for d in ("store", "out", "repo/metadata", "repo/targets"):
            (self.case / d).mkdir(parents=True)
        self.served = {}

    def serve(self, world):
        now = {("metadata", n): d for n, d in world.metadata.items()}
        now.update({("targets", n.replace("/", "%2F")): d for n, d in world.targets.items()})
        for kind, n in self.served:
            if (kind, n) not in now:
                (self.case / "repo" / kind / n).unlink()
        for (kind, n), d in now.items():
            if self.served.get((kind, n)) != d:
                (self.case / "repo" / kind / n).write_bytes(d)
        self.served = now

    def run(self, now, verb, *names):
        line = "\t".join([str(now), str(self.case / "store"), str(self.case / "repo"),
                          str(self.case / "out"), verb, *map(str, names)])
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        answer = self.p.stdout.readline()
        if not answer.endswith("\n"):
            raise AssertionError("tuf-batch ended with %s at: %s" % (self.p.wait(), line))
        rc, reason, asked, text = answer.rstrip("\n").split("\t", 3)
        return int(rc), reason, asked.split(" ") if asked else [], text

    def store(self):
        return {p.name: p.read_bytes() for p in (self.case / "store").iterdir()}

    def outputs(self):
        return sorted(p.read_bytes() for p in (self.case / "out").iterdir())

    def damage(self, store):
        for p in (self.case / "store").iterdir():
            if p.name not in store:
                p.unlink()
            else:
                p.write_bytes(store[p.name])

    def end(self):
        shutil.rmtree(self.case)

    def close(self):
        self.p.stdin.close()
        assert self.p.wait() == 0
        self.p.stdout.close()


def reference(world, store, outputs, now, verb, names):
    def get(kind, name):
        return (world.metadata if kind == "metadata" else world.targets).get(name)

    c = Client(store, outputs, get, now)
    try:
        if verb == "init":
            c.init(names)
        else:
            c.refresh()
            for n in names:
                c.download(n)
    except Refused as e:
        return 1, e.reason, c.asked, str(e)
    return 0, "none", c.asked, ""


class Random(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tuf-random.", dir=MEMORY))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.ours = Ours(self.dir)
        self.addCleanup(self.ours.close)
        self.seen = collections.Counter()

    def compare(self, where, world, theirs, ours, store, outputs):
        context = "%s, faults %s\nreference: %s\nproa: %s" % (where, world.faults, theirs, ours)
        same = (theirs[0] == ours[0] and
                SAME.get(theirs[1], theirs[1]) == SAME.get(ours[1], ours[1]) and
                theirs[2] == ours[2] and store == self.ours.store() and
                sorted(outputs.values()) == self.ours.outputs())
        if same:
            return
        if os.environ.get("PROA_KEEP"):
            kept = pathlib.Path(os.environ["PROA_KEEP"])
            shutil.copytree(self.ours.case, kept / where.replace(" ", "-"), dirs_exist_ok=True)
        self.assertEqual(theirs[:3], ours[:3], context)
        self.assertEqual(store, self.ours.store(), context)
        self.assertEqual(sorted(outputs.values()), self.ours.outputs(), context)

    def damage(self, rnd, store):
        """What a failing disk does to the store."""
        name = rnd.choice(sorted(store))
        how = rnd.randrange(3)
        if how == 0:
            del store[name]
        elif how == 1:
            store[name] = store[name][:rnd.randrange(len(store[name]) + 1)]
        elif store[name]:
            b = bytearray(store[name])
            b[rnd.randrange(len(b))] ^= 1 << rnd.randrange(8)
            store[name] = bytes(b)
        self.ours.damage(store)

    def case(self, n, pool, bad):
        rnd = random.Random("%d %d" % (SEED, n))
        world = World(rnd, pool, bad)
        store, outputs = {}, {}
        self.ours.start()
        root = self.ours.case / "root"
        root.write_bytes(world.old["root"][0])
        theirs = reference(world, store, outputs, world.now, "init", root.read_bytes())
        self.compare("case %d init" % n, world, theirs, self.ours.run(world.now, "init", root), store,
                     outputs)
        for turn in range(rnd.randrange(1, 7)):
            self.ours.serve(world)
            verb = rnd.choice(["refresh", "download"])
            names = rnd.sample(PATHS, rnd.randrange(1, 5)) if verb == "download" else []
            if names and world.names and rnd.random() < 0.7:
                names = world.names
            now = world.now if rnd.random() < 0.95 else world.now + rnd.choice([-30, 20]) * DAY
            theirs = reference(world, store, outputs, now, verb, names)
            ours = self.ours.run(now, verb, *names)
            self.compare("case %d turn %d" % (n, turn), world, theirs, ours, store, outputs)
            self.seen[theirs[1]] += 1
            if rnd.random() < 0.06 and store:
                self.damage(rnd, store)
            world.now += rnd.choice([60, DAY, 3 * DAY])
            world.turn(faulty=turn % 2 == 0)
        self.ours.end()

    def test_agree(self):
        pool, bad = key_pool(random.Random(SEED))
        for n in range(CASES):
            self.case(n, pool, bad)
        print("PROA_SEED=%d: %d commands: %s" % (SEED, sum(self.seen.values()),
              ", ".join("%s %d" % x for x in self.seen.most_common())))
        if CASES >= 400:  # a comparison in which nothing happens shows nothing
            for reason in ("none", "malformed", "unsigned", "expired", "rollback", "wrong-version",
                           "wrong-hash", "too-large", "absent", "no-target", "unknown-hash", "removed",
                           "unlisted", "wrong-type", "duplicate-signature"):
                self.assertGreater(self.seen[reason], 0, reason)


if __name__ == "__main__":
    unittest.main()
