#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tuf-client against repositories of tuf_repo.py: the honest workflow and every attack that the
TUF specification names. After a refusal the store holds what it held, and the honest repository
works again. PROA_SEED changes the random cases."""
import hashlib, json, os, pathlib, random, shutil, subprocess, sys, tempfile, time, unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tuf_repo import Key, Repo, Server, TOP, canon_bytes, date

BIN = os.environ.get("PROA_BIN", "build/bin")
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
KEYS = [Key() for _ in range(12)]


def changed_roles(files):
    return [f[:-5] for f in files if f[:-5] in TOP]


class Case(unittest.TestCase):
    def start(self, repo=None, init=True, refresh=True, **kw):
        self.repo = repo or Repo(**kw)
        self.server = Server(self.repo)
        self.addCleanup(self.server.close)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tuf."))
        self.addCleanup(shutil.rmtree, self.dir)
        (self.dir / "md").mkdir()
        (self.dir / "out").mkdir()
        if init:
            self.assertEqual(self.init(self.repo.files["metadata/1.root.json"]), 0, self.err)
        if refresh:
            self.good()
        return self.repo

    def call(self, *args, prefix=(), env=None):
        p = subprocess.run([*prefix, BIN + "/tuf-client", *args], capture_output=True, text=True,
                           timeout=120, env={**os.environ, **(env or {})}, errors="replace")
        self.err = p.stderr
        self.assertIn(p.returncode, (0, 1), p.stderr)
        self.assertNotIn("Sanitizer", p.stderr)
        return p.returncode

    def init(self, root):
        (self.dir / "root").write_bytes(root)
        return self.call("--metadata-dir", str(self.dir / "md"), "init", str(self.dir / "root"))

    def refresh(self, **kw):
        self.server.requests.clear()
        return self.call("--metadata-url", self.server.url + "metadata/", "--metadata-dir",
                         str(self.dir / "md"), "refresh", **kw)

    def download(self, *names, **kw):
        self.server.requests.clear()
        args = [a for n in names for a in ("--target-name", n)]
        return self.call("--metadata-url", self.server.url + "metadata/", "--metadata-dir",
                         str(self.dir / "md"), *args, "--target-dir", str(self.dir / "out"),
                         "--target-base-url", self.server.url + "targets/", "download", **kw)

    def store(self):
        return {p.name: p.read_bytes() for p in (self.dir / "md").iterdir()}

    def versions(self):
        return {n[:-5]: json.loads(d)["signed"]["version"] for n, d in self.store().items()}

    def outputs(self):
        return sorted(p.read_bytes() for p in (self.dir / "out").iterdir())

    def good(self):
        self.assertEqual(self.refresh(), 0, self.err)

    def bad(self, reason, changed=(), call=None):
        """Refused for that reason; only the files named changed; one sentence on stderr."""
        before = self.store()
        self.assertEqual((call or self.refresh)(), 1, "accepted: " + reason)
        self.assertIn("[%s]" % reason, self.err)
        self.assertEqual(self.err.count("\n"), 1, self.err)
        after = self.store()
        self.assertEqual({n for n in {*before, *after} if before.get(n) != after.get(n)},
                         set(changed), self.err)

    def attack(self, reason, do, changed=(), call=None):
        """do() makes the repository hostile; afterwards the honest one must work again."""
        saved = self.repo.save()
        do()
        hostile = {r: self.repo.signed[r]["version"] for r in changed_roles(changed)}
        self.bad(reason, changed, call)
        seen = self.versions()
        self.repo.restore(saved)
        self.server.hook = None
        # who signed an attack with the right key spent its version; the honest one goes past it
        for role in ("timestamp", "snapshot", "targets"):
            body = self.repo.signed[role]
            body["version"] = max(body["version"], seen.get(role, 0), hostile.get(role, 0))
        self.repo.touch()
        self.good()


class Honest(Case):
    def test_clean(self):
        for kind in ("ed25519", "ecdsa", "rsa"):
            for consistent in (True, False):
                for listed in (True, False):
                    with self.subTest(kind=kind, consistent=consistent, listed=listed):
                        self.one_clean(kind, consistent, listed)

    def one_clean(self, kind, consistent, listed):
        repo = self.start(Repo(consistent, kind, listed), refresh=False)
        repo.add_target("a/b c.txt", b"hello", algorithms=("sha256", "sha512"))
        repo.add_target("x512", b"five", algorithms=("sha512",))
        repo.add_target("empty", b"")
        repo.touch()
        self.good()
        p = "2." if consistent else ""
        self.assertEqual(self.server.requests, ["metadata/2.root.json", "metadata/timestamp.json",
                         "metadata/%ssnapshot.json" % p, "metadata/%stargets.json" % p])
        self.assertEqual(self.store(), {
            "root.json": repo.files["metadata/1.root.json"],
            "timestamp.json": repo.files["metadata/timestamp.json"],
            "snapshot.json": repo.files["metadata/%ssnapshot.json" % p],
            "targets.json": repo.files["metadata/%stargets.json" % p]})
        self.good()
        self.assertEqual(self.server.requests, ["metadata/2.root.json", "metadata/timestamp.json"])
        self.assertEqual(self.download("a/b c.txt", "x512", "empty"), 0, self.err)
        self.assertEqual(self.outputs(), [b"", b"five", b"hello"])
        self.assertEqual(self.download("a/b c.txt", "x512", "empty"), 0, self.err)
        self.assertFalse([r for r in self.server.requests if r.startswith("targets/")])
        self.assertEqual(self.download("nonexistent artifact"), 1)
        self.assertIn("[no-target]", self.err)

    def test_nothing_at_all(self):
        self.start(init=False, refresh=False)
        self.assertEqual(self.refresh(), 1)
        self.assertEqual(self.server.requests, [])
        for args in ((), ("init",), ("--metadata-dir", str(self.dir / "md")), ("--bogus",),
                     ("--metadata-dir", "/nonexistent", "init", "/nonexistent")):
            self.assertEqual(self.call(*args), 1)
        self.assertEqual(self.call("--help"), 0)

    def test_root_chain(self):
        repo = self.start()
        for i in range(20):
            repo.set_keys("root", [KEYS[(i + 1) % 12]], sign=[KEYS[(i + 1) % 12], *repo.signers["root"]])
            repo.publish("root")
            repo.signers["root"] = [KEYS[(i + 1) % 12]]
        self.good()
        self.assertEqual(self.versions()["root"], 21)
        self.assertEqual(self.server.requests[:21],
                         ["metadata/%d.root.json" % v for v in range(2, 23)])

    def test_403_ends_the_roots(self):
        self.start()
        self.server.hook = lambda p: 403 if p.endswith("root.json") else None
        self.good()
        self.server.hook = lambda p: 500 if p.endswith("root.json") else None
        self.assertEqual(self.refresh(), 1)

    def test_equal_timestamp_is_discarded(self):
        repo = self.start()
        before = self.store()
        repo.signed["timestamp"]["meta"]["snapshot.json"]["version"] = 100
        repo.publish("timestamp", bump=False)
        self.good()
        self.assertEqual(self.store(), before)
        self.assertEqual(self.server.requests[-1], "metadata/timestamp.json")

    def test_clock(self):
        """What expires is judged by the clock (faketime), and expired files still are references."""
        repo = self.start(refresh=False)
        repo.signed["timestamp"]["expires"] = date(7)
        repo.touch()
        self.good()
        fake = dict(prefix=("faketime", "+18 days"), env={
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0:detect_leaks=0"})
        if shutil.which("faketime"):
            self.assertEqual(self.refresh(**fake), 1)
            self.assertIn("[expired]", self.err)
            repo.signed["timestamp"]["expires"] = date(21)
            repo.touch()
            self.assertEqual(self.refresh(**fake), 0, self.err)
        self.assertEqual(self.versions()["timestamp"], repo.signed["timestamp"]["version"] if
                         shutil.which("faketime") else 2)

    def test_missing_pieces_are_fetched(self):
        for lost in ("timestamp", "snapshot", "targets"):
            self.start()
            want = self.store()
            (self.dir / "md" / (lost + ".json")).unlink()
            self.good()
            self.assertEqual(self.store(), want)
            (self.dir / "md" / (lost + ".json")).write_bytes(b"rotten\0")
            self.good()
            self.assertEqual(self.store(), want)

    def test_unknown_members_are_covered(self):
        """Random members everywhere; signatures are made over Python's canonical form."""
        rnd = random.Random(SEED)
        print("seed", SEED)
        chars = "ab\"\\/\n\t\r\b\f\x01\x1f\x7f\u00e9\u20ac\U0001f600\ufeff\u2028 {}[]:,"

        def text():
            return "".join(rnd.choice(chars) for _ in range(rnd.randrange(9)))

        def value(depth):
            k = rnd.randrange(8 if depth else 6)
            if k < 2:
                return text()
            if k < 4:
                return rnd.choice([0, 1, -1, rnd.randrange(-2**63, 2**63), 2**63 - 1])
            if k < 6:
                return rnd.choice([True, False, None])
            if k == 6:
                return [value(depth - 1) for _ in range(rnd.randrange(5))]
            return {text(): value(depth - 1) for _ in range(rnd.randrange(6))}

        for _ in range(10):
            repo = self.start(refresh=False)
            for _ in range(200):
                root = repo.signed["root"]
                repo.style = dict(indent=rnd.choice([None, 0, 3]), ensure_ascii=rnd.random() < 0.5,
                                  sort_keys=rnd.random() < 0.5)
                root["x-" + text()] = value(4)
                k = Key(extra={"x" + text(): value(2)})
                repo.set_keys("root", [k], sign=[k, *repo.signers["root"]])
                root["keys"] = {i: root["keys"][i] for r in root["roles"].values() for i in r["keyids"]}
                repo.publish("root")
                repo.signers["root"] = [k]
                for n in [n for n in root if n.startswith("x-")][:-3]:
                    del root[n]
            self.good()
            self.assertEqual(self.versions()["root"], 201)


