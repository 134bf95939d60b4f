# SPDX-License-Identifier: Apache-2.0
"""For tests of proa-publish: running it, on a terminal too, and judging what it signed with other
code: python3-cryptography, own canonical JSON, own thresholds."""
import hashlib
import json
import os
import pathlib
import pty
import select
import shutil
import subprocess
import tempfile
import unittest

import tuf_repo
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

BIN = pathlib.Path(os.environ.get("PROA_BIN", "build/bin")).resolve()
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
CLEAN = {k: v for k, v in os.environ.items() if k not in ("PROA_PASSPHRASE", "CREDENTIALS_DIRECTORY")}


def run(*args, ok=True, prefix=(), env=None, setsid=True, text=""):
    """Without a controlling terminal, as cron would."""
    p = subprocess.run([*map(str, prefix), *map(str, args)], capture_output=True, text=True, input=text,
                       check=False, env={**CLEAN, **(env or {})}, start_new_session=setsid)
    assert "Sanitizer" not in p.stderr, p.stderr
    if ok and p.returncode != 0:
        raise AssertionError("%s: %d\n%s%s" % (args, p.returncode, p.stdout, p.stderr))
    return p


def publish(*args, **kw):
    return run(BIN / "proa-publish", *args, **kw)


def at_terminal(answers, *args, env=None):
    """Runs proa-publish on a pseudo terminal and types the next answer at each prompt (": " at the
    end of the line). Returns the exit status and all that was shown."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(BIN / "proa-publish", ["proa-publish", *map(str, args)], {**CLEAN, **(env or {})})
    shown, answers, seen = b"", list(answers), 0
    while True:
        ready = select.select([fd], [], [], 60)[0]
        if not ready:
            raise AssertionError("hangs: %r" % shown)
        try:
            got = os.read(fd, 4096)
        except OSError:  # the other end is closed
            break
        if not got:
            break
        shown += got
        if shown[seen:].endswith(b": ") and answers:
            seen = len(shown)
            os.write(fd, answers.pop(0).encode())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    return status, shown.decode().replace("\r\n", "\n")


def faketime(offset):
    """A prefix that moves the clock; its library comes before that of ASan."""
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0:detect_leaks=0"
    return ["env", "ASAN_OPTIONS=" + asan, "faketime", "-f", offset]


def snapshot_of(folder):
    """Every file of a folder with its content, to see whether anything changed."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(pathlib.Path(folder).rglob("*"))
            if p.is_file() and p.name != ".lock"}


def canon_of(doc):
    return tuf_repo.canon_bytes(doc["signed"])


def good(key, sig, data):
    """Is that hex signature the key's?"""
    public, raw = key["keyval"]["public"], bytes.fromhex(sig)
    try:
        if key["keytype"] == "ed25519":
            ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(raw, data)
            return True
        loaded = serialization.load_pem_public_key(public.encode())
        if key["keytype"] == "ecdsa":
            assert isinstance(loaded.curve, ec.SECP256R1)
            loaded.verify(raw, data, ec.ECDSA(hashes.SHA256()))
        else:
            assert loaded.key_size >= 2048
            loaded.verify(raw, data, padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO),
                          hashes.SHA256())
        return True
    except InvalidSignature:
        return False


def signers(doc, role, keys):
    """Ids of the role's keys that signed doc, each recomputed."""
    found = set()
    for s in doc["signatures"]:
        key = keys.get(s["keyid"])
        if s["keyid"] not in role["keyids"] or key is None:
            continue
        assert hashlib.sha256(tuf_repo.canon_bytes(key)).hexdigest() == s["keyid"]
        if good(key, s["sig"], canon_of(doc)):
            found.add(s["keyid"])
    return found


def must(doc, role, keys, what):
    got = signers(doc, role, keys)
    assert len(set(role["keyids"])) == len(role["keyids"]), what
    assert len({s["keyid"] for s in doc["signatures"]}) == len(doc["signatures"]), what
    if len(got) < role["threshold"]:
        raise AssertionError("%s: %d of %d signatures" % (what, len(got), role["threshold"]))


