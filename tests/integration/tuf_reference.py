# SPDX-License-Identifier: Apache-2.0
"""A TUF client written down from section 5 of the specification (1.0.34), to be compared with
Proa's. It shares no code with it, nor with the generator of repositories; it is short and slow, keeps
its store in a dictionary, and gets its files and its clock from the caller.

What the specification leaves to the application is in LIMITS, and is what updater/tuf/update.h and
metadata.h promise. Where the specification allows less than strict reading of JSON (duplicate
members, NUL, numbers beyond 64 bits), both clients refuse."""
import datetime, fnmatch, functools, hashlib, json, math, re, urllib.parse

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

LIMITS = dict(root=512 << 10, timestamp=16 << 10, snapshot=2 << 20, targets=5 << 20, roles=32,
              rotations=256, depth=32, signatures=256, keys=1024, delegations=4096, patterns=4096,
              path=1024, name=240, version=2**53)
TOP = ("root", "timestamp", "snapshot", "targets")


class Refused(Exception):
    def __init__(self, reason, text=""):
        super().__init__("%s: %s" % (reason, text))
        self.reason = reason


def need(condition, text, reason="malformed"):
    if not condition:
        raise Refused(reason, text)


# --- 4.1: JSON and its canonical form ---

class Real(str):
    """A number that is no integer."""


def parse(data):
    def pairs(items):
        out = dict(items)
        need(len(out) == len(items), "duplicate member")
        return out

    def integer(text):
        need(-2**63 <= int(text) < 2**63, "huge number")
        return int(text)

    def real(text):
        need(not math.isinf(float(text)), "huge number")
        return Real(text)

    def constant(text):
        raise Refused("malformed", text)

    try:
        doc = json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_int=integer,
                         parse_float=real, parse_constant=constant)
    except (ValueError, RecursionError) as e:
        raise Refused("malformed", str(e)) from None
    check_tree(doc, 0)
    return doc


def check_tree(o, depth):
    if isinstance(o, (dict, list)):
        need(depth < LIMITS["depth"], "deep")
    if isinstance(o, dict):
        for k, v in o.items():
            check_tree(k, depth + 1)
            check_tree(v, depth + 1)
    elif isinstance(o, list):
        for v in o:
            check_tree(v, depth + 1)
    elif isinstance(o, str) and not isinstance(o, Real):
        need(not re.search("[\ud800-\udfff\0]", o), "string")


def canonical(o):
    if isinstance(o, Real):
        raise Refused("malformed", "fraction")
    if isinstance(o, str):
        return '"%s"' % re.sub(r'(["\\])', r"\\\1", o)
    if isinstance(o, bool) or o is None:
        return {True: "true", False: "false", None: "null"}[o]
    if isinstance(o, int):
        return "%d" % o
    if isinstance(o, list):
        return "[%s]" % ",".join(map(canonical, o))
    return "{%s}" % ",".join(canonical(k) + ":" + canonical(v) for k, v in sorted(o.items()))


# --- 4.2: keys and signatures ---

def hexadecimal(s, digits=None):
    return bool(re.fullmatch("[0-9a-fA-F]*", s)) and len(s) % 2 == 0 and digits in (None, len(s))


load_pem = functools.lru_cache(maxsize=64)(serialization.load_pem_public_key)  # slow