class Roots(Case):
    def chain(self, *steps):
        """steps: (keys, threshold, signers, good); the client ends at the last good one."""
        repo = Repo()
        repo.files.clear()
        repo.signed["root"]["version"] = 0
        good = 0
        for keys, threshold, signers, ok in steps:
            repo.set_keys("root", [KEYS[i] for i in keys], threshold, [KEYS[i] for i in signers])
            repo.publish("root")
            good += ok
        repo.publish("targets", "snapshot", "timestamp")
        self.start(repo, refresh=False)
        self.assertEqual(self.refresh(), 0 if good == len(steps) else 1, (steps, self.err))
        self.assertEqual(self.store()["root.json"], repo.files["metadata/%d.root.json" % good])
        if good < len(steps):
            self.assertIn("[unsigned]", self.err)

    def test_rotation(self):
        self.chain(([1], 1, [1], 1), ([2], 1, [2, 1], 1), ([2], 1, [2], 1))
        self.chain(([1], 1, [3, 1, 4], 1), ([2], 1, [3, 2, 1, 4], 1))
        self.chain(([0, 1, 2, 3, 4], 3, [0, 2, 4], 1), ([5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7], 1))
        self.chain(([1, 2, 3], 2, [1, 2], 1), ([1, 2, 3], 1, [1, 2], 1), ([1, 2, 3], 1, [1], 1))
        self.chain(([1], 1, [1], 1), ([2], 1, [2, 3], 0))
        self.chain(([1], 1, [1], 1), ([2], 1, [1, 3], 0))
        self.chain(([1, 2, 3], 1, [1], 1), ([1, 2, 3], 2, [2], 0))
        self.chain(([1, 2, 3], 2, [1, 2], 1), ([1, 2, 3], 1, [1], 0))
        self.chain(([1], 1, [1], 1), ([1], 1, [1], 1), ([2], 2, [1, 2], 0))

    def test_random_rotations(self):
        rnd = random.Random(SEED + 1)
        for _ in range(60):
            steps, old, ok = [], None, 1
            for _ in range(rnd.randrange(2, 7)):
                keys = rnd.sample(range(8), rnd.randrange(1, 5))
                threshold = rnd.randrange(1, len(keys) + 1)
                signers = set(rnd.sample(keys, threshold)) | set(rnd.sample(range(8), 2))
                if old and rnd.random() < 0.85:
                    signers |= set(rnd.sample(old[0], old[1]))
                if steps and rnd.random() < 0.1:
                    signers -= {rnd.choice(sorted(signers))}
                ok = int(ok and len(signers & set(keys)) >= threshold and
                         (not old or len(signers & set(old[0])) >= old[1]))
                steps.append((keys, threshold, rnd.sample(sorted(signers), len(signers)), ok))
                if not ok:
                    break
                old = keys, threshold
            self.chain(*steps)

    def test_bad_initial_root(self):
        repo = Repo()
        root = json.loads(repo.files["metadata/1.root.json"])
        for change in ("version", "unsigned", "type", "empty"):
            j = json.loads(json.dumps(root))
            if change == "version":
                del j["signed"]["version"]
            elif change == "unsigned":
                j["signatures"][0]["sig"] = "30" * 64
            elif change == "type":
                j["signed"]["_type"] = "targets"
            data = b"" if change == "empty" else json.dumps(j).encode()
            self.start(repo, init=False, refresh=False)
            self.assertEqual(self.init(data), 1)
            self.assertEqual(self.store(), {})
            (self.dir / "md" / "root.json").write_bytes(data)
            self.assertEqual(self.refresh(), 1)
            self.assertEqual(self.server.requests, [])

    def test_version_jumps(self):
        repo = self.start()
        for v, reason in ((1, "rollback"), (3, "wrong-version"), (0, "malformed"), (-1, "malformed"),
                          (2**53 + 1, "malformed")):
            def do():
                repo.signed["root"]["version"] = v
                data = repo.dump(repo.envelope(repo.signed["root"], repo.signers["root"]))
                repo.files["metadata/2.root.json"] = data
            self.attack(reason, do)

    def test_too_many(self):
        repo = self.start()
        for _ in range(257):
            repo.publish("root")
        self.bad("many-roots", ["root.json"])
        self.good()
        self.assertEqual(self.versions()["root"], 258)

    def test_expired_root_is_kept(self):
        repo = self.start()
        repo.signed["root"]["expires"] = date(-3)
        repo.publish("root")
        self.bad("expired", ["root.json"])
        self.assertIn("3 days ago", self.err)
        repo.signed["root"]["expires"] = date(3)
        repo.publish("root")
        self.good()

    def test_interrupted_rotation(self):
        """The connection dies behind a new root: it stays, and the next refresh goes on."""
        repo = self.start()
        repo.publish("root", "root")
        self.server.hook = lambda p: 500 if p.endswith("3.root.json") else None
        self.assertEqual(self.refresh(), 1)
        self.assertEqual(self.versions()["root"], 2)
        self.server.hook = None
        self.good()
        self.assertEqual(self.versions()["root"], 3)


