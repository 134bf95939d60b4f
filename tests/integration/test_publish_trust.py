#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys, thresholds, offline signing, rotation and recovery of proa-publish. Judges: the code of
publish_lab.py on python3-cryptography, tuf-client, openssl, and SoftHSM for PKCS#11.

Environment: PROA_BIN (directory of the programs), PROA_SEED.
"""
import copy
import json
import os
import random
import shutil
import subprocess
import time
import unittest

import tuf_repo
from cryptography.hazmat.primitives import serialization
from publish_lab import BIN, SEED, Case, at_terminal, faketime, judge, publish, run, snapshot_of

SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"


class Keys(Case):
    def test_kinds(self):
        """ed25519, P-256 and RSA-PSS in every role, each checked by other code."""
        for kind in ("ed25519", "ecdsa", "rsa"):
            self.key("a-" + kind, kind=kind)
            self.key("b-" + kind, kind=kind)
        edits = [a for role in ("root", "targets", "stable", "snapshot", "timestamp")
                 for kind in ("ed25519", "ecdsa", "rsa")
                 for a in ("--add-key", "%s=%s" % (role, self.dir / ("a-" + kind) / ("a-%s.pub" % kind)))]
        self.keys.mkdir()
        for role in ("snapshot", "timestamp"):
            for n, kind in enumerate(("ed25519", "ecdsa", "rsa")):
                shutil.copy(self.pem("a-" + kind), self.keys / (role + (".%d" % (n + 1) if n else "") + ".pem"))
        publish("init", self.repo, "--image", "web", "--keys", self.keys, "--channel", "stable", *edits,
                "--threshold", "root=3", "--propose", self.fresh("p.json"))
        self.sign(*[self.pem("a-" + kind) for kind in ("ed25519", "ecdsa", "rsa")])
        self.submit()
        docs = judge(self.repo)
        for role in ("root", "targets", "stable", "snapshot", "timestamp"):
            self.assertEqual(len(docs[role]["signatures"]), 3, role)
        self.assertEqual(docs["root"]["signed"]["roles"]["targets"]["threshold"], 2)
        self.client()

    def test_encrypted(self):
        """A passphrase from every place, in their order, and each way to fail."""
        secret = self.dir / "secret"
        secret.write_text("correct horse\nsecond line\n")
        self.key("ada", "--passphrase-file", secret)
        pem = self.pem("ada").read_bytes()
        self.assertIn(b"ENCRYPTED PRIVATE KEY", pem)
        serialization.load_pem_private_key(pem, b"correct horse")
        self.assertIn(":0927C0\n", run("openssl", "asn1parse", "-in", self.pem("ada")).stdout)  # 600000
        creds = self.dir / "creds"
        creds.mkdir()

        def show(*more, **kw):
            return publish("key", "show", "--key", self.pem("ada"), *more, **kw)
        want = (self.dir / "ada/ada.pub").read_text()
        wrong = self.dir / "wrong"
        wrong.write_text("incorrect\n")
        (creds / "proa-publish.passphrase").write_text("correct horse")
        env = {"CREDENTIALS_DIRECTORY": str(creds)}
        self.assertEqual(json.loads(show("--passphrase-file", secret).stdout), json.loads(want))
        self.assertEqual(show(env={"PROA_PASSPHRASE": "correct horse"}).stdout, show(env=env).stdout)
        (creds / "ada.passphrase").write_text("wrong")
        self.refused(show(env=env, ok=False), "the passphrase of", "ada.pem", "is wrong")
        show(env={**env, "PROA_PASSPHRASE": "correct horse"})
        show("--passphrase-file", secret, env={**env, "PROA_PASSPHRASE": "wrong"})
        self.refused(show("--passphrase-file", wrong, env=env, ok=False), "is wrong")
        self.refused(show("--passphrase-file", self.dir / "none", ok=False), "none")
        self.refused(show(ok=False), "no terminal", "--passphrase-file", "PROA_PASSPHRASE",
                     "ada.passphrase")
        p = subprocess.run([str(BIN / "proa-publish"), "key", "show", "--key", str(self.pem("ada")),
                            "--passphrase-file", "/dev/stdin"], input="correct horse\n", text=True,
                           capture_output=True, check=True)
        self.assertEqual(json.loads(p.stdout), json.loads(want))
        # one that openssl made
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-aes-256-cbc", "-pass", "pass:correct horse", "-out", self.dir / "x.pem")
        got = json.loads(publish("key", "show", "--key", self.dir / "x.pem", "--passphrase-file",
                                 secret).stdout)
        self.assertEqual((got["name"], got["key"]["keytype"]), ("x", "ecdsa"))

    def test_encrypted_init(self):
        """init --encrypt: what is meant to leave is encrypted, what cron needs is not."""
        self.refused(self.init("--encrypt", ok=False), "no terminal")
        shutil.rmtree(self.repo)
        shutil.rmtree(self.keys)
        env = {"PROA_PASSPHRASE": "tr0ub4dor"}
        self.init("--encrypt", env=env)
        for pem in self.keys.rglob("*.pem"):
            offline = pem.parent == self.offline
            self.assertEqual(b"ENCRYPTED" in pem.read_bytes(), offline, pem)
        publish("refresh", self.repo, "--keys", self.keys)
        self.propose_root()
        self.refused(publish("root", "sign", self.dir / "p.json", "--keys", self.offline, "--yes", ok=False),
                     "needs a passphrase")
        publish("root", "sign", self.dir / "p.json", "--keys", self.offline, "--yes", env=env)
        self.submit()
        judge(self.repo)

    def test_terminal(self):
        self.key("ben")
        make = ("key", "create", "ada", "--keys", self.dir / "ada")
        status, shown = at_terminal(["one\n", "two\n"], *make)
        self.assertEqual(status, 1)
        self.assertIn("two passphrases differ", shown)
        self.assertFalse(self.pem("ada").exists())
        status, shown = at_terminal(["\n", "\n"], *make)
        self.assertIn("empty passphrase", shown)
        status, shown = at_terminal(["opn\x7f\x7fpen\n", "open\n"], *make)
        self.assertEqual(status, 0, shown)
        self.assertNotIn("open", shown)
        serialization.load_pem_private_key(self.pem("ada").read_bytes(), b"open")
        show = ("key", "show", "--key", self.pem("ada"))
        self.assertEqual(at_terminal(["open\n"], *show)[0], 0)
        self.assertIn("is wrong", at_terminal(["closed\n"], *show)[1])
        status, shown = at_terminal(["op\x03"], *show)
        self.assertEqual(status, 1)
        self.assertIn("broken off", shown)
        self.init()
        self.propose_root("--add-key", "root=%s" % (self.dir / "ben/ben.pub"))
        before = snapshot_of(self.dir)
        sign = ("root", "sign", self.dir / "p.json", "--keys", self.offline)
        for answer in ("no\n", "\n", "y\n", "\x03"):
            status, shown = at_terminal([answer], *sign)
            self.assertEqual(status, 1, shown)
            self.assertIn("root: key ben added", shown)  # the words come before the question
            self.assertEqual(snapshot_of(self.dir), before)
        status, shown = at_terminal(["yes\n"], *sign)
        self.assertEqual(status, 0, shown)
        self.submit()
        judge(self.repo)

    def test_files(self):
        """Private keys are not overwritten, not taken for public ones; bad ones are named."""
        pub = self.key("ada")
        before = snapshot_of(self.dir)
        self.refused(publish("key", "create", "ada", "--keys", self.dir / "ada", "--no-passphrase", ok=False),
                     "never overwritten")
        self.assertEqual(snapshot_of(self.dir), before)
        self.init()
        for n, args in enumerate((("EC", "-pkeyopt", "ec_paramgen_curve:P-384"), ("X25519",),
                                  ("RSA", "-pkeyopt", "rsa_keygen_bits:1024"))):
            run("openssl", "genpkey", "-algorithm", *args, "-out", self.dir / ("bad%d.pem" % n))
            run("openssl", "pkey", "-in", self.dir / ("bad%d.pem" % n), "-pubout", "-out",
                self.dir / ("bad%d.pub" % n))
            self.refused(self.propose_root("--add-key", self.dir / ("bad%d.pub" % n), ok=False),
                         "must be Ed25519")
        good = json.loads(pub.read_text())
        for name, change, word in (
                ("name", {"name": "a b"}, "its name"), ("long", {"name": "a" * 33}, "its name"),
                ("ansi", {"name": "\x1b[31m"}, "its name"), ("none", {"name": 7}, "name"),
                ("key", {"key": {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}}},
                 "must be Ed25519")):
            (self.dir / name).write_text(json.dumps({**good, **change}))
            self.refused(self.propose_root("--add-key", self.dir / name, ok=False), word)
        for text, word in ((b"", "public key"), (b"{", "line 1"), (b"\xff\xfe", "public key")):
            (self.dir / "junk").write_bytes(text)
            self.refused(self.propose_root("--add-key", self.dir / "junk", ok=False), word)
        self.refused(self.propose_root("--add-key", self.pem("ada"), ok=False), "is a private key")
        self.refused(publish("key", "create", "../x", "--keys", self.dir / "y", ok=False), "key's name")
        # a PEM public key goes by the name of its file
        run("openssl", "pkey", "-in", self.pem("ada"), "-pubout", "-out", self.dir / "carol.pub")
        self.assertIn("key carol added", self.propose_root("--add-key", self.dir / "carol.pub").stdout)
        for args in (("key",), ("key", "bogus"), ("key", "create"), ("key", "create", "a"), ("key", "show"),
                     ("key", "create", "a", "--keys", self.dir / "z", "--type", "dsa"), ("root",),
                     ("root", "sign"), ("root", "submit", self.repo), ("root", "propose", self.repo),
                     ("channel", "propose", self.repo, "stable"), ("export", self.repo, self.dir / "e")):
            with self.subTest(args=args):
                self.assertEqual(publish(*args, ok=False).returncode, 2)

    def test_pkcs11(self):
        """Keys in a token (SoftHSM): a channel's, snapshot's and timestamp's."""
        env = self.token()
        for label in ("ec", "rsa"):
            p = publish("key", "show", "--key", "pkcs11:token=proa;object=%s;type=private" % label, "--name",
                        label, "--passphrase-file", self.dir / "pin", env=env)
            (self.dir / (label + ".pub")).write_text(p.stdout)
        self.keys.mkdir()
        for role, label in (("stable", "ec"), ("snapshot", "rsa"), ("timestamp", "ec")):
            (self.keys / (role + ".uri")).write_text("pkcs11:token=proa;object=%s;type=private\n" % label)
        more = ("--passphrase-file", self.dir / "pin")
        before = snapshot_of(self.dir)
        args = ("init", self.repo, "--image", "web", "--keys", self.keys, "--channel", "stable",
                "--add-key", "stable=%s" % (self.dir / "ec.pub"), "--add-key",
                "snapshot=%s" % (self.dir / "rsa.pub"), "--add-key", "timestamp=%s" % (self.dir / "ec.pub"))
        self.refused(publish(*args, env=env, ok=False), "passphrase", "no terminal")
        (self.dir / "bad").write_text("9999")
        self.refused(publish(*args, "--passphrase-file", self.dir / "bad", env=env, ok=False), "PIN is wrong")
        self.assertEqual({k: v for k, v in snapshot_of(self.dir).items() if k != "bad" and
                          not k.startswith("tokens")}, {k: v for k, v in before.items() if
                                                        not k.startswith("tokens")})
        publish(*args, *more, env=env)
        docs = judge(self.repo)
        kinds = {r: docs["root"]["signed"]["keys"][docs[r]["signatures"][0]["keyid"]]["keytype"]
                 for r in ("snapshot", "timestamp")}
        self.assertEqual(kinds, {"snapshot": "rsa", "timestamp": "ecdsa"})
        publish("refresh", self.repo, "--keys", self.keys, *more, env=env)
        publish("channel", "propose", self.repo, "stable", self.fresh("p.json"), "--keys", self.keys, *more,
                env=env)
        self.submit(kind="channel", more=more, env=env)
        judge(self.repo)
        self.client()
        for uri, word in (("pkcs11:token=proa;object=nobody;type=private", "no such"),
                          ("pkcs11:token=proa;object=ec;pin-value=1234", "command line"),
                          ("pkcs99:x", "nothing here reads"), ("pkcs11:token=none;object=ec", "no such")):
            self.refused(publish("key", "show", "--key", uri, *more, env=env, ok=False), word)
        (self.keys / "timestamp.uri").write_text("nonsense\n")
        self.unchanged(lambda: publish("refresh", self.repo, "--keys", self.keys, *more, env=env, ok=False),
                       "timestamp.uri", "no URI")

    def token(self):
        """A SoftHSM token with a P-256 and an RSA key. libp11 and SoftHSM leak, so leaks are not
        looked for."""
        (self.dir / "tokens").mkdir()
        (self.dir / "softhsm.conf").write_text("directories.tokendir = %s\nobjectstore.backend = file\n"
                                               "log.level = ERROR\n" % (self.dir / "tokens"))
        env = {"SOFTHSM2_CONF": str(self.dir / "softhsm.conf"), "PKCS11_MODULE_PATH": SOFTHSM,
               "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
        run("softhsm2-util", "--init-token", "--free", "--label", "proa", "--pin", "1234", "--so-pin", "5678",
            env=env)
        for n, (label, kind) in enumerate((("ec", "EC:prime256v1"), ("rsa", "rsa:2048"))):
            run("pkcs11-tool", "--module", SOFTHSM, "--token-label", "proa", "-l", "-p", "1234", "--keypairgen",
                "--key-type", kind, "--label", label, "--id", "0%d" % (n + 1), env=env)
        (self.dir / "pin").write_text("1234\n")
        return env


class Ceremony(Case):
    def begin(self, file="p.json"):
        """Three people, two of them enough, for root and targets."""
        edits = [a for role in ("root", "targets") for n in ("ada", "ben", "cy")
                 for a in ("--add-key", "%s=%s" % (role, self.dir / n / (n + ".pub")))]
        return self.init(*edits, "--propose", self.fresh(file))

    def test_first_root(self):
        for n in ("ada", "ben", "cy", "eve"):
            self.key(n)
        edit = "root=%s" % (self.dir / "ada/ada.pub")
        self.refused(publish("init", self.repo, "--image", "web", "--keys", self.keys, "--add-key", edit,
                             ok=False), "--propose", "ada")
        self.assertFalse(self.repo.exists() or self.keys.exists())
        for bad, word in ((("--threshold", "root=2", "--add-key", edit), "--threshold"),
                          (("--threshold", "root=4"), "--threshold"), (("--threshold", "root=0"), "--threshold"),
                          (("--threshold", "x=1"), "no role x"), (("--threshold", "2"), "which role"),
                          (("--add-key", edit, "--add-key", edit), "already"),
                          (("--add-key", "snapshot=%s" % (self.dir / "ada/ada.pub")), "snapshot")):
            with self.subTest(bad=bad):
                self.refused(publish("init", self.repo, "--image", "web", "--keys", self.keys, *bad,
                                     "--propose", self.fresh("x.json"), ok=False), word)
                self.assertFalse(self.repo.exists() or self.keys.exists())
        out = self.begin().stdout
        self.assertIn("2 of 3 keys must sign", out)
        self.assertFalse((self.repo / "metadata/1.root.json").exists())
        self.refused(publish("status", self.repo, ok=False), "no root yet")
        self.refused(publish("refresh", self.repo, "--keys", self.keys, ok=False), "no root is pinned")

        # alone in an empty folder, as on a machine without repository and network
        alone = self.dir / "alone"
        alone.mkdir()
        shutil.copy(self.dir / "p.json", alone)
        self.refused(publish("root", "sign", alone / "p.json", "--key", self.pem("ada"), ok=False),
                     "no terminal", "--yes")
        self.refused(publish("root", "sign", alone / "p.json", "--key", self.pem("eve"), "--yes", ok=False),
                     "nothing was signed")
        self.refused(publish("channel", "sign", alone / "p.json", "--key", self.pem("ada"), "--yes", ok=False),
                     "changes root")
        p = publish("root", "sign", alone / "p.json", "--key", self.pem("ada"), "--yes", "--out",
                    alone / "ada.json", prefix=("env", "-C", alone, "unshare", "-n") if os.getuid() == 0 else ())
        for word in ("a new repository", "root: key ada added", self.id("cy"), "root: threshold 2 of 3",
                     "stable: paths: [\"stable/*\"]", "1 of 2 signatures: ada",
                     "missing 1 of: ben", "pass it on"):
            self.assertIn(word, p.stdout)
        self.refused(publish("root", "sign", alone / "ada.json", "--key", self.pem("ada"), "--yes", ok=False),
                     "signed it already")
        self.unchanged(lambda: self.submit("alone/ada.json", ok=False), "2 signatures", "ada", "missing", "ben")
        p = self.submit("alone/ada.json", ok=False)
        self.assertIn("root 1: 1 of 2 signatures: ada", p.stdout)
        self.unchanged(lambda: self.submit(ok=False), "missing")
        p = publish("root", "sign", alone / "p.json", "--key", self.pem("ben"), "--yes", "--out",
                    alone / "ben.json")
        p = self.submit("alone/ada.json", "alone/ben.json")
        self.assertIn("published   root: new, version 1", p.stdout)
        docs = judge(self.repo)
        self.assertEqual({s["keyid"] for s in docs["root"]["signatures"]}, {self.id("ada"), self.id("ben")})
        self.assertTrue((self.keys / "root.json").exists())
        self.client()
        self.assertIn("ada", publish("status", self.repo).stdout)
        publish("verify", self.repo, "--root", self.repo / "metadata/1.root.json")
        # once more is no harm
        self.assertIn("published before", self.submit("alone/ada.json", "alone/ben.json").stdout)
        judge(self.repo)

    def test_tampered(self):
        """A file that is not what it claims is neither signed nor submitted: seeded changes of every
        kind of member, and of random ones."""
        for n in ("ada", "ben", "cy", "eve"):
            self.key(n)
        self.begin()
        self.sign(self.pem("ada"), self.pem("ben"))
        self.submit()
        self.propose_root("--remove-key", "cy", "--threshold", "root=2", "--add-key",
                          "timestamp=%s" % (self.dir / "eve/eve.pub"))
        self.sign(self.pem("ada"))
        good = json.loads((self.dir / "p.json").read_text())
        eve = json.loads((self.dir / "eve/eve.pub").read_text())["key"]

        def leaves(o, path=()):
            if isinstance(o, dict) and o:
                for k in o:
                    yield from leaves(o[k], (*path, k))
            elif isinstance(o, list) and o:
                for i, x in enumerate(o):
                    yield from leaves(x, (*path, i))
            else:
                yield path

        def change(doc, path, rnd):
            for k in path[:-1]:
                doc = doc[k]
            v = doc[path[-1]]
            if isinstance(v, bool):
                doc[path[-1]] = not v
            elif isinstance(v, int):
                doc[path[-1]] = v + rnd.choice((-1, 1, 1 << 40))
            elif isinstance(v, str) and v:
                i = rnd.randrange(len(v))
                doc[path[-1]] = v[:i] + chr(ord(v[i]) ^ 1) + v[i + 1:]
            else:
                doc[path[-1]] = "x"

        def named(text):
            doc = copy.deepcopy(good)
            body = doc["next"]["root"]["signed"]
            if text == "words":
                doc["says"][1] = doc["says"][1].replace("cy", "ben")
            elif text == "more words":
                doc["says"].append("nothing else")
            elif text == "no words":
                del doc["says"]
            elif text == "key slipped in":
                body["keys"][self.id("eve")] = eve
                body["roles"]["root"]["keyids"].append(self.id("eve"))
            elif text == "threshold":
                body["roles"]["root"]["threshold"] = 1
            elif text == "unknown member":
                body["x"] = "y"
            elif text == "version":
                body["version"] += 1
            elif text == "present without targets":
                del doc["now"]["targets"]
            elif text == "no present":
                doc["now"] = {}
            elif text == "nothing":
                doc["next"] = {}
            elif text == "another role":
                doc["next"]["snapshot"] = doc["next"]["root"]
            elif text == "format":
                doc["proa-proposal"] = 2
            elif text == "stranger's signature":
                k = tuf_repo.Key()
                doc["next"]["root"]["signatures"].append(
                    {"keyid": k.id, "sig": k.sign(tuf_repo.canon_bytes(body))})
            elif text == "list":
                doc = [doc]
            return doc
        rnd = random.Random(SEED)
        cases = [(n, json.dumps(named(n))) for n in (
            "words", "more words", "no words", "key slipped in", "threshold", "unknown member", "version",
            "present without targets", "no present", "nothing", "another role", "format",
            "stranger's signature", "list")]
        paths = [p for p in leaves(good)]
        for path in rnd.sample(paths, min(40, len(paths))):
            doc = copy.deepcopy(good)
            change(doc, path, rnd)
            cases.append(("/".join(map(str, path)), json.dumps(doc)))
        whole = json.dumps(good)
        cases += [("cut at %d" % n, whole[:n]) for n in rnd.sample(range(len(whole)), 5)]
        before = snapshot_of(self.repo)
        for name, text in cases:
            with self.subTest(change=name):
                (self.dir / "t.json").write_text(text)
                p = publish("root", "sign", self.dir / "t.json", "--key", self.pem("ben"), "--yes", "--root",
                            self.keys / "root.json", ok=False)
                self.refused(p)
                self.assertEqual((self.dir / "t.json").read_text(), text)
                self.refused(self.submit("t.json", ok=False))
        self.assertEqual(snapshot_of(self.repo), before)
        # the honest file still goes through
        self.sign(self.pem("ben"))
        self.submit()
        judge(self.repo)

    def test_rotation(self):
        """Root needs the threshold of the old and of the new keys, and says which is short."""
        for n in ("ada", "ben", "cy", "dan"):
            self.key(n)
        self.begin()
        self.sign(self.pem("ada"), self.pem("ben"))
        self.submit()
        self.client()
        edits = [a for n in ("ada", "ben") for a in ("--remove-key", n)]
        out = self.propose_root(*edits, "--add-key", self.dir / "dan/dan.pub").stdout
        for word in ("root: version 1 -> 2", "root: key dan added", "root: key ada removed",
                     "threshold 2 of 2 (was 2 of 3)"):
            self.assertIn(word, out)
        self.sign(self.pem("ada"), self.pem("ben"))
        self.unchanged(lambda: self.submit(ok=False), "by its own keys", "missing", "dan")
        time.sleep(1.1)  # another date of expiry
        self.propose_root(*edits, "--add-key", self.dir / "dan/dan.pub", file="q.json")
        self.sign(self.pem("cy"), self.pem("dan"), file="q.json")
        self.unchanged(lambda: self.submit("q.json", ok=False), "by the keys of root 1", "missing", "ada")
        self.unchanged(lambda: self.submit("p.json", "q.json", ok=False), "another proposal")
        self.sign(self.pem("ada"), file="q.json")
        self.submit("q.json")
        docs = judge(self.repo)
        self.assertEqual(set(docs["root"]["signed"]["roles"]["root"]["keyids"]), {self.id("cy"), self.id("dan")})
        self.client()
        self.assertEqual(self.version("root"), 2)
        # the other proposal is about a root that is no more
        self.sign(self.pem("dan"))
        self.unchanged(lambda: self.submit(ok=False), "moved on", "propose again")
        # a signer who pins root 1 accepts one step, one who pins another repository nothing
        shutil.copy(self.repo / "metadata/1.root.json", self.dir / "pin1.json")
        self.propose_root(file="r.json")
        p = self.sign(self.pem("cy"), file="r.json")
        self.assertIn("not pinned", p.stdout)
        p = publish("root", "sign", self.dir / "r.json", "--key", self.pem("dan"), "--yes", "--root",
                    self.dir / "pin1.json")
        self.assertIn("pin1.json", p.stdout)
        self.submit("r.json")
        self.assertEqual(judge(self.repo)["root"]["signed"]["version"], 3)
        other = self.dir / "other"
        publish("init", other, "--image", "web", "--keys", self.dir / "k2")
        self.propose_root(file="s.json")
        self.refused(publish("root", "sign", self.dir / "s.json", "--key", self.pem("dan"), "--yes", "--root",
                             other / "metadata/1.root.json", ok=False), "another repository")

    def test_expired(self):
        self.init()
        self.propose_root()
        self.sign(*self.roots())
        before = snapshot_of(self.repo)
        self.refused(self.submit(ok=False, prefix=faketime("+400d")), "expired meanwhile")
        self.assertEqual(snapshot_of(self.repo), before)
        self.submit()
        judge(self.repo)

    def test_renewal(self):
        """Root and targets whose keys are with others are renewed together, once targets nears its end."""
        self.init()
        self.propose_root()
        self.assertEqual(list(json.loads((self.dir / "p.json").read_text())["next"]), ["root"])
        late = faketime("+300d")
        for role in ("root.json", "targets.json"):  # not with cron
            self.assertFalse((self.keys / role.replace("json", "pem")).exists())
        p = publish("refresh", self.repo, "--keys", self.keys, prefix=late)
        for word in ("role targets", "role root", "root propose", "its key is not here"):
            self.assertIn(word, p.stderr)
        self.propose_root(prefix=late)
        self.assertEqual(set(json.loads((self.dir / "p.json").read_text())["next"]), {"root", "targets"})
        publish("root", "sign", self.dir / "p.json", "--keys", self.offline, "--yes", prefix=late)
        self.submit(prefix=late)
        self.assertEqual(publish("refresh", self.repo, "--keys", self.keys, prefix=late).stderr, "")
        self.assertEqual(publish("status", self.repo, prefix=late).returncode, 0)

    def test_edits(self):
        """What cannot be done to keys is said before anything is written."""
        self.init("--channel", "beta")
        for n in ("ada", "ben"):
            self.key(n)
        ada = self.dir / "ada/ada.pub"
        root_ids = judge(self.repo)["root"]["signed"]["roles"]["root"]["keyids"]
        for edits, words in (
                (("--remove-key", "nobody"), ("root has no key 'nobody'",)),
                (("--remove-key", root_ids[0][:7]), ("has no key",)),
                (("--threshold", "4"), ("root would have 3 keys", "threshold of 4")),
                (("--threshold", "0"), ("--threshold",)), (("--threshold", "x"), ("--threshold",)),
                (("--remove-key", "root", "--remove-key", "root.2"), ("1 key ", "threshold of 2")),
                (("--remove-key", "targets=targets"), ("targets would have 0 keys",)),
                (("--revoke", "stable"), ("stable would have 0 keys",)),
                (("--revoke", "nobody"), ("no role has a key",)),
                (("--add-key", "nightly=%s" % ada), ("no channel 'nightly'", "stable, beta")),
                (("--add-key", self.dir / "none"), ("none",)),
                (("--add-key", self.offline / "root.pub"), ("already",))):
            with self.subTest(edits=edits):
                self.unchanged(lambda: self.propose_root(*edits, ok=False), *words)
                self.assertFalse((self.dir / "p.json").exists())
        self.unchanged(lambda: publish("channel", "propose", self.repo, "stable", self.fresh("p.json"), "--keys",
                                       self.keys, "--add-key", "root=%s" % ada, ok=False), "root propose")
        self.unchanged(lambda: publish("channel", "propose", self.repo, "nightly", self.fresh("p.json"), "--keys",
                                       self.keys, ok=False), "no channel 'nightly'")
        # by the first digits of the id
        self.assertIn("key root.2 removed", self.propose_root("--remove-key", root_ids[1][:8]).stdout)

    def test_revoke(self):
        """One key in several roles goes from all of them, and what it had signed is signed again."""
        ada, ben = self.key("ada"), self.key("ben")
        edits = [a for role in ("root", "targets", "stable") for k in (ada, ben)
                 for a in ("--add-key", "%s=%s" % (role, k))]
        self.init(*edits, "--channel", "beta", "--propose", self.fresh("p.json"), "--threshold", "targets=1",
                  "--threshold", "stable=1", "--threshold", "root=1")
        self.sign(self.pem("ada"))
        self.submit()
        self.client()
        self.propose_root("--revoke", "ada", file="r.json")
        self.sign(self.pem("ben"), file="r.json")
        self.submit("r.json")
        docs = judge(self.repo)
        self.assertNotIn(self.id("ada"), json.dumps(docs))
        self.assertEqual({r: docs[r]["signed"]["version"] for r in ("root", "targets", "stable", "beta")},
                         {"root": 2, "targets": 2, "stable": 2, "beta": 1})
        self.client()
        publish("verify", self.repo)

    def test_random_walk(self):
        """Seeded changes of keys and thresholds against a model; other code judges every step."""
        rnd = random.Random(SEED)
        self.init("--channel", "beta")
        self.client()
        people = [self.key("p%d" % i, kind=rnd.choice(("ed25519", "ed25519", "ecdsa"))).stem for i in range(6)]
        private = [self.offline / p for p in ("root.pem", "root.2.pem", "root.3.pem", "targets.pem")] + \
            [self.keys / (r + ".pem") for r in ("stable", "beta")] + [self.pem(p) for p in people]
        model = {"root": {"root", "root.2", "root.3"}, "targets": {"targets"}, "stable": {"stable"},
                 "beta": {"beta"}}
        threshold = {"root": 2, "targets": 1, "stable": 1, "beta": 1}
        for step in range(8):
            edits, new, bar = [], copy.deepcopy(model), dict(threshold)
            for _ in range(rnd.randint(1, 3)):
                role = rnd.choice(list(model))
                if rnd.random() < 0.6 or len(new[role]) < 2:
                    free = sorted(set(people) - new[role] - model[role])
                    if free:
                        who = rnd.choice(free)
                        new[role].add(who)
                        edits += ["--add-key", "%s=%s" % (role, self.dir / who / (who + ".pub"))]
                else:
                    who = rnd.choice(sorted(new[role] & model[role]) or [None])
                    if who:
                        new[role].discard(who)
                        edits += ["--remove-key", "%s=%s" % (role, who)]
            for role in model:
                want = rnd.randint(1, max(1, len(new[role])))
                if want != bar[role]:
                    bar[role] = want
                    edits += ["--threshold", "%s=%d" % (role, want)]
            if any(not k for k in new.values()):
                continue
            self.propose_root(*edits)
            for key in rnd.sample(private, len(private)):
                publish("root", "sign", self.dir / "p.json", "--key", key, "--yes", ok=False)
            self.submit()
            model, threshold = new, bar
            docs = judge(self.repo)
            for role in model:
                spec = docs["root"]["signed"]["roles"].get(role) or next(
                    d for d in docs["targets"]["signed"]["delegations"]["roles"] if d["name"] == role)
                names = (docs["root"] if role in ("root", "targets") else docs["targets"])["signed"]["x-proa-names"]
                self.assertEqual(({names[i] for i in spec["keyids"]}, spec["threshold"]),
                                 (model[role], threshold[role]), (step, role))
            self.client()
        publish("verify", self.repo)


if __name__ == "__main__":
    print("seed %d" % SEED)
    unittest.main()
