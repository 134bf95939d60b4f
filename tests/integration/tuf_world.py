# SPDX-License-Identifier: Apache-2.0
"""Random TUF repositories that live: each turn they publish something new, and mostly something is
wrong with it. All of it follows from the random generator given, but for the randomness inside ECDSA
and RSA-PSS signatures."""
import copy, datetime, hashlib, json, random, string, urllib.parse

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tuf_repo import Key, TOP, canon_bytes

DAY = 86400
NOW = 1800000000
NAMES = ["stable", "beta", "a b", "../x", "1.root", "x\ny", "\u00e9?", "role/sub", "..", "A", "B", "C"]
PATHS = ["app", "b", "stable/web_1.json", "stable/web_2.json", "beta/web_1.json", "a/b/c", "a/x", "[x]", "\u00e9t\u00e9"]
PATTERNS = ["*", "stable/*", "beta/*", "*/*", "a/?", "a/*/c", "a*", "?pp", "stable/web_[12].json",
            "*.json", "*/*.json", "a?x", "stable?web_1.json", "b?ta/*", "[x]", "stable/web_1.json", "", "/*", "\u00e9?\u00e9", "**", "a/?*"]
STRANGE = [None, True, False, 0, 1, -1, 2, 3, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -2**63, 2**64, 10**40,
           0.5, 1e300, "", "x", "1", "\x00", "\x01", "../../x", "\u00e9", "x" * 2000, [], {}, [[]], [1],
           ["x"], {"x": 1}, {"x": {"y": []}}, "2030-01-01T00:00:00Z", "1999-12-31T23:59:59Z",
           "2027-02-29T00:00:00Z", "9999-12-31T23:59:59Z", "2030-01-01T00:00:00.5Z", "1.0", "1.0.34",
           "2.0.0", "1.", "root", "targets", "snapshot", "timestamp"]


