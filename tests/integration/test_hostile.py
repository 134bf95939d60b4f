#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tuf-client before hostile repositories, served by nginx. Every attack of hostile.py is refused with
its reason, the store keeps every byte but for what the specification persists first, and the honest
repository works again afterwards. test_tuf.py has the honest workflow, test_tuf_random.py random
attacks, test_hostile_server.py hostile servers and clocks, test_hostile_host.py whole hosts."""
import os, random, sys, time, unittest, urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hostile_lab as lab
from hostile import ATTACKS, ROLES, touch
from hostile_lab import TARGET, Case, shop
from test_tuf_random import Ours

SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)


def setUpModule():
    lab.start()


def tearDownModule():
    lab.stop()


class Attacks(Case):
    def one(self, a, consistent, kind, listed):
        s = self.site(consistent, kind, listed)
        steps = a.make(s.repo, a.role)
        next(steps)
        self.good(s)
        saved = s.repo.save()
        for _ in steps:
            self.fail("an attack has one yield")
        s.serve()
        store = self.refused(s, a.expect(listed), a.changed)
        if not listed:
            # exactly what the specification says is persisted, as it was received
            for n in a.changed:
                self.assertIn(store[n], s.repo.files.values(), n)
        self.honest_again(s, saved, a.root)
        s.end()

    def test_every_attack(self):
        for a in ATTACKS:
            with self.subTest(a.name):
                self.one(a, True, "ed25519", False)
        print(len(ATTACKS), "attacks refused")

    def test_in_other_repositories(self):
        """A part of them with other keys, without consistent snapshots, with hashes listed."""
        rnd = random.Random(SEED)
        for a in rnd.sample(ATTACKS, 25):
            consistent, listed = rnd.random() < 0.5, rnd.random() < 0.5
            with self.subTest(a.name, consistent=consistent, listed=listed, seed=SEED):
                self.one(a, consistent, rnd.choice(["ecdsa", "rsa"]), listed)

    def test_climbing_names_stay_inside(self):
        for consistent in (True, False):
            s = self.site(consistent)
            for name in ("../x", "..", "../../etc/passwd", "/etc/passwd", "a/../../b"):
                s.repo.delegate("targets", name, ["*/*"])
            s.repo.signed["targets"]["delegations"]["roles"].reverse()
            s.repo.publish_all()
            # nginx decodes, and then does not leave its own tree
            s.serve()
            self.assertIn(s.download(), (0, 1))
            self.assertEqual(sorted(p.name for p in s.dir.iterdir()), ["md", "out", "root"])
            self.assertTrue(all("/" not in urllib.parse.quote(n, safe="%") for n in s.store()))
            s.end()

    def test_target(self):
        """What is downloaded in the end: not a byte that was not signed."""
        s = self.site()
        name = [n for n in s.repo.files if n.startswith("targets/")][0]
        honest = s.repo.files[name]
        self.good(s)
        for wrong in (b"", honest[:-1], honest + b"x", b"T" + honest[1:], b"x" * (1 << 20)):
            s.repo.files[name] = wrong
            s.serve()
            self.refused(s, ["wrong-hash"])
        del s.repo.files[name]
        s.serve()
        self.refused(s, ["none"])
        s.repo.files[name] = honest
        self.good(s)
        s.end()


class Truncated(unittest.TestCase):
    def test_at_every_byte(self):
        """Every file of a repository, cut at every byte: refused, and the store as it was."""
        ours = Ours(lab.work / "cut")
        commands = 0
        for listed in (False, True):
            repo = shop(listed=listed)
            repo.style = dict(separators=(",", ":"))
            ours.start()
            view = type("View", (), dict(metadata={}, targets={}))

            def serve(files):
                view.metadata = {n[9:]: d for n, d in files.items() if n.startswith("metadata/")}
                view.targets = {n[8:]: d for n, d in files.items() if n.startswith("targets/")}
                ours.serve(view)

            root = ours.case / "root"
            root.write_bytes(repo.files["metadata/1.root.json"])
            now = int(time.time())
            self.assertEqual(ours.run(now, "init", root)[0], 0)
            serve(repo.files)
            self.assertEqual(ours.run(now, "download", TARGET)[0], 0)
            for role in ("root", *ROLES):
                touch(repo)
                if role == "root":
                    repo.publish("root")
                name = "metadata/" + repo.remote(role)
                whole = repo.files[name]
                for n in range(0, len(whole), 7 if listed else 1):
                    serve({**repo.files, name: whole[:n]})
                    if n == 0:  # what comes before it is persisted, once
                        ours.run(now, "download", TARGET)
                        before = ours.store()
                    rc, reason, _, text = ours.run(now, "download", TARGET)
                    self.assertEqual(rc, 1, (role, n))
                    self.assertIn(reason, ("wrong-hash",) if listed and role in ROLES[1:] else ("malformed",),
                                  (role, n, text))
                    self.assertEqual(ours.store(), before, (role, n))
                    commands += 1
                serve(repo.files)
                self.assertEqual(ours.run(now, "download", TARGET)[0], 0)
            ours.end()
        ours.close()
        print("cut at", commands, "places")


if __name__ == "__main__":
    unittest.main()