class Attacks(Case):
    def test_expired(self):
        for role, changed in (("timestamp", []), ("snapshot", ["timestamp.json"]),
                              ("targets", ["timestamp.json", "snapshot.json"])):
            repo = self.start()

            def do():
                repo.signed[role]["expires"] = date(-2)
                repo.touch()
            self.attack("expired", do, changed)
        # at the very second it expires it is expired
        repo.signed["timestamp"]["expires"] = date(0)
        repo.touch()
        self.bad("expired")

    def test_freeze(self):
        """The mirror keeps serving what it had; when that expires, it is refused."""
        repo = self.start(refresh=False)
        repo.signed["timestamp"]["expires"] = date(0, 2)
        repo.touch()
        self.good()
        while self.refresh() == 0:
            time.sleep(0.2)
        self.assertIn("[expired]", self.err)

    def test_rollback(self):
        repo = self.start()
        repo.touch()
        repo.touch()
        self.good()

        def timestamp():
            repo.signed["timestamp"]["version"] -= 2
            repo.publish("timestamp")

        def snapshot():
            repo.signed["snapshot"]["version"] = 1
            repo.publish("snapshot", bump=False)
            repo.publish("timestamp")

        def targets():
            repo.signed["targets"]["version"] = 1
            repo.publish("targets", bump=False)
            repo.publish("snapshot", "timestamp")

        for self.repo.listed_hashes in (False, True):
            self.attack("rollback", timestamp)
            self.attack("rollback", snapshot)
            self.attack("rollback", targets, ["timestamp.json"])

    def test_removed_from_snapshot(self):
        repo = self.start()
        repo.delegate("targets", "role")
        repo.publish_all()
        self.good()

        def do():
            del repo.signed["snapshot"]["meta"]["role.json"]
            repo.publish("snapshot", "timestamp")
        self.attack("removed", do, ["timestamp.json"])

    def test_unlisted_targets(self):
        repo = self.start(refresh=False)
        del repo.signed["snapshot"]["meta"]["targets.json"]
        repo.publish("snapshot", "timestamp")
        self.bad("unlisted", ["timestamp.json", "snapshot.json"])

    def test_mix_and_match(self):
        for listed in (False, True):
            for consistent in (False, True):
                repo = self.start(Repo(consistent, listed_hashes=listed))
                old = dict(repo.files)
                repo.touch()

                def do(role):
                    repo.files["metadata/" + repo.remote(role)] = \
                        old["metadata/" + repo.remote(role, 1)]
                why = "wrong-hash" if listed else "wrong-version"
                self.attack(why, lambda: do("snapshot"), ["timestamp.json"])
                repo.touch()
                self.attack(why, lambda: do("targets"), ["timestamp.json", "snapshot.json"])

    def test_fast_forward_recovery(self):
        # an attacker with the keys raised versions; new keys in root bring them down again
        for rotated in ("timestamp", "snapshot"):
            repo = self.start()
            for r in ("timestamp", "snapshot", "targets"):
                repo.signed[r]["version"] = 10**6
            repo.touch()
            self.good()
            for r in ("timestamp", "snapshot", "targets"):
                repo.signed[r]["version"] = 1
            repo.touch()
            self.bad("rollback")
            repo.set_keys(rotated, [Key()])
            repo.publish("root", "targets", "snapshot", "timestamp")
            self.good()
            self.assertEqual(self.versions(), dict(root=2, timestamp=3, snapshot=3, targets=3))

    def test_added_key_forgets_nothing(self):
        repo = self.start()
        repo.touch()
        self.good()
        repo.set_keys("timestamp", [*repo.signers["timestamp"], Key()])
        repo.signed["timestamp"]["version"] -= 2
        repo.publish("root", "timestamp")
        self.bad("rollback", ["root.json"])

    def test_arbitrary_software(self):
        repo = self.start()
        for role, changed in (("timestamp", []), ("snapshot", ["timestamp.json"]),
                              ("targets", ["timestamp.json", "snapshot.json"])):
            def unsigned(signers):
                repo.touch()
                data = repo.dump(repo.envelope(repo.signed[role], signers))
                repo.put(role, data)
            for signers in ([], [Key()], [KEYS[0], KEYS[1]]):
                self.attack("unsigned", lambda: unsigned(signers), changed)

    def test_signature_of_other_bytes(self):
        repo = self.start()

        def do():
            repo.touch()
            e = json.loads(repo.files["metadata/timestamp.json"])
            e["signed"]["x"] = 1
            repo.put("timestamp", repo.dump(e))
        self.attack("unsigned", do)

    def test_wrong_type(self):
        repo = self.start()
        shared = Key()
        for r in ("timestamp", "snapshot", "targets"):
            repo.set_keys(r, [shared])
        repo.publish("root", "targets", "snapshot", "timestamp")
        self.good()

        def do():
            repo.signed["snapshot"]["meta"]["snapshot.json"] = {"version": 9}
            repo.publish("snapshot")
            repo.files["metadata/timestamp.json"] = repo.files["metadata/" + repo.remote("snapshot")]
        self.attack("wrong-type", do)

    def test_duplicate_signatures(self):
        repo = self.start()

        def do():
            e = repo.envelope(repo.signed["timestamp"], repo.signers["timestamp"])
            e["signatures"] *= 2
            repo.put("timestamp", repo.dump(e))
        self.attack("duplicate-signature", do)

    def test_one_key_twice(self):
        """Threshold two: by one key under two ids, by an id listed twice, by two ids for one key."""
        repo = self.start()
        k = repo.signers["timestamp"][0]
        saved = repo.save()
        repo.set_keys("timestamp", [k, k.twin({"x": 1})], 2)
        repo.publish("root", "timestamp")
        self.bad("unsigned", ["root.json"])
        repo.restore(saved)
        self.start(repo)
        repo.set_keys("timestamp", [k, k], 2, [k])
        repo.publish("root", "timestamp")
        self.bad("unsigned", ["root.json"])

    def test_compressed_point_is_the_same_key(self):
        from cryptography.hazmat.primitives import serialization as s
        import base64
        repo = self.start(refresh=False)
        k = Key("ecdsa")
        point = k.private.public_key().public_bytes(s.Encoding.X962, s.PublicFormat.CompressedPoint)
        # SubjectPublicKeyInfo of id-ecPublicKey, prime256v1, with the short form of the point
        der = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
        twin = Key("ecdsa", private=k.private)
        twin.obj["keyval"]["public"] = "-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n" % \
            base64.encodebytes(der).decode().replace("\n", "")
        twin.id = hashlib.sha256(canon_bytes(twin.obj)).hexdigest()
        repo.set_keys("timestamp", [twin], 1)
        repo.publish("root", "timestamp")
        self.good()
        repo.set_keys("timestamp", [k, twin], 2)
        repo.publish("root", "timestamp")
        self.bad("unsigned", ["root.json"])

    def test_key_under_another_id(self):
        repo = self.start()
        k, liar = repo.signers["timestamp"][0], Key()
        liar.id = hashlib.sha256(b"some other key").hexdigest()
        repo.set_keys("timestamp", [liar])
        repo.publish("root", "timestamp")
        self.bad("wrong-key-id", ["root.json", "timestamp.json", "snapshot.json"])
        # beside enough honest keys it does no harm
        repo.set_keys("timestamp", [liar, k])
        repo.publish("root", "timestamp")
        self.good()

    def test_unsupported_keys_count_nothing(self):
        repo = self.start(refresh=False)
        small = Key("rsa", bits=1024)
        repo.set_keys("timestamp", [small])
        repo.publish("root", "timestamp")
        self.bad("unsigned", ["root.json"])
        good = Key("rsa", bits=3072)
        odd = Key(extra={"scheme": "dilithium"})
        none = Key(extra={"keyval": {}})
        repo.set_keys("timestamp", [small, odd, none, good])
        repo.publish("root", "timestamp")
        self.good()

    def test_bad_signature_beside_a_good_one(self):
        repo = self.start()
        a, b = repo.signers["timestamp"][0], Key()
        repo.set_keys("timestamp", [a, b])
        repo.publish("root")
        for sig in ("", "zz", "00", "ab" * 64, "f", "1" * 4096):
            repo.signed["timestamp"]["version"] += 1
            e = repo.envelope(repo.signed["timestamp"], [a, b])
            e["signatures"][0]["sig"] = sig
            repo.put("timestamp", repo.dump(e))
            self.good()

    def test_endless_data(self):
        repo = self.start()
        limits = dict(root=512 << 10, timestamp=16 << 10, snapshot=2 << 20, targets=5 << 20)
        changed = dict(root=[], timestamp=[], snapshot=["timestamp.json"],
                       targets=["timestamp.json", "snapshot.json"])
        sent = []

        def endless(h):
            n = 0
            h.send_response(200)
            h.send_header("Connection", "close")
            h.end_headers()
            try:
                while n < 64 << 20:
                    h.wfile.write(b" " * 65536)
                    n += 65536
            except OSError:
                pass
            sent.append(n)
            h.close_connection = True
        for role, limit in limits.items():
            def do():
                repo.touch()
                self.server.hook = lambda p: endless if p.endswith(role + ".json") else None
            self.attack("too-large", do, changed[role])
        self.assertTrue(all(n < 32 << 20 for n in sent), sent)

    def test_one_byte_more_than_listed(self):
        repo = self.start(listed_hashes=True)
        for role, changed in (("snapshot", ["timestamp.json"]),
                              ("targets", ["timestamp.json", "snapshot.json"])):
            def longer():
                repo.touch()
                repo.files["metadata/" + repo.remote(role)] += b" "
            self.attack("too-large", longer, changed)

            def shorter():
                repo.touch()
                repo.files["metadata/" + repo.remote(role)] = repo.files["metadata/" + repo.remote(role)][:-1]
            self.attack("wrong-hash", shorter, changed)

    def test_length_alone(self):
        """No hashes are listed and the signature is good, but white space is missing."""
        repo = self.start()

        def do():
            repo.publish("targets")
            name = "metadata/" + repo.remote("targets")
            repo.signed["snapshot"]["meta"]["targets.json"]["length"] = len(repo.files[name]) + 1
            repo.publish("snapshot", "timestamp")
        self.attack("wrong-hash", do, ["timestamp.json", "snapshot.json"])

    def test_listed_length_beyond_the_limit(self):
        repo = self.start()

        def snapshot():
            repo.publish("targets", "snapshot")
            repo.signed["timestamp"]["meta"]["snapshot.json"]["length"] = 2**40
            repo.publish("timestamp")

        def targets():
            repo.publish("targets")
            repo.signed["snapshot"]["meta"]["targets.json"]["length"] = 2**40
            repo.publish("snapshot", "timestamp")
        self.attack("too-large", snapshot, ["timestamp.json"])
        self.attack("too-large", targets, ["timestamp.json", "snapshot.json"])

    def test_absent(self):
        repo = self.start()
        for role, changed in (("timestamp", []), ("snapshot", ["timestamp.json"]),
                              ("targets", ["timestamp.json", "snapshot.json"])):
            def do():
                repo.touch()
                del repo.files["metadata/" + repo.remote(role)]
            self.attack("absent", do, changed)

    def test_shapes(self):
        """Signed by the right key and yet not of the right shape."""
        def variants(body, role):
            for f in ("_type", "spec_version", "version", "expires"):
                yield {k: v for k, v in body.items() if k != f}
                for v in (None, 1.5, [], {}, "", -1, 2**63 - 1, True, "x" * 5000):
                    if not (f == "version" and v in (1, 2)):
                        yield {**body, f: v}
            yield {**body, "spec_version": "2.0.0"}
            yield {**body, "expires": "2099-01-01"}
            yield {**body, "expires": "2099-02-30T00:00:00Z"}
            for bad in (None, 7, "x", [], True):
                yield {**body, dict(timestamp="meta", snapshot="meta", targets="targets")[role]: bad}
            yield {**body, "x": 0.5}
            yield {**body, "x": [[1e300]]}
            if role == "timestamp":
                for m in ({}, {"snapshot.json": 1}, {"snapshot.json": {}},
                          {"snapshot.json": {"version": 0}}, {"snapshot.json": {"version": "1"}},
                          {"snapshot.json": {"version": 1, "length": -1}},
                          {"snapshot.json": {"version": 1, "hashes": []}},
                          {"snapshot.json": {"version": 1, "hashes": {"sha256": "xyz"}}}):
                    yield {**body, "meta": m}
            if role == "targets":
                ok = {"length": 1, "hashes": {"sha256": "0" * 64}}
                for t in ({"": ok}, {"a": 1}, {"a": {}}, {"a": {**ok, "length": -1}},
                          {"a": {**ok, "length": 2.0}}, {"a": {**ok, "hashes": {"sha256": 1}}},
                          {"a": {**ok, "custom": 3}}, {"p" * 1025: ok}, {"a": {"length": 1}}):
                    yield {**body, "targets": t}
                d = {"name": "r", "keyids": [], "threshold": 1, "terminating": False, "paths": ["*"]}
                for r in ({}, 5, {**d, "name": ""}, {**d, "name": "root"}, {**d, "name": "snapshot"},
                          {**d, "name": "x" * 241}, {**d, "name": "\x01" * 81}, {**d, "threshold": 0},
                          {**d, "threshold": -1}, {**d, "keyids": "x"}, {**d, "keyids": [1]},
                          {**d, "paths": None}, {**d, "paths": "x"}, {**d, "paths": [1]},
                          {**d, "path_hash_prefixes": ["00"]}, {**d, "terminating": "no"},
                          {k: v for k, v in d.items() if k != "paths"}):
                    yield {**body, "delegations": {"keys": {}, "roles": [r]}}
                yield {**body, "delegations": {"keys": {}, "roles": [d, d]}}
                yield {**body, "delegations": {"keys": [], "roles": [d]}}
                yield {**body, "delegations": {"keys": {"a": 1}, "roles": [d]}}
                yield {**body, "delegations": {"keys": {}}}
                yield {**body, "delegations": 1}

        for role, changed in (("timestamp", []), ("snapshot", []), ("targets", [])):
            repo = self.start()
            repo.touch()
            if role == "snapshot":
                self.server.hook = lambda p: 404 if p.endswith("snapshot.json") else None
                self.bad("absent", ["timestamp.json"])
            if role == "targets":
                self.server.hook = lambda p: 404 if p.endswith("targets.json") else None
                self.bad("absent", ["timestamp.json", "snapshot.json"])
            self.server.hook = None
            honest = repo.files["metadata/" + repo.remote(role)]
            k = repo.signers[role][0]
            n = 0
            for body in variants(repo.signed[role], role):
                data = canon_with_floats(body)
                repo.put(role, repo.dump({"signatures": [{"keyid": k.id, "sig": k.sign(data)}],
                                          "signed": body}))
                before = self.store()
                self.assertEqual(self.refresh(), 1, (role, str(body)[:300]))
                self.assertRegex(self.err, r"\[(malformed|wrong-type)\]", str(body)[:300])
                self.assertEqual(self.store(), before)
                n += 1
            repo.put(role, honest)
            self.good()
            print(role, n, "shapes refused")

    def test_envelopes(self):
        repo = self.start()
        honest = repo.files["metadata/timestamp.json"]
        e = json.loads(honest)
        s = e["signatures"][0]
        many = [{"keyid": "%064x" % i, "sig": "00"} for i in range(300)]
        texts = [b"", b"null", b"[]", b"{}", b"1", b"\xff\xfe", honest + b"x", honest + honest,
                 b"\xef\xbb\xbf" + honest, b"[" * 100000, b'{"a":' * 100000,
                 b'{"signed":' * 40 + b"1" + b"}" * 40,
                 honest.replace(b'"_type"', b'"_type":"timestamp","_type"'),
                 honest.replace(b'"signed"', b'"signed":{},"signed"'),
                 honest.replace(b'"version": 1', b'"version": 99999999999999999999999'),
                 honest.replace(b'"version": 1', b'"version": 1e5'),
                 honest.replace(b'"version": 1', b'"version": 01'),
                 honest.replace(b'"1.0.34"', b'"1.0.34\xff"'),
                 honest.replace(b'"1.0.34"', b'"1.0.34\xed\xa0\x80"'),
                 honest.replace(b'"1.0.34"', b'"1.0.34\\ud800"'),
                 honest.replace(b'"1.0.34"', b'"1.0.34\\u0000"'),
                 honest.replace(b'"1.0.34"', b'"1.0.34\x00"'),
                 honest.replace(b'"1.0.34"', b'"1.0.34\n"')]
        texts += [repo.dump(x) for x in (
            {"signed": e["signed"]}, {"signatures": [s]}, {"signatures": {}, "signed": e["signed"]},
            {"signatures": [1], "signed": e["signed"]}, {"signatures": [s], "signed": []},
            {"signatures": [{"sig": s["sig"]}], "signed": e["signed"]},
            {"signatures": [{"keyid": s["keyid"]}], "signed": e["signed"]},
            {"signatures": [{"keyid": s["keyid"], "sig": 1}], "signed": e["signed"]},
            {"signatures": many + [s], "signed": e["signed"]})]
        before = self.store()
        for t in texts:
            self.assertNotEqual(t, honest)
            repo.files["metadata/timestamp.json"] = t
            self.assertEqual(self.refresh(), 1, t[:200])
            self.assertRegex(self.err, r"\[(malformed|too-large)\]", t[:200])
            self.assertEqual(self.store(), before)
        repo.files["metadata/timestamp.json"] = honest
        self.good()

    def test_truncated(self):
        """Every byte is cut at in tests/unit/test_tuf_update.c; here some, over HTTP."""
        repo = self.start()
        repo.style = dict(indent=None)
        repo.touch()
        whole = repo.files["metadata/timestamp.json"]
        before = self.store()
        for n in [*range(0, len(whole), 11), len(whole) - 1]:
            repo.files["metadata/timestamp.json"] = whole[:n]
            self.assertEqual(self.refresh(), 1, n)
            self.assertIn("[malformed]", self.err)
        self.assertEqual(self.store(), before)
        repo.files["metadata/timestamp.json"] = whole
        self.good()