def judge(repo):
    """The whole repository's signatures, thresholds, versions and hashes, from 1.root.json on."""
    meta = pathlib.Path(repo) / "metadata"

    def load(name):
        return json.loads((meta / name).read_text())
    root, n = load("1.root.json"), 1
    must(root, root["signed"]["roles"]["root"], root["signed"]["keys"], "root 1")
    while (meta / ("%d.root.json" % (n + 1))).exists():
        old, root, n = root, load("%d.root.json" % (n + 1)), n + 1
        assert root["signed"]["version"] == n
        for by in (old, root):
            must(root, by["signed"]["roles"]["root"], by["signed"]["keys"], "root %d" % n)
    roles, keys = root["signed"]["roles"], root["signed"]["keys"]
    out = {"root": root}

    def listed(entry, role, rolespec, rolekeys, kind):
        path = meta / ("%d.%s.json" % (entry["version"], role))
        data = path.read_bytes()
        assert len(data) == entry["length"] and hashlib.sha256(data).hexdigest() == \
            entry["hashes"]["sha256"], role
        doc = json.loads(data)
        assert (doc["signed"]["_type"], doc["signed"]["version"]) == (kind, entry["version"])
        must(doc, rolespec, rolekeys, role)
        out[role] = doc
        return doc
    timestamp = out["timestamp"] = load("timestamp.json")
    must(timestamp, roles["timestamp"], keys, "timestamp")
    snapshot = listed(timestamp["signed"]["meta"]["snapshot.json"], "snapshot", roles["snapshot"], keys,
                      "snapshot")
    files = snapshot["signed"]["meta"]
    targets = listed(files["targets.json"], "targets", roles["targets"], keys, "targets")
    delegations = targets["signed"]["delegations"]
    for role in delegations["roles"]:
        listed(files[role["name"] + ".json"], role["name"], role, delegations["keys"], "targets")
    assert set(files) == {"targets.json"} | {r["name"] + ".json" for r in delegations["roles"]}
    # no key object that no role refers to
    assert set(keys) == {i for r in roles.values() for i in r["keyids"]}
    assert set(delegations["keys"]) == {i for r in delegations["roles"] for i in r["keyids"]}
    return out


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="proa-publish."))
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.repo, self.keys = self.dir / "repo", self.dir / "keys"
        self.offline = self.keys / "offline"

    def init(self, *more, **kw):
        return publish("init", self.repo, "--image", "web", "--keys", self.keys, "--channel", "stable", *more,
                       **kw)

    def key(self, name, *more, kind="ed25519"):
        """A person's key in a folder of its own; unencrypted unless said."""
        more = more or ("--no-passphrase",)
        publish("key", "create", name, "--keys", self.dir / name, "--type", kind, *more)
        return self.dir / name / (name + ".pub")

    def pem(self, name):
        return self.dir / name / (name + ".pem")

    def id(self, name):
        return hashlib.sha256(tuf_repo.canon_bytes(json.loads(
            (self.dir / name / (name + ".pub")).read_text())["key"])).hexdigest()

    def refused(self, p, *words, code=1):
        """One sentence on stderr, saying these words, and the status."""
        self.assertEqual(p.returncode, code, p.stdout + p.stderr)
        self.assertTrue(p.stderr.startswith("proa-publish: "), p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        for w in words:
            self.assertIn(w, p.stderr)

    def unchanged(self, call, *words, **kw):
        """Refused, and nothing in the repository is another."""
        before = snapshot_of(self.repo)
        self.refused(call(), *words, **kw)
        self.assertEqual(snapshot_of(self.repo), before)

    # steps
    def fresh(self, file):
        """The path of a proposal that is yet to be written."""
        (self.dir / file).unlink(missing_ok=True)
        return self.dir / file

    def propose_root(self, *edits, file="p.json", **kw):
        return publish("root", "propose", self.repo, self.fresh(file), "--keys", self.keys, *edits, **kw)

    def sign(self, *keys, kind="root", file="p.json", **kw):
        for k in keys:
            p = publish(kind, "sign", self.dir / file, "--key", k, "--yes", **kw)
        return p

    def submit(self, *files, kind="root", more=(), **kw):
        return publish(kind, "submit", self.repo, *[self.dir / f for f in files or ("p.json",)], "--keys",
                       self.keys, *more, **kw)

    def roots(self):
        return [self.offline / n for n in ("root.pem", "root.2.pem")]

    def change_root(self, *edits, more=(), signers=()):
        self.propose_root(*edits, *more)
        self.sign(*(signers or self.roots()))
        return self.submit(more=more)

    # a client
    def client(self, ok=True, prefix=()):
        md = self.dir / "md"
        if not md.exists():
            md.mkdir()
            run(BIN / "tuf-client", "--metadata-dir", md, "init", self.repo / "metadata/1.root.json")
            server = subprocess.Popen(["/usr/bin/python3", "-u", "-m", "http.server", "0", "--bind",
                                       "127.0.0.1", "--directory", self.repo], text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self.addCleanup(server.stdout.close)
            self.addCleanup(server.wait)
            self.addCleanup(server.kill)
            self.url = "http://127.0.0.1:%s/" % server.stdout.readline().split("port ")[1].split()[0]
        return run(BIN / "tuf-client", "--metadata-url", self.url + "metadata", "--metadata-dir", md,
                   "refresh", ok=ok, prefix=prefix)

    def version(self, role):
        """As the client trusts it."""
        return json.loads((self.dir / "md" / (role + ".json")).read_text())["signed"]["version"]