def date(t):
    return datetime.datetime.fromtimestamp(t, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_pool(rnd):
    """Keys of every kind, two of them twice under two ids, and some that never count."""
    pool = [Key("ed25519", private=ed25519.Ed25519PrivateKey.from_private_bytes(rnd.randbytes(32)))
            for _ in range(8)]
    pool += [Key("ecdsa", private=ec.derive_private_key(rnd.getrandbits(250) + 1, ec.SECP256R1()))
             for _ in range(3)]
    pool += [Key("rsa"), pool[0].twin({"x": 1}), pool[8].twin({"keyid_hash_algorithms": ["sha256"]})]
    point = pool[9].private.public_key().public_numbers()
    legacy = Key("ecdsa", private=pool[9].private)
    legacy.obj = {"keytype": "ecdsa-sha2-nistp256", "scheme": "ecdsa-sha2-nistp256",
                  "keyval": {"public": "04%064x%064x" % (point.x, point.y)}}
    legacy.id = hashlib.sha256(canon_bytes(legacy.obj)).hexdigest()
    bad = [Key("ed25519", private=k.private) for k in pool[:4]]
    bad[0].id = bad[1].id = hashlib.sha256(b"another").hexdigest()
    bad[1].obj = {**bad[1].obj, "scheme": "rsassa-pss-sha256"}
    bad[2].obj = {**bad[2].obj, "scheme": "ed448"}
    bad[3].obj = {**bad[3].obj, "keyval": {"public": "00" * 31}}
    for k in bad[2:]:
        k.id = hashlib.sha256(canon_bytes(k.obj)).hexdigest()
    # good signatures by keys that are too short, or of another curve
    bad += [Key("rsa", bits=1024), Key("ecdsa", private=ec.derive_private_key(7**90, ec.SECP384R1()))]
    return pool + [legacy], bad


def loose(o):
    """What to sign for a body that has no canonical form."""
    try:
        return canon_bytes(o)
    except (TypeError, UnicodeEncodeError):
        return json.dumps(o, sort_keys=True).encode()


class World:
    def __init__(self, rnd, pool, bad):
        self.rnd, self.pool, self.bad = rnd, pool, bad
        self.now = NOW
        self.metadata, self.targets = {}, {}  # what is served: name -> bytes
        self.old = {}                         # role -> every file it ever had
        self.faults = []
        self.twins = {k.id: k.twin({"x": 1}) for k in pool}  # the same key under another id
        self.listing = rnd.choice(["none", "none", "length", "both", "sha512"])
        self.careless = rnd.random() < 0.1  # forgets to list a new role in its first snapshot
        self.body = {r: self.common(r) for r in TOP}
        self.signers = {}
        self.names = None  # to ask for, better than any
        root = self.body["root"]
        root.update(consistent_snapshot=rnd.random() < 0.7, keys={}, roles={})
        if rnd.random() < 0.1 and not root["consistent_snapshot"]:
            del root["consistent_snapshot"]
        self.body["timestamp"]["meta"], self.body["snapshot"]["meta"] = {}, {}
        self.body["targets"]["targets"] = {}
        for r in TOP:
            self.appoint(r)
        if rnd.random() < 0.15:
            self.cross()
        for _ in range(rnd.choice([0, 0, 1, 2, 4, 7])):
            self.delegate()
        for _ in range(rnd.randrange(5)):
            self.add_target()
        self.turn(faulty=rnd.random() < 0.3)

    def common(self, kind):
        return {"_type": kind, "spec_version": self.rnd.choice(["1.0.34", "1.0", "1.0.0"]), "version": 1,
                "expires": date(self.now + self.rnd.randrange(2, 40) * DAY)}

    # who signs
    def choose(self):
        """Keys, threshold and signers that reach it."""
        rnd = self.rnd
        if rnd.random() < 0.15:  # one of them under two ids
            a, b = rnd.sample(self.pool[:12], 2)
            return [a, b, self.twins[a.id]], 2, [a, b]
        keys = rnd.sample(self.pool[:12], rnd.choice([1, 1, 1, 2, 3, 4]))
        threshold = rnd.randrange(1, len(keys) + 1)
        signers = rnd.sample(keys, rnd.randrange(threshold, len(keys) + 1))
        if rnd.random() < 0.2:  # never needed, never harmful
            keys = keys + [rnd.choice(self.bad[:1] * 4 + self.bad + self.pool)]
        return keys, threshold, signers

    def appoint(self, role):
        keys, threshold, signers = self.choose()
        root = self.body["root"]
        ids = [k.id for k in keys]
        if self.rnd.random() < 0.05:
            ids += ids[:1]
        root["roles"][role] = {"keyids": ids, "threshold": threshold}
        root["keys"].update({k.id: k.obj for k in keys})
        self.signers[role] = signers

    def cross(self):
        """Two ways to C, for other paths: what it signs for A need not be good for B."""
        self.names = ["app", "b"]
        for by, role, paths in (("targets", "A", ["a*"]), ("targets", "B", ["b*"]), ("A", "C", ["*"]),
                                ("B", "C", ["*"])):
            keys, threshold, signers = self.choose()
            if by == "B" and self.rnd.random() < 0.3:
                keys, threshold = self.signers[role], 1
            deleg = self.body[by].setdefault("delegations", {"keys": {}, "roles": []})
            deleg["roles"].append({"name": role, "keyids": [k.id for k in keys], "threshold": threshold,
                                   "terminating": False, "paths": paths})
            deleg["keys"].update({k.id: k.obj for k in keys})
            if role not in self.body:
                self.body[role] = {**self.common("targets"), "targets": {}}
                self.signers[role] = signers

    def delegate(self):
        rnd = self.rnd
        by = rnd.choice([r for r in self.body if r == "targets" or r not in TOP])
        known = [r for r in self.body if r not in TOP]
        role = rnd.choice(known if known and rnd.random() < 0.3 else NAMES)
        deleg = self.body[by].setdefault("delegations", {"keys": {}, "roles": []})
        if role in [d["name"] for d in deleg["roles"]]:
            return
        known = role in self.body
        keys, threshold, signers = self.choose()
        if known and rnd.random() < 0.6:  # most delegators agree on who signs
            keys, threshold = self.signers[role], max(1, len(self.signers[role]) - 1)
        d = {"name": role, "keyids": [k.id for k in keys], "threshold": threshold,
             "terminating": rnd.random() < 0.25}
        if rnd.random() < 0.25:
            d["path_hash_prefixes"] = rnd.sample("0123456789abcdef", 10) + ["", "00ff"][:rnd.randrange(3)]
        else:
            d["paths"] = rnd.sample(PATTERNS, rnd.randrange(1, 4))
            if rnd.random() < 0.5:
                d["paths"].append("*")
        deleg["roles"].insert(rnd.randrange(len(deleg["roles"]) + 1), d)
        deleg["keys"].update({k.id: k.obj for k in keys})
        if not known:
            self.body[role] = self.common("targets")
            self.body[role]["targets"] = {}
            self.signers[role] = signers

    def add_target(self):
        rnd = self.rnd
        path, data = rnd.choice(PATHS), rnd.randbytes(rnd.choice([0, 1, 50, 3000]))
        by = rnd.choice([r for r in self.body if r == "targets" or r not in TOP])
        algorithms = rnd.choice([["sha256"], ["sha512"], ["sha256", "sha512"], ["sha256", "md5"], ["md5"], []])
        entry = {"length": len(data), "hashes": {a: hashlib.new(a, data).hexdigest() for a in algorithms}}
        if rnd.random() < 0.3:
            entry["custom"] = {"version": "1", "x": [1, None]}
        self.body[by]["targets"][path] = entry
        d, slash, base = path.rpartition("/")
        for h in [*entry["hashes"].values(), ""]:
            name = d + slash + (h + "." if h else "") + base
            self.targets[urllib.parse.quote(name, safe="/")] = data

    # what is served
    def sign(self, body, signers):
        data = loose(body)
        return {"signatures": [{"keyid": k.id, "sig": k.sign(data)} for k in signers], "signed": body}

    def dump(self, envelope):
        style = self.rnd.choice([dict(indent=1), dict(separators=(",", ":")), dict(ensure_ascii=False),
                                 dict(sort_keys=True)])
        return json.dumps(envelope, **style).encode("utf-8", "surrogatepass")

    def name(self, role):
        version = self.body[role]["version"]
        plain = urllib.parse.quote(role, safe="") + ".json"
        if role == "root" or (role != "timestamp" and self.body["root"].get("consistent_snapshot")):
            return "%d.%s" % (version, plain)
        return plain

    def listed(self, role, data):
        out = {"version": self.body[role]["version"]}
        if self.listing in ("length", "both"):
            out["length"] = len(data)
        if self.listing in ("both", "sha512"):
            out["hashes"] = {"sha512": hashlib.sha512(data).hexdigest()}
            if self.listing == "both":
                out["hashes"]["sha256"] = hashlib.sha256(data).hexdigest()
        return out

    def publish(self, role, before=None, after=None, signers=None):
        body = copy.deepcopy(self.body[role])
        if before:
            body = before(body)
        envelope = self.sign(body, self.signers[role] if signers is None else signers)
        data = self.dump(envelope)
        if after and self.rnd.random() < 0.5:
            data, after = after(role, data, envelope) or data, None  # and the parent lists it so
        if role == "snapshot":
            self.body["timestamp"]["meta"]["snapshot.json"] = self.listed(role, data)
        elif role not in ("root", "timestamp") and not (self.careless and role not in self.old):
            self.body["snapshot"]["meta"][role + ".json"] = self.listed(role, data)
        if after:
            data = after(role, data, envelope)
        if data is None and role == "root" and not self.old:
            data = b""
        if data is None:
            self.metadata.pop(self.name(role), None)
            return
        self.metadata[self.name(role)] = data
        self.old.setdefault(role, []).append(data)

    # time goes on
    def turn(self, faulty=True):
        rnd = self.rnd
        self.faults = []
        fresh = not self.old
        todo = [r for r in self.body if fresh or rnd.random() < (0.3 if r == "root" else 0.6)]
        extra = []
        if not fresh:
            extra = self.change(todo)
        faults = self.plan(todo) if faulty and rnd.random() < 0.75 else {}
        order = [r for r in todo if r not in ("root", "snapshot", "timestamp")]
        order += [r for r in ("snapshot", "timestamp") if r in todo or order or "root" in todo]
        if "root" in todo:
            order.insert(0, "root")
        for role in order:
            if not fresh:
                self.body[role]["version"] += 1
            if not fresh and rnd.random() < 0.7:
                self.body[role]["expires"] = date(self.now + rnd.randrange(2, 40) * DAY)
            signers = self.signers[role] + (extra if role == "root" else [])
            f = dict(signers=list({k.id: k for k in signers}.values()))
            f.update(faults.get(role, {}))
            self.publish(role, **f)

    def change(self, todo):
        """New people, new roles; who signed root until now signs the next one too."""
        rnd = self.rnd
        extra = []
        if "root" in todo:
            for r in TOP:
                if rnd.random() < 0.25:
                    if r == "root":
                        extra = self.signers["root"]
                    self.appoint(r)
                    if r not in todo:
                        todo.append(r)
            if rnd.random() < 0.05:
                root = self.body["root"]
                root["consistent_snapshot"] = not root.get("consistent_snapshot")
                todo += [r for r in self.body if r not in todo]
        if rnd.random() < 0.2:
            self.delegate()
        if rnd.random() < 0.4:
            self.add_target()
        if rnd.random() < 0.1:
            self.listing = rnd.choice(["none", "length", "both", "sha512"])
        todo += [r for r in self.body if r not in self.old and r not in todo]
        return extra

    # what goes wrong
    def plan(self, todo):
        rnd = self.rnd
        faults = {}
        for _ in range(rnd.choice([1, 1, 2])):
            role = rnd.choice(["root", "timestamp", "snapshot", *self.body])
            kind = rnd.choice(["expire", "version", "strange", "strange", "remove", "signers", "signers",
                               "duplicate", "bytes", "bytes", "cut", "swap", "old", "gone", "pad",
                               "text", "listing", "listing", "envelope", "twice", "rollback", "rollback", "type"])
            if kind == "listing":
                role = rnd.choice(["timestamp", "snapshot", "snapshot"])
            if role not in todo:
                todo.append(role)
            fault = getattr(self, "fault_" + kind)(role)
            self.faults.append((kind, role))
            for k, v in fault.items():
                faults.setdefault(role, {})[k] = v
        return faults

    def places(self, o, found, parent=None, key=None):
        if parent is not None:
            found.append((parent, key))
        items = o.items() if isinstance(o, dict) else enumerate(o) if isinstance(o, list) else ()
        for k, v in list(items):
            self.places(v, found, o, k)
        return found

    def fault_expire(self, role):
        t = date(self.now - self.rnd.choice([0, 1, DAY]))
        return dict(before=lambda b: {**b, "expires": t})

    def fault_version(self, role):
        step = self.rnd.choice([-3, -2, -1, 1, 2, 1000, 2**53])

        def lie(b):
            return {**b, "version": b["version"] + step}

        def truly(b):  # the parent lists it so
            self.body[role]["version"] = max(1, min(b["version"] + step, 2**53))
            return copy.deepcopy(self.body[role])
        return dict(before=self.rnd.choice([lie, truly]))

    def fault_rollback(self, role):
        """By whoever holds the keys: the role is older than it was, and all say so."""
        self.body[role]["version"] = self.rnd.randrange(max(1, self.body[role]["version"] - 1))
        return {}

    def fault_type(self, role):
        kind = self.rnd.choice(["root", "timestamp", "snapshot", "targets", "Targets", ""])
        return dict(before=lambda b: {**b, "_type": kind})

    def fault_strange(self, role):
        def do(b):
            parent, key = self.rnd.choice(self.places(b, []))
            parent[key] = copy.deepcopy(self.rnd.choice(STRANGE))
            return b
        return dict(before=do)

    def fault_remove(self, role):
        def do(b):
            parent, key = self.rnd.choice(self.places(b, []))
            del parent[key]
            return b
        return dict(before=do)

    def fault_signers(self, role):
        rnd = self.rnd
        mine = list(self.signers[role])
        strangers = rnd.sample(self.pool + self.bad, rnd.randrange(1, 4))
        twins = [self.twins[k.id] for k in mine]
        return dict(signers=rnd.choice([[], mine[1:], mine[:1], strangers, mine[1:] + strangers,
                                        mine + strangers, mine + twins, mine[:1] + twins[:1], twins,
                                        mine[1:] + self.bad[:1]]))

    def fault_duplicate(self, role):
        def do(r, data, envelope):
            sigs = envelope["signatures"]
            return self.dump({**envelope, "signatures": sigs + sigs[:1]})
        return dict(after=do)

    def fault_twice(self, role):
        """One key under another's id."""
        def do(r, data, envelope):
            if not envelope["signatures"]:
                return data
            other = self.rnd.choice(self.pool).id
            return self.dump({**envelope, "signatures": envelope["signatures"] +
                              [{**envelope["signatures"][0], "keyid": other}]})
        return dict(after=do)

    def fault_bytes(self, role):
        def do(r, data, envelope):
            b = bytearray(data)
            for _ in range(self.rnd.choice([1, 1, 1, 5])):
                i = self.rnd.randrange(len(b))
                how = self.rnd.randrange(4)
                if how == 0:
                    b[i] ^= 1 << self.rnd.randrange(8)
                elif how == 1:
                    b[i] = self.rnd.choice(b'"{}[],:0123456789 \\\x00\x80\xff\n')
                elif how == 2:
                    del b[i]
                else:
                    b.insert(i, self.rnd.choice(b'"{}[],:09 \\-.eE\xed\xf0\x00'))
                if not b:
                    break
            return bytes(b)
        return dict(after=do)

    def fault_cut(self, role):
        return dict(after=lambda r, data, envelope: data[:self.rnd.randrange(len(data))])

    def fault_swap(self, role):
        def do(r, data, envelope):
            return self.old[self.rnd.choice(sorted(self.old))][-1] if self.old else b"{}"
        return dict(after=do)

    def fault_old(self, role):
        return dict(after=lambda r, data, envelope: self.rnd.choice(self.old.get(r, [data])))

    def fault_gone(self, role):
        return dict(after=lambda r, data, envelope: None)

    def fault_pad(self, role):
        n = self.rnd.choice([1, 10, 17000])
        return dict(after=lambda r, data, envelope: data + b" " * n)

    def fault_text(self, role):
        """The same document in another notation, or a little more than JSON."""
        def do(r, data, envelope):
            text = json.dumps(envelope)
            how = self.rnd.randrange(12)
            first = '"signed": {'
            more = ['"_type": "root", ', '"x": -0, ', '"x": 1E5, ', '"x": 01, ', '"x": NaN, ', '"x": "\\ud800", ',
                    '"x": "\\u0000", ', '"x": "\t", ', "'x': 1, ", '"x": 9223372036854775808, ', '"x": 1e999, ',
                    '"x": ' + "[" * 31 + "]" * 31 + ", "][how]
            return text.replace(first, first + more, 1).encode()
        return dict(after=do)

    def fault_envelope(self, role):
        def do(r, data, envelope):
            e = json.loads(json.dumps(envelope))
            parent, key = self.rnd.choice(self.places({k: v for k, v in e.items() if k != "signed"}, []))
            if parent is not e and self.rnd.random() < 0.5:
                parent[key] = copy.deepcopy(self.rnd.choice(STRANGE))
            else:
                e[self.rnd.choice(["x", "signatures", "signed"])] = copy.deepcopy(self.rnd.choice(STRANGE))
            return self.dump(e)
        return dict(after=do)

    def fault_listing(self, role):
        """Snapshot or timestamp say something else of a file than what it is."""
        rnd = self.rnd

        def do(b):
            meta = b.get("meta")
            if not isinstance(meta, dict) or not meta:
                return b
            name = rnd.choice(sorted(meta))
            how = rnd.randrange(8)
            m = meta[name] = dict(meta[name])
            if how == 0:
                m["version"] += rnd.choice([-2, -1, 1, 1000])
            elif how == 1:
                m["length"] = rnd.choice([0, 1, 100, 10**4, 2**40])
            elif how == 2:
                m["hashes"] = {"sha256": hashlib.sha256(rnd.randbytes(3)).hexdigest()}
            elif how == 3:
                m["hashes"] = {"blake2b": "00" * 64}
            elif how == 4:
                m["hashes"] = {}
            elif how == 5:
                del meta[name]
            elif how == 6:
                m.pop("hashes", None)
            else:
                meta["nobody.json"] = {"version": 7}
            return b
        return dict(before=do)