def canon_with_floats(o):
    try:
        return canon_bytes(o)
    except TypeError:
        return json.dumps(o, sort_keys=True, separators=(",", ":")).encode()


class Delegations(Case):
    def roles_asked(self):
        names = [r[len("metadata/"):-len(".json")] for r in self.server.requests
                 if r.startswith("metadata/")]
        return [n.split(".", 1)[1] for n in names
                if n != "timestamp" and not n.endswith((".root", ".snapshot", ".targets"))]

    def graph(self, edges, want, path="missingpath"):
        """edges: (delegator, role, terminating, paths); want: the order in which roles are asked"""
        repo = self.start(refresh=False)
        for d, r, term, paths in edges:
            known = r in repo.signed
            repo.delegate(d, r, paths, terminating=term, keys=repo.signers[r] if known else None)
        repo.publish_all()
        self.assertEqual(self.download(path), 1)
        self.assertEqual(self.roles_asked(), want)
        self.assertIn("[no-target]", self.err)

    def test_graphs(self):
        T, F, star, py = True, False, ["*"], ["*.py"]
        t = "targets"
        self.graph([(t, "A", F, star), (t, "B", F, star), ("A", "C", F, star), ("A", "D", F, star)],
                   ["A", "C", "D", "B"])
        self.graph([(t, "A", F, star), (t, "B", F, star), ("A", "C", T, star), ("A", "D", F, star)],
                   ["A", "C"])
        self.graph([(t, "A", F, star), (t, "B", F, star), ("A", "C", T, star), ("C", "D", F, star)],
                   ["A", "C", "D"])
        self.graph([(t, "A", F, py), (t, "B", F, star), ("A", "C", F, star)], ["B"])
        self.graph([(t, "A", F, star), (t, "B", F, star), ("A", "C", F, py), ("C", "D", F, star)],
                   ["A", "B"])
        self.graph([(t, "A", F, star), (t, "B", F, star), ("B", "C", F, star), ("C", "D", F, star),
                    ("D", "B", F, star)], ["A", "B", "C", "D"])
        self.graph([(t, "A", F, star), (t, "B", F, star), ("B", "C", F, star), ("A", "C", F, star)],
                   ["A", "C", "B"])
        self.graph([(t, "A", F, star), (t, "B", F, star), ("B", "C", F, star), ("A", "C", F, py)],
                   ["A", "B", "C"])
        self.graph([(t, "A", T, py), (t, "B", F, star)], ["B"])

    def test_first_match_wins(self):
        repo = self.start(refresh=False)
        repo.delegate("targets", "A")
        repo.delegate("targets", "B")
        repo.add_target("x", b"of B", "B")
        repo.add_target("x", b"of A", "A")
        repo.add_target("top", b"of A", "A")
        repo.add_target("top", b"of targets")
        repo.publish_all()
        self.assertEqual(self.download("x", "top"), 0, self.err)
        self.assertEqual(self.outputs(), [b"of A", b"of targets"])

    def test_patterns(self):
        repo = self.start(refresh=False)
        repo.delegate("targets", "A", ["releases/*/*"])
        repo.delegate("A", "B", ["releases/x/*.zip", "releases/?/v[1]"])
        for p in ("releases/x/a.zip", "releases/x/a.tar", "releases/x/y/a.zip", "other/x/a.zip",
                  "releases/y/v[1]", "releases/y/v1", "releases/yy/v[1]", "releases/x/.zip"):
            repo.add_target(p, p.encode(), "B")
        repo.publish_all()
        for p, found in (("releases/x/a.zip", 0), ("releases/x/a.tar", 1), ("releases/x/y/a.zip", 1),
                         ("other/x/a.zip", 1), ("releases/y/v[1]", 0), ("releases/y/v1", 1),
                         ("releases/yy/v[1]", 1), ("releases/x/.zip", 0)):
            self.assertEqual(self.download(p), found, (p, self.err))

    def test_hash_bins(self):
        repo = self.start(refresh=False)
        for i in range(16):
            repo.delegate("targets", "bin%x" % i, prefixes=["%x" % i])
        for i in range(20):
            p = "file%d" % i
            repo.add_target(p, p.encode(), "bin" + hashlib.sha256(p.encode()).hexdigest()[0])
        repo.add_target("stray", b"s", "bin%x" % (15 - int(hashlib.sha256(b"stray").hexdigest()[0], 16)))
        repo.publish_all()
        self.assertEqual(self.download(*["file%d" % i for i in range(20)]), 0, self.err)
        self.assertEqual(self.download("stray"), 1)

    def test_names(self):
        for name, quoted in (("?", "%3F"), ("#", "%23"), ("/delegatedrole", "%2Fdelegatedrole"),
                             ("../delegatedrole", "..%2Fdelegatedrole"), ("..", ".."), (".", "."),
                             ("a b%2e\u00e9", "a%20b%252e%C3%A9"), ("1.root", "1.root"),
                             ("x\n\x1b[31m", "x%0A%1B%5B31m")):
            for consistent in (True, False):
                repo = self.start(Repo(consistent), refresh=False)
                repo.delegate("targets", name)
                repo.publish_all()
                self.assertEqual(self.download("nothing"), 1)
                self.assertIn("metadata/%s%s.json" % ("1." if consistent else "", quoted),
                              self.server.requests)
                self.assertEqual(sorted(self.store()), sorted(
                    ["root.json", "timestamp.json", "snapshot.json", "targets.json", quoted + ".json"]))
                self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["md", "out", "root"])
                repo.signed[name]["expires"] = date(-1)
                repo.publish_all()
                self.assertEqual(self.download("nothing"), 1)
                self.assertIn("[expired]", self.err)
                self.assertNotIn("\x1b", self.err)
                self.assertEqual(self.err.count("\n"), 1)

    def test_refusals_of_a_delegated_role(self):
        def mutate(do, why, changed=("timestamp.json", "snapshot.json", "targets.json")):
            repo = self.start(refresh=False)
            keys = repo.delegate("targets", "A", keys=[Key(), Key()], threshold=2)
            repo.add_target("x", b"x", "A")
            repo.publish_all()
            self.assertEqual(self.download("x"), 0, self.err)
            (self.dir / "out" / "x").unlink()
            do(repo, keys)
            self.bad(why, changed, lambda: self.download("x"))
            self.assertEqual(self.outputs(), [])

        def expired(repo, keys):
            repo.signed["A"]["expires"] = date(-1)
            repo.publish_all()

        def one_signature(repo, keys):
            repo.signers["A"] = keys[:1]
            repo.publish_all()

        def unlisted(repo, keys):
            repo.delegate("targets", "B", terminating=True)
            repo.signed["targets"]["delegations"]["roles"].reverse()
            repo.publish("targets", "snapshot", "timestamp")

        def other_version(repo, keys):
            repo.publish_all()
            repo.signed["A"]["version"] += 1
            data = repo.dump(repo.envelope(repo.signed["A"], keys))
            repo.signed["A"]["version"] -= 1
            repo.put("A", data)

        mutate(expired, "expired")
        mutate(one_signature, "unsigned")
        mutate(unlisted, "unlisted")
        mutate(other_version, "wrong-version")
        repo = self.start(refresh=False)
        repo.delegate("targets", "A")
        repo.publish_all()
        repo.publish_all()
        self.good()
        repo.signed["A"]["version"] = 0
        repo.publish("A", "snapshot", "timestamp")
        self.bad("rollback", ["timestamp.json"])

    def test_stored_role_and_another_delegator(self):
        """B may not use C's file that only A's key for C vouches for."""
        repo = self.start(refresh=False)
        repo.delegate("targets", "A", ["a*"])
        repo.delegate("targets", "B", ["b*"])
        repo.delegate("A", "C", ["*"])
        repo.delegate("B", "C", ["*"], keys=[Key()])
        repo.add_target("a1", b"a1", "C")
        repo.add_target("b1", b"b1", "C")
        repo.publish_all()
        self.assertEqual(self.download("a1"), 0, self.err)
        self.assertEqual(self.download("b1"), 1)
        self.assertIn("[unsigned]", self.err)
        self.assertEqual(self.download("a1", "b1"), 1)
        self.assertIn("[unsigned]", self.err)
        self.assertEqual(self.outputs(), [b"a1"])

    def test_stored_role_is_reused(self):
        repo = self.start(refresh=False)
        repo.delegate("targets", "A")
        repo.add_target("x", b"x", "A")
        repo.publish_all()
        self.assertEqual(self.download("x"), 0)
        self.assertEqual(self.roles_asked(), ["A"])
        (self.dir / "out" / "x").unlink()
        self.assertEqual(self.download("x"), 0)
        self.assertNotIn("metadata/1.A.json", self.server.requests)

    def test_too_many_roles(self):
        repo = self.start(refresh=False)
        last = "targets"
        for i in range(40):
            repo.delegate(last, "r%d" % i)
            last = "r%d" % i
        repo.add_target("near", b"1", "r31")
        repo.add_target("far", b"1", "r32")
        repo.publish_all()
        self.assertEqual(self.download("near"), 0, self.err)
        self.assertEqual(self.download("far"), 1)
        self.assertIn("[many-roles]", self.err)


