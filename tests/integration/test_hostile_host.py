#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A host on an image file before a hostile repository: proactl, proad and proa-fetch as they are, the
repository signed by tuf_repo.py and served by nginx. Whatever the attack, the host says why, its disk,
ESP and trust store keep their bytes, and it updates when the honest repository returns."""
import datetime, json, os, random, sys, time, unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_agent as agent
from hostile import ATTACKS, CHANNEL, ROLES, before, recover, touch
from hostile_lab import Rogue
from test_agent import FAILED, Host, Nginx, sh, tree_hash
from tuf_repo import Repo, date

SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
# of these a host sees nothing: it asks for its channel, not for a path
FOR_PATHS = {"role_that_climbs", "delegation_without_a_listing"}


def setUpModule():
    agent.setUpModule()


def tearDownModule():
    agent.tearDownModule()


class Shop:
    """The releases of proa-publish under metadata of another hand."""

    def __init__(self):
        self.dir = agent.work / ("shop-%d" % random.getrandbits(40))
        self.dir.mkdir()
        base = agent.base.repo
        (self.dir / "blobs").symlink_to(base / "blobs")
        self.repo = Repo(True)
        self.repo.delegate("targets", CHANNEL, [CHANNEL + "/*"])
        newest = max(base.glob("metadata/*.stable.json"), key=lambda p: int(p.name.split(".")[0]))
        for path, entry in json.loads(newest.read_text())["signed"]["targets"].items():
            d, _, name = path.rpartition("/")
            data = (base / "targets" / d / (entry["hashes"]["sha256"] + "." + name)).read_bytes()
            self.repo.add_target(path, data, CHANNEL, custom=entry["custom"])
        self.repo.publish_all()
        self.there = {}

    def serve(self):
        for n in self.there:
            if n not in self.repo.files:
                (self.dir / n).unlink()
        for n, d in self.repo.files.items():
            if self.there.get(n) != d:
                (self.dir / n).parent.mkdir(parents=True, exist_ok=True)
                (self.dir / n).write_bytes(d)
        self.there = dict(self.repo.files)

    def target(self, version):
        return [n for n in self.repo.files if n.endswith("web_%s.json" % version)][0]


class Case(agent.Case):
    def setUp(self):
        self.shop = Shop()
        self.shop.serve()
        self.web = Nginx(self.shop.dir)
        self.addCleanup(self.web.stop)
        self.h = Host().install()
        self.h.set(Source_URL=self.web.url(), Source_Root=self.shop.dir / "metadata/1.root.json")

    def trust(self):
        d = self.h.state / "trust"
        return {p.name: p.read_bytes() for p in d.iterdir()} if d.exists() else {}

    def bytes(self):
        return tree_hash(self.h.disk), tree_hash(self.h.esp)

    def publish(self):
        touch(self.shop.repo)
        self.shop.serve()

    def can_update(self):
        self.assertEqual(self.h.json("check")["chosen"], "1.1.0")

    def refusal(self, reasons, changed=()):
        """update is refused, why says the reason, nothing but that changes."""
        seen, before = self.bytes(), self.trust()
        p = self.h.ctl("update", want=FAILED)
        self.one_sentence(p)
        j = self.h.json("why", want=FAILED)
        self.assertNotIn("decision", j)
        self.assertIn(j["refused"]["reason"], reasons, j["error"])
        self.assertIn(j["error"], p.stderr)
        after = self.trust()
        self.assertLessEqual({n for n in {*before, *after} if before.get(n) != after.get(n)}, set(changed))
        self.assertEqual(self.bytes(), seen)
        return j

    def at(self, offset, *verb, want=0):
        """With the clock back; forward, libfaketime breaks the timers of the event loop."""
        asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0:detect_leaks=0"
        return sh("env", "ASAN_OPTIONS=" + asan, "NO_FAKE_STAT=1", "faketime",
                  "-f", offset, *self.h.args(*verb), want=want)


class Attacks(Case):
    def test_attacks(self):
        """One after the other upon one host; then it updates."""
        rnd = random.Random(SEED)
        kinds = {}
        for a in ATTACKS:
            kinds.setdefault(a.kind, []).append(a)
        chosen = [rnd.choice(v) for k, v in kinds.items() if k not in FOR_PATHS]
        rnd.shuffle(chosen)
        repo = self.shop.repo
        self.can_update()
        for a in chosen:
            with self.subTest(a.name, seed=SEED):
                steps = a.make(repo, a.role)
                next(steps)
                self.shop.serve()
                self.can_update()
                saved = repo.save()
                for _ in steps:
                    self.fail("an attack has one yield")
                self.shop.serve()
                # a key under another's id may be there from an earlier one: then that is told too
                more = {"wrong-key-id"} if a.reason == "unsigned" else set()
                self.refusal({a.reason} | more, a.changed)
                recover(repo, saved, self.trust(), a.root)
                self.shop.serve()
                self.can_update()
        self.h.ctl("update")
        self.updated(self.h)
        print(len(chosen), "attacks upon a host refused, seed", SEED)

    def test_manifest_and_blobs(self):
        """Extraneous dependencies: the mirror adds a blob to the manifest, or gives other bytes."""
        name = self.shop.target("1.1.0")
        honest = self.shop.repo.files[name]
        doc = json.loads(honest)
        more = {**doc, "blobs": doc["blobs"] + [{**doc["blobs"][0], "role": "sbom"}]}
        old = self.shop.repo.files[self.shop.target("1.0.0")]
        for wrong in (json.dumps(more).encode(), old, honest[:-1], honest + b"\n", b"", b"x" * 70000):
            self.shop.repo.files[name] = wrong
            self.shop.serve()
            seen = self.bytes()
            self.can_update()
            before = self.trust()
            self.one_sentence(self.h.ctl("update", want=FAILED), ["web_1.1.0.json"])
            self.assertEqual((self.bytes(), self.trust()), (seen, before))
        self.shop.repo.files[name] = honest
        self.shop.serve()
        self.h.ctl("update")
        self.updated(self.h)

    def test_endless_data(self):
        """A server that never ends, whatever it said of the length."""
        repo = self.shop.repo
        for role in ("root", *ROLES):
            for mode in ("endless", "endless_chunks"):
                with self.subTest(mode, role=role):
                    self.can_update()
                    saved = repo.save()
                    touch(repo)
                    rogue = Rogue(repo.files, role, mode)
                    self.h.set(Source_URL=rogue.url)
                    changed = before(role) if role != "root" else ()
                    self.refusal({"too-large"}, {r + ".json" for r in changed})
                    self.assertTrue(all(n < 32 << 20 for n in rogue.sent), rogue.sent)
                    rogue.close()
                    recover(repo, saved, self.trust(), False)
                    self.shop.serve()
                    self.h.set(Source_URL=self.web.url())
        self.h.ctl("update")
        self.updated(self.h)

    def test_bad_initial_root(self):
        """No request: nginx has heard of nothing."""
        good = (self.shop.dir / "metadata/1.root.json").read_bytes()
        doc = json.loads(good)
        mine = self.h.dir / "root.json"
        self.h.set(Source_Root=mine)
        log = self.web.dir / "access.log"
        for bad in (b"", b"{}", good[:-3], json.dumps({**doc, "signatures": []}).encode(),
                    good.replace(b"1.0.34", b"1.0.35")):
            mine.write_bytes(bad)
            seen = self.bytes()
            self.one_sentence(self.h.ctl("update", want=FAILED), ["root"])
            self.assertEqual((self.bytes(), self.trust()), (seen, {}))
        self.assertEqual(log.read_text() if log.exists() else "", "")
        mine.write_bytes(good)
        self.h.ctl("update")
        self.updated(self.h)
        self.assertIn("/metadata/2.root.json", log.read_text().split("\n")[0])


class Clock(Case):
    def test_expired(self):
        """why says which role and when, to people and to programs."""
        repo = self.shop.repo
        self.can_update()
        for role in ("root", *ROLES):
            with self.subTest(role):
                saved = repo.save()
                repo.signed[role]["expires"] = when = date(-9)
                if role == "root":
                    repo.publish("root")
                self.publish()
                changed = {"root.json", *(r + ".json" for r in ROLES[:3])}
                j = self.refusal({"expired"}, changed)
                self.assertEqual(j["refused"], {"reason": "expired", "role": role, "expires": when,
                                                "version": repo.signed[role]["version"]})
                text = " ".join(self.h.ctl("why", want=FAILED).stdout.split())
                self.assertIn("the %s role expired %s, 9 days ago" % (role, when), text)
                recover(repo, saved, self.trust(), role == "root")
                self.shop.serve()
                self.can_update()

    def test_frozen(self):
        """The mirror keeps what it had until that expires."""
        seconds, j = 5, {"refused": None}
        while j["refused"] is not None or "decision" not in j:  # a slow machine needs longer
            self.shop.repo.signed["timestamp"]["expires"] = when = date(0, seconds)
            end = time.time() + seconds
            self.publish()
            j = {"refused": None, **self.h.json("why", want=None)}
            seconds *= 2
        before = self.trust()
        time.sleep(max(0, end + 1 - time.time()))
        self.one_sentence(self.h.ctl("update", want=FAILED), ["the timestamp role expired " + when])
        j = self.h.json("why", want=FAILED)
        self.assertEqual((j["refused"]["reason"], j["refused"]["role"]), ("expired", "timestamp"))
        self.assertEqual(self.trust(), before)

    def behind(self, out, what):
        text = " ".join(out.split())
        self.assertIn("the clock of this host is wrong: it says ", text)
        self.assertIn("behind %s" % what, text)
        self.assertIn("the later time is used", text)

    def test_clock_behind_metadata(self):
        """Nothing makes this host forget what time it has seen."""
        self.can_update()
        p = self.at("-40d", "why")
        self.behind(p.stdout, "metadata that was verified here")
        j = json.loads(self.at("-40d", "--json", "why").stdout)
        self.assertEqual(j["decision"]["chosen"], "1.1.0")
        self.assertIn("wrong", j["decision"]["notes"][0])
        # the later time is used: what has expired by it is expired, though the clock says otherwise
        self.shop.repo.signed["timestamp"]["expires"] = date(-1)
        self.publish()
        p = self.at("-40d", "why", want=FAILED)
        self.behind(p.stdout, "metadata that was verified here")
        self.assertIn("the timestamp role expired", " ".join(p.stdout.split()))
        j = json.loads(self.at("-40d", "--json", "why", want=FAILED).stdout)
        self.assertEqual(j["refused"]["reason"], "expired")
        self.assertIn("wrong", j["notes"][0])
        # and a clock that is right is not mentioned
        j = self.h.json("why", want=FAILED)
        self.assertEqual(j["notes"], [])

    def test_clock_behind_its_build(self):
        """A host that has verified nothing yet goes by the age of its own system."""
        built = max(int(os.stat(p).st_mtime) for p in ("/usr/lib/clock-epoch", "/usr/lib/os-release")
                    if os.path.exists(p))
        if built < 10**9:
            self.skipTest("the files of this system have no time")
        for n in ("record.0", "record.1"):
            (self.h.state / n).unlink()
        self.shop.repo.signed["timestamp"]["expires"] = when = datetime.datetime.fromtimestamp(
            built - 86400, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.publish()
        offset = "-%dd" % ((datetime.datetime.now().timestamp() - built) // 86400 + 1000)
        p = self.at(offset, "why", want=FAILED)
        self.behind(p.stdout, "the build of the system it runs")
        self.assertIn("the timestamp role expired %s, 1 d ago" % when, " ".join(p.stdout.split()))
        self.shop.repo.signed["timestamp"]["expires"] = date(5)
        self.publish()
        p = self.at(offset, "why")
        self.behind(p.stdout, "the build of the system it runs")
        self.assertIn("1.1.0", p.stdout)


if __name__ == "__main__":
    unittest.main()