class Key:
    def __init__(self, name, obj):
        self.right_id = hashlib.sha256(canonical(obj).encode()).hexdigest() == name
        self.public = self.number = None
        if self.right_id:
            try:
                self.load(obj)
            except (ValueError, TypeError, KeyError, AttributeError):
                self.public = None

    def load(self, obj):
        kind, scheme, text = obj["keytype"], obj["scheme"], obj["keyval"]["public"]
        if not all(isinstance(x, str) and not isinstance(x, Real) for x in (kind, scheme, text)):
            return
        if (kind, scheme) == ("ed25519", "ed25519"):
            if hexadecimal(text, 64):
                self.public = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
                self.number = text.lower()
            return
        if scheme == "ecdsa-sha2-nistp256" and kind in ("ecdsa", "ecdsa-sha2-nistp256") and \
                text.startswith("04"):
            if hexadecimal(text, 130):
                self.public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(),
                                                                           bytes.fromhex(text))
                self.number = self.public.public_numbers()
            return
        if "-----BEGIN PUBLIC KEY-----" not in text or len(text) > 8192:
            return
        k = load_pem(text.encode())
        if scheme == "ecdsa-sha2-nistp256" and kind in ("ecdsa", "ecdsa-sha2-nistp256"):
            good = isinstance(k, ec.EllipticCurvePublicKey) and k.curve.name == "secp256r1"
        elif (kind, scheme) == ("rsa", "rsassa-pss-sha256"):
            good = isinstance(k, rsa.RSAPublicKey) and 2048 <= k.key_size <= 8192
        else:
            good = False
        if good:
            self.public, self.number = k, k.public_numbers()

    def verifies(self, data, sig):
        if self.public is None or not hexadecimal(sig) or not 2 <= len(sig) <= 2048:
            return False
        sig = bytes.fromhex(sig)
        try:
            if isinstance(self.public, ed25519.Ed25519PublicKey):
                self.public.verify(sig, data)
            elif isinstance(self.public, ec.EllipticCurvePublicKey):
                self.public.verify(sig, data, ec.ECDSA(hashes.SHA256()))
            else:
                self.public.verify(sig, data, padding.PSS(padding.MGF1(hashes.SHA256()),
                                                          padding.PSS.AUTO), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


# --- 4.3 to 4.6: the files ---

def member(o, key, kind, default=None):
    v = o.get(key, default)
    if kind is int:
        need(isinstance(v, int) and not isinstance(v, bool), key)
    else:
        need(isinstance(v, kind) and not isinstance(v, Real), key)
    return v


def number(o, key, low, high):
    v = member(o, key, int)
    need(low <= v <= high, key)
    return v


def strings(values, limit):
    need(len(values) <= limit and all(isinstance(s, str) and not isinstance(s, Real) for s in values),
         "strings")
    return values


class Hashes:
    def __init__(self, o):
        self.present = "hashes" in o
        self.known = {}
        if self.present:
            h = member(o, "hashes", dict)
            for name, digits in (("sha256", 64), ("sha512", 128)):
                if name in h:
                    need(hexadecimal(member(h, name, str), digits), name)
                    self.known[name] = h[name].lower()

    def check(self, data):
        for name, value in self.known.items():
            need(hashlib.new(name, data).hexdigest() == value, name, "wrong-hash")


class Listed:
    """What timestamp and snapshot list of a file."""

    def __init__(self, o):
        need(isinstance(o, dict), "meta")
        self.version = number(o, "version", 1, LIMITS["version"])
        self.length = number(o, "length", 0, 2**63 - 1) if "length" in o else None
        self.hashes = Hashes(o)

    def check(self, data):
        need(self.length in (None, len(data)), "length", "wrong-hash")
        if self.hashes.present:
            need(self.hashes.known, "no hash that could match", "unknown-hash")
        self.hashes.check(data)


class Role:
    """Who may sign."""

    def __init__(self, o, keys):
        need(isinstance(o, dict), "role")
        self.keyids = set(strings(member(o, "keyids", list), LIMITS["keys"]))
        self.threshold = number(o, "threshold", 1, LIMITS["version"])
        self.keys = keys


class Delegation(Role):
    def __init__(self, o, keys):
        super().__init__(o, keys)
        self.name = member(o, "name", str)
        need(self.name not in TOP and 1 <= len(quote(self.name)) <= LIMITS["name"], "name")
        self.terminating = member(o, "terminating", bool, False)
        need(("paths" in o) != ("path_hash_prefixes" in o), "paths or prefixes")
        self.prefixes = "path_hash_prefixes" in o
        self.list = strings(member(o, "path_hash_prefixes" if self.prefixes else "paths", list),
                            LIMITS["patterns"])
        for s in self.list:
            if self.prefixes:
                need(re.fullmatch("[0-9a-f]{0,64}", s), "prefix")
            else:
                need(len(s.encode()) <= LIMITS["path"], "pattern")

    def covers(self, path):
        if self.prefixes:
            digest = hashlib.sha256(path.encode()).hexdigest()
            return any(digest.startswith(p) for p in self.list)
        return any(matches(p, path) for p in self.list)


def matches(pattern, path):
    """Part by part, as neither '*' nor '?' matches '/'; brackets stand for themselves."""
    a, b = pattern.split("/"), path.split("/")
    return len(a) == len(b) and all(
        fnmatch.fnmatchcase(y, x.replace("[", "[[]")) for x, y in zip(a, b))


def quote(name):
    return urllib.parse.quote(name, safe="")


class File:
    """One metadata file of a wanted type, of the right shape."""

    def __init__(self, data, kind):
        doc = parse(data)
        need(isinstance(doc, dict), "document")
        body = self.body = member(doc, "signed", dict)
        self.signatures = member(doc, "signatures", list)
        need(len(self.signatures) <= LIMITS["signatures"], "signatures")
        seen = set()
        for s in self.signatures:
            need(isinstance(s, dict), "signature")
            member(s, "sig", str)
            need(member(s, "keyid", str) not in seen, "keyid", "duplicate-signature")
            seen.add(s["keyid"])
        self.bytes = canonical(body).encode()
        need(member(body, "_type", str) == kind, "_type", "wrong-type")
        need(re.match(r"1\.[0-9]", member(body, "spec_version", str)), "spec_version")
        self.version = number(body, "version", 1, LIMITS["version"])
        self.expires = self.time(member(body, "expires", str))
        getattr(self, "read_" + kind)(body)

    @staticmethod
    def time(text):
        m = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", text, re.ASCII)
        need(m and int(m.group(1)) >= 1970, "expires")
        try:
            t = datetime.datetime(*map(int, m.groups()), tzinfo=datetime.timezone.utc)
        except ValueError:
            raise Refused("malformed", "expires") from None
        return int(t.timestamp())

    @staticmethod
    def read_keys(keys):
        need(len(keys) <= LIMITS["keys"] and all(isinstance(k, dict) for k in keys.values()), "keys")
        return {name: Key(name, k) for name, k in keys.items()}

    def read_root(self, body):
        keys, roles = self.read_keys(member(body, "keys", dict)), member(body, "roles", dict)
        self.consistent = member(body, "consistent_snapshot", bool, False)
        self.roles = {r: Role(roles.get(r), keys) for r in TOP}

    def read_timestamp(self, body):
        self.snapshot = Listed(member(body, "meta", dict).get("snapshot.json"))

    def read_snapshot(self, body):
        self.meta = {name: Listed(o) for name, o in member(body, "meta", dict).items()}

    def read_targets(self, body):
        self.targets = member(body, "targets", dict)
        for path, o in self.targets.items():
            need(1 <= len(path.encode()) <= LIMITS["path"] and isinstance(o, dict), "target")
            number(o, "length", 0, 2**63 - 1)
            need(Hashes(o).present, "hashes")
            member(o, "custom", dict, {})
        self.delegations = []
        if "delegations" in body:
            d = member(body, "delegations", dict)
            keys = self.read_keys(member(d, "keys", dict))
            roles = member(d, "roles", list)
            need(len(roles) <= LIMITS["delegations"], "roles")
            self.delegations = [Delegation(o, keys) for o in roles]
            names = [x.name for x in self.delegations]
            need(len(set(names)) == len(names), "two delegations to one role")

    def verify(self, role):
        """4.2.1: a threshold of different keys, each under its own id."""
        good = set()
        for s in self.signatures:
            k = role.keys.get(s["keyid"]) if s["keyid"] in role.keyids else None
            if k and k.right_id and k.verifies(self.bytes, s["sig"]):
                good.add(k.number)
        need(len(good) >= role.threshold, "threshold", "unsigned")


# --- 5: the client ---

class Client:
    """store: name -> bytes. get(kind, name) -> bytes or None; kind is metadata or targets."""

    def __init__(self, store, outputs, get, now):
        self.store, self.outputs, self.get, self.now = store, outputs, get, now
        self.asked = []
        self.loaded = {}

    def ask(self, kind, name):
        self.asked.append(kind + "/" + name)
        return self.get(kind, name)

    def fetch(self, name, limit):
        data = self.ask("metadata", name)
        need(data is not None, name, "absent")
        need(len(data) <= limit, name, "too-large")
        return data

    def stored(self, role, limit):
        data = self.store.get(quote(role) + ".json")
        return data if data is not None and len(data) <= limit else None

    def fresh(self, f):
        need(self.now < f.expires, "expires", "expired")

    def init(self, data):
        root = File(data, "root")
        root.verify(root.roles["root"])
        self.store["root.json"] = data

    def refresh(self):
        need("root.json" in self.store, "no root", "none")
        need(len(self.store["root.json"]) <= LIMITS["root"], "root", "too-large")
        root = File(self.store["root.json"], "root")
        root.verify(root.roles["root"])
        self.update_root(root)
        self.update_timestamp()
        self.update_snapshot()
        self.targets = self.update_targets("targets", self.root.roles["targets"])

    def update_root(self, root):
        """5.3"""
        taken = 0
        while True:
            name = "%d.root.json" % (root.version + 1)
            data = self.ask("metadata", name)
            if data is None:
                break
            need(len(data) <= LIMITS["root"], name, "too-large")
            need(taken < LIMITS["rotations"], name, "many-roots")
            new = File(data, "root")
            new.verify(root.roles["root"])
            new.verify(new.roles["root"])
            need(new.version > root.version, name, "rollback")
            need(new.version == root.version + 1, name, "wrong-version")
            # a key that is gone was revoked; the specification says "rotated"
            if any(root.roles[r].keyids - new.roles[r].keyids for r in ("timestamp", "snapshot")):
                self.store.pop("timestamp.json", None)
                self.store.pop("snapshot.json", None)
            self.store["root.json"] = data
            root, taken = new, taken + 1
        self.fresh(root)
        self.root = root

    def trusted(self, role, kind, by):
        """A stored file, if it still verifies; expired or not."""
        data = self.stored(role, LIMITS[kind])
        if data is None:
            return None
        try:
            f = File(data, kind)
            f.verify(by)
        except Refused:
            return None
        f.data = data
        return f

    def update_timestamp(self):
        """5.4"""
        by = self.root.roles["timestamp"]
        old = self.trusted("timestamp", "timestamp", by)
        data = self.fetch("timestamp.json", LIMITS["timestamp"])
        new = File(data, "timestamp")
        new.verify(by)
        if old:
            need(new.version >= old.version, "version", "rollback")
            if new.version == old.version:
                self.fresh(old)
                self.timestamp = old
                return
            need(new.snapshot.version >= old.snapshot.version, "snapshot", "rollback")
        self.fresh(new)
        self.store["timestamp.json"] = data
        self.timestamp = new

    def limit(self, listed, kind):
        need(listed.length is None or listed.length <= LIMITS[kind], "listed length", "too-large")
        return LIMITS[kind] if listed.length is None else listed.length

    def remote(self, role, version):
        return ("%d." % version if self.root.consistent else "") + quote(role) + ".json"

    def update_snapshot(self):
        """5.5"""
        by, listed = self.root.roles["snapshot"], self.timestamp.snapshot
        old = self.trusted("snapshot", "snapshot", by)
        if old and old.version == listed.version and self.now < old.expires:
            try:
                listed.check(old.data)
                self.snapshot = old
                return
            except Refused:
                pass
        data = self.fetch(self.remote("snapshot", listed.version), self.limit(listed, "snapshot"))
        listed.check(data)
        new = File(data, "snapshot")
        new.verify(by)
        need(new.version == listed.version, "version", "wrong-version")
        for name, was in (old.meta if old else {}).items():
            need(name in new.meta, name, "removed")
            need(new.meta[name].version >= was.version, name, "rollback")
        self.fresh(new)
        self.store["snapshot.json"] = data
        self.snapshot = new

    def update_targets(self, role, by):
        """5.6, for the top-level role and for delegated ones."""
        if role in self.loaded:
            self.loaded[role].verify(by)
            return self.loaded[role]
        listed = self.snapshot.meta.get(role + ".json")
        need(listed, role, "unlisted")
        limit = self.limit(listed, "targets")
        old = self.trusted(role, "targets", by)
        if old and old.version == listed.version and self.now < old.expires:
            try:
                listed.check(old.data)
                self.loaded[role] = old
                return old
            except Refused:
                pass
        data = self.fetch(self.remote(role, listed.version), limit)
        listed.check(data)
        new = File(data, "targets")
        new.verify(by)
        need(new.version == listed.version, "version", "wrong-version")
        self.fresh(new)
        self.store[quote(role) + ".json"] = data
        self.loaded[role] = new
        return new

    def search(self, path):
        """5.6.7: pre-order, depth first; the target's entry or None."""
        visited = set()

        def visit(f):
            """The entry, None to go on, or False when the search ends."""
            if path in f.targets:
                return f.targets[path]
            for d in f.delegations:
                if not d.covers(path):
                    continue
                if d.name not in visited:
                    need(len(visited) < LIMITS["roles"], d.name, "many-roles")
                    visited.add(d.name)
                    found = visit(self.update_targets(d.name, d))
                    if found is not None:
                        return found
                if d.terminating:
                    return False
            return None

        return visit(self.targets) or None

    def download(self, path):
        """5.7"""
        entry = self.search(path)
        need(entry, path, "no-target")
        h = Hashes(entry)
        need(h.known, path, "unknown-hash")
        have = self.outputs.get(path)
        if have is not None and self.is_target(entry, have):
            return
        d, slash, base = path.rpartition("/")
        if self.root.consistent:
            base = h.known.get("sha256", h.known.get("sha512")) + "." + base
        data = self.ask("targets", urllib.parse.quote(d + slash + base, safe="/"))
        need(data is not None, path, "none")
        need(self.is_target(entry, data), path, "wrong-hash")
        self.outputs[path] = data

    @staticmethod
    def is_target(entry, data):
        try:
            Hashes(entry).check(data)
        except Refused:
            return False
        return len(data) == entry["length"]
