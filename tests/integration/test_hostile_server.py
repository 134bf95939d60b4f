#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tuf-client before hostile servers (endless, slow, broken) and wrong clocks: freeze, fast forward
and recovery, and an initial root that cannot be used."""
import json, os, subprocess, sys, time, unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hostile_lab as lab
from hostile import ROLES, touch
from hostile_lab import BIN, TARGET, Case, Rogue
from tuf_repo import Key, date


def setUpModule():
    lab.start()


def tearDownModule():
    lab.stop()


class Servers(Case):
    CHAIN = ("root", *ROLES)

    def one(self, role, mode, reason):
        s = self.site()
        self.good(s)
        saved = s.repo.save()
        touch(s.repo)
        rogue = Rogue(s.repo.files, role, mode)
        self.addCleanup(rogue.close)
        before = self.CHAIN[1:self.CHAIN.index(role)] if role != "root" else ()
        self.refused(s, [reason], {r + ".json" for r in before}, rogue.url)
        self.honest_again(s, saved)
        s.end()
        return rogue

    def test_endless(self):
        for mode in ("endless", "endless_declared", "endless_chunks"):
            for role in self.CHAIN:
                with self.subTest(mode, role=role):
                    rogue = self.one(role, mode, "too-large")
                    self.assertTrue(all(n < 32 << 20 for n in rogue.sent), rogue.sent)

    def test_broken(self):
        for mode in ("cut", "hangs_up", "fails", "redirects", "babbles"):
            for role in self.CHAIN:
                with self.subTest(mode, role=role):
                    self.one(role, mode, "none")

    def test_slow(self):
        """One byte now and then, or none: the client gives up long before the server does."""
        started = []
        for mode in ("slow", "silent"):
            for role in self.CHAIN:
                s = self.site()
                self.good(s)
                saved = s.repo.save()
                touch(s.repo)
                rogue = Rogue(s.repo.files, role, mode)
                self.addCleanup(rogue.close)
                p = subprocess.Popen([BIN + "/tuf-client", *s.args(rogue.url), "download"],
                                     stderr=subprocess.PIPE, text=True)
                started.append((s, saved, p, s.store(), role, mode))
        for s, saved, p, store, role, mode in started:
            err = p.communicate(timeout=120)[1]
            with self.subTest(mode, role=role):
                self.assertEqual(p.returncode, 1)
                self.assertIn("[none]", err)
                kept = {n: d for n, d in s.store().items() if d != store.get(n)}
                self.assertLessEqual(set(kept), {r + ".json" for r in ROLES})
                self.honest_again(s, saved)
                s.end()


class Clock(Case):
    def later(self, s, offset):
        asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0:detect_leaks=0"
        return s.download(prefix=("faketime", "-f", offset), env={"ASAN_OPTIONS": asan})

    def test_freeze(self):
        """The mirror never changes again. Each role, when it is the first to expire, is named."""
        for role, days in (("root", 10), *((r, 10) for r in ROLES)):
            with self.subTest(role):
                s = self.site()
                s.repo.signed[role]["expires"] = date(days)
                if role == "root":
                    s.repo.publish("root")
                touch(s.repo)
                self.good(s)
                store = s.store()
                self.assertEqual(self.later(s, "+9d"), 0, s.err)
                self.assertEqual(self.later(s, "+12d"), 1)
                self.assertIn("[expired]", s.err)
                self.assertIn("the %s role expired %s" % (role, s.repo.signed[role]["expires"]), s.err)
                self.assertEqual(s.store(), store)
                # the honest repository has gone on
                s.repo.signed[role]["expires"] = date(25)
                if role == "root":
                    s.repo.publish("root")
                touch(s.repo)
                s.serve()
                self.assertEqual(self.later(s, "+12d"), 0, s.err)
                s.end()

    def test_fast_forward_and_recovery(self):
        """Whoever stole keys raised versions to the last one. New keys in root let hosts forget it."""
        for role in ROLES:
            for rotated in ("timestamp", "snapshot"):
                with self.subTest(role, rotated=rotated):
                    s = self.site()
                    self.good(s)
                    saved = s.repo.save()
                    s.repo.signed[role]["version"] = 2**53 - 2
                    touch(s.repo)
                    self.good(s)
                    s.repo.restore(saved)
                    for _ in range(3):
                        touch(s.repo)
                    s.serve()
                    self.assertEqual(s.download(), 1)
                    self.assertIn("[rollback]", s.err)
                    # as the specification says, both are forgotten when one of the two is rotated
                    s.repo.set_keys(rotated, [Key()])
                    s.repo.publish("root")
                    touch(s.repo)
                    self.good(s)
                    s.end()


class Roots(Case):
    def test_bad_initial_root(self):
        """Not one request is made: nginx has nothing in its log."""
        s = self.site()
        good = s.repo.files["metadata/1.root.json"]
        doc = json.loads(good)
        bad = [b"", b"{", b"[]", good[:-2], good.replace(b'"version": 1', b'"version": "1"'),
               good.replace(b'"_type": "root"', b'"_type": "targets"'), good + good,
               json.dumps({**doc, "signatures": []}).encode(),
               json.dumps({**doc, "signatures": doc["signatures"] * 2}).encode(),
               good.replace(b"1.0.34", b"1.0.33"), b" " * (513 << 10),
               s.repo.files["metadata/timestamp.json"]]
        for data in bad:
            self.assertEqual(s.init(data), 1)
            self.assertEqual(s.store()["root.json"], good)
            (s.dir / "md/root.json").write_bytes(data)
            self.assertEqual(s.download(), 1, data[:100])
            (s.dir / "md/root.json").write_bytes(good)
        (s.dir / "md/root.json").unlink()
        self.assertEqual(s.download(), 1)
        # what follows is in the log, so nothing before it can be still on its way there
        (s.dir / "md/root.json").write_bytes(good)
        self.good(s)
        end = time.monotonic() + 60
        while not any(TARGET.rpartition("/")[2] in r for r in s.asked()) and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(s.asked()[0], "/%s/metadata/2.root.json" % s.name)
        self.assertEqual(len(s.asked()), 6)
        s.end()


if __name__ == "__main__":
    unittest.main()