class Targets(Case):
    def test_wrong_bytes(self):
        repo = self.start(refresh=False)
        repo.add_target("d/x", b"right", algorithms=("sha256", "sha512"))
        repo.touch()
        for wrong in (b"wrong", b"righ", b"right!", b"", b"x" * 10**6):
            for n in [n for n in repo.files if n.startswith("targets/")]:
                repo.files[n] = wrong
            self.assertEqual(self.download("d/x"), 1)
            self.assertIn("[wrong-hash]", self.err)
            self.assertEqual(self.outputs(), [])

    def test_unknown_hashes_only(self):
        repo = self.start(refresh=False)
        repo.add_target("x", b"x", algorithms=("md5",))
        repo.add_target("y", b"y", algorithms=("blake2b", "sha256"))
        repo.touch()
        self.assertEqual(self.download("x"), 1)
        self.assertIn("[unknown-hash]", self.err)
        self.assertEqual(self.download("y"), 0, self.err)

    def test_paths_stay_inside(self):
        repo = self.start(refresh=False)
        for p in ("../../evil", "/etc/evil", "..", ".hidden", "a" * 1000):
            repo.add_target(p, b"e")
        repo.touch()
        self.server.hook = lambda r: b"e" if r.startswith("targets/") else None
        for p in ("../../evil", "/etc/evil", "..", ".hidden", "a" * 1000):
            self.assertEqual(self.download(p), 0, self.err)
        self.assertEqual(len(self.outputs()), 5)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["md", "out", "root"])


class Differential(Case):
    """Random repositories, for a client that knows root 1 only; a model in Python says how far it
    gets. The model and the client share nothing but the specification."""

    def test_model(self):
        rnd = random.Random(SEED + 2)
        outcome = {}
        for n in range(int(os.environ.get("PROA_RUNS", "120"))):
            repo = Repo(consistent=rnd.random() < 0.7, listed_hashes=rnd.random() < 0.5)
            stop = None
            for role in ("timestamp", "snapshot", "targets"):
                keys = rnd.sample(KEYS, rnd.randrange(1, 5))
                threshold = rnd.randrange(1, len(keys) + 1)
                signers = rnd.sample(keys, threshold if rnd.random() < 0.9 else threshold - 1)
                signers += rnd.sample([k for k in KEYS if k not in keys], rnd.randrange(3))
                rnd.shuffle(signers)
                repo.set_keys(role, keys, threshold, signers)
            repo.signed["root"]["version"] = 0
            repo.publish("root")
            faults = {}
            for role in ("targets", "snapshot", "timestamp"):
                body = repo.signed[role]
                f = rnd.choice(["none"] * 12 + ["expired", "bitflip", "dup", "cut", "swap"])
                faults[role] = f
                if f == "expired":
                    body["expires"] = date(-1)
                repo.publish(role)
                name = "metadata/" + repo.remote(role)
                if f == "bitflip":
                    e = json.loads(repo.files[name])
                    s = rnd.choice(e["signatures"]) if e["signatures"] else {"sig": "00"}
                    s["sig"] = ("1" if s["sig"][0] == "0" else "0") + s["sig"][1:]
                    repo.files[name] = repo.dump(e)
                    faults[role] = "bitflip:" + s.get("keyid", "")
                elif f == "dup":
                    e = json.loads(repo.files[name])
                    e["signatures"] += e["signatures"][:1]
                    repo.files[name] = repo.dump(e)
                elif f == "cut":
                    repo.files[name] = repo.files[name][:rnd.randrange(len(repo.files[name]))]
                elif f == "swap":
                    repo.files[name] = repo.files["metadata/" + repo.remote("targets")]
            want = ["root"]
            for role in ("timestamp", "snapshot", "targets"):
                f, who = faults[role], repo.signed["root"]["roles"][role]
                data = repo.files["metadata/" + repo.remote(role)]
                ids = {k.id for k in repo.signers[role]} & set(who["keyids"])
                ids -= {f[len("bitflip:"):]} if f.startswith("bitflip") else set()
                listed = {} if role == "timestamp" else repo.signed[
                    "timestamp" if role == "snapshot" else "snapshot"]["meta"][role + ".json"]
                ok = len(ids) >= who["threshold"] and f not in ("expired", "cut")
                ok = ok and not (f == "swap" and role != "targets")
                ok = ok and not (f == "dup" and repo.signers[role])
                if "hashes" in listed:
                    ok = ok and hashlib.sha256(data).hexdigest() == listed["hashes"]["sha256"]
                if not ok:
                    break
                want.append(role)
            self.start(repo, refresh=False)
            rc = self.refresh()
            self.assertEqual((rc, sorted(self.versions())), (int(len(want) < 4), sorted(want)),
                             (n, SEED, faults, self.err))
            outcome[len(want)] = outcome.get(len(want), 0) + 1
            self.doCleanups()
        print("seed", SEED, "got as far as", dict(sorted(outcome.items())))
        self.assertEqual(len(outcome), 4)


if __name__ == "__main__":
    unittest.main()
