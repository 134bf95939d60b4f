# SPDX-License-Identifier: Apache-2.0
"""Every attack of the TUF specification and of what surrounds it, upon a repository of tuf_repo.py.

An attack is a generator: what stands before its first `yield` is honest and is refreshed once; what
comes after it is what the client must refuse. `chain` says which files the specification persists
before the refusal. Nothing here uses any code of Proa."""
import copy, hashlib, json

from tuf_repo import Key, Repo, canon_bytes, date

CHANNEL = "stable"
ROLES = ("timestamp", "snapshot", "targets", CHANNEL)
ATTACKS = []


class Attack:
    def __init__(self, name, kind, make, reason, role=None, changed=(), outsider=False, root=False):
        self.name, self.kind, self.make, self.role = name, kind, make, role
        self.reason, self.changed = reason, {r + ".json" for r in changed}
        self.outsider = outsider  # without keys: where hashes are listed, those tell
        self.root = root          # the attack comes with a new root

    def expect(self, listed):
        """Acceptable reasons, when snapshot and timestamp list hashes or do not."""
        if listed and self.outsider and self.role in ROLES[1:]:
            return {"wrong-hash", "too-large"}
        return {self.reason}


def before(role):
    return ROLES[:ROLES.index(role)] if role in ROLES else ()


def attack(reason, roles=(None,), changed=None, **kw):
    def add(make):
        for role in roles:
            name = make.__name__ if role is None else "%s of %s" % (make.__name__, role)
            kept = changed if changed is not None else before(role)
            ATTACKS.append(Attack(name, make.__name__, make, reason, role, kept, **kw))
        return make
    return add


def touch(repo):
    """Everything anew, honestly."""
    repo.publish_all()


def recover(repo, saved, store, root):
    """The publisher comes back, past the versions that were spent: store is the client's. root: the
    attack brought a new root, which the client has."""
    spent = {}
    for n, d in store.items():
        body = json.loads(d)["signed"]
        for k, v in [(n, body), *body.get("meta", {}).items()]:
            spent[k[:-5]] = max(spent.get(k[:-5], 0), v["version"])
    last = repo.signed["root"]["version"]
    kept = repo.files.get("metadata/%d.root.json" % last)
    repo.restore(saved)
    for role in ROLES:
        repo.signed[role]["version"] = max(repo.signed[role]["version"], spent.get(role, 0))
    if root:
        repo.files["metadata/%d.root.json" % last] = kept
        repo.signed["root"]["version"] = last
        repo.publish("root")
    elif set(spent) - {"root", *ROLES}:
        # what a snapshot once listed only a new snapshot key can forget
        repo.set_keys("snapshot", [Key()])
        repo.publish("root")
    touch(repo)


def replace(repo, role, change):
    """All anew, and then one file is not what was signed."""
    touch(repo)
    name = "metadata/" + repo.remote(role)
    repo.files[name] = change(repo.files[name])


def resign(repo, role, body, signers=None):
    """What the holder of that role's keys can do; the parent lists the true version."""
    repo.put(role, repo.dump(repo.envelope(body, repo.signers[role] if signers is None else signers)))


# --- arbitrary software: not signed, or not by those who may ---

@attack("unsigned", ROLES, outsider=True)
def no_signature(repo, role):
    yield
    touch(repo)
    resign(repo, role, repo.signed[role], [])


@attack("unsigned", ROLES, outsider=True)
def stranger(repo, role):
    yield
    touch(repo)
    resign(repo, role, repo.signed[role], [Key("ecdsa"), Key()])


@attack("unsigned", ROLES, outsider=True)
def strangers_key_under_the_right_id(repo, role):
    yield
    touch(repo)
    k = Key()
    k.id = repo.signers[role][0].id
    resign(repo, role, repo.signed[role], [k])


@attack("unsigned", ROLES, outsider=True)
def changed_after_signing(repo, role):
    def change(data):
        e = json.loads(data)
        e["signed"]["expires"] = date(3000)
        return repo.dump(e)
    yield
    replace(repo, role, change)


@attack("unsigned", changed=())
def root_by_stranger(repo, role):
    yield
    k = Key()
    repo.set_keys("root", [k])
    repo.publish("root")


@attack("unsigned", changed=())
def root_by_old_keys_only(repo, role):
    yield
    old = repo.signers["root"]
    repo.set_keys("root", [Key()])
    repo.publish("root", signers=old)


@attack("unsigned", ROLES[1:])
def signed_by_the_timestamp_key(repo, role):
    """The one key that is online signs for another role."""
    yield
    touch(repo)
    repo.publish(role, signers=repo.signers["timestamp"])
    repo.publish(*[r for r in ("snapshot", "timestamp") if r != role])


# --- extraneous dependencies: more to install than was signed ---

@attack("unsigned", ("targets", CHANNEL), outsider=True)
def another_target(repo, role):
    def change(data):
        e = json.loads(data)
        e["signed"]["targets"][CHANNEL + "/web_9.9.9.json"] = {
            "length": 4, "hashes": {"sha256": hashlib.sha256(b"evil").hexdigest()}}
        return repo.dump(e)
    yield
    replace(repo, role, change)


@attack("unsigned", ("targets",), outsider=True)
def another_delegation(repo, role):
    def change(data):
        e = json.loads(data)
        k = Key()
        e["signed"]["delegations"]["keys"][k.id] = k.obj
        e["signed"]["delegations"]["roles"].insert(0, {
            "name": "evil", "keyids": [k.id], "threshold": 1, "terminating": True, "paths": ["*/*"]})
        return repo.dump(e)
    yield
    replace(repo, role, change)


@attack("unlisted", changed=("timestamp", "snapshot", "targets"))
def delegation_without_a_listing(repo, role):
    yield
    deleg = repo.signed["targets"]["delegations"]
    deleg["roles"].insert(0, {**deleg["roles"][0], "name": "unknown", "paths": ["*/*"]})
    repo.publish("targets", "snapshot", "timestamp")


# --- fast forward, rollback, freeze ---

@attack("malformed", ROLES, outsider=True)
def fast_forward_past_the_end(repo, role):
    yield
    touch(repo)
    body = {**repo.signed[role], "version": 2**53 + 1}
    resign(repo, role, body)


@attack("rollback", ("timestamp",), changed=())
def rollback(repo, role):
    touch(repo)
    touch(repo)
    yield
    repo.signed["timestamp"]["version"] -= 2
    repo.publish("timestamp")


@attack("rollback", ("snapshot",), changed=())
def rollback_in_timestamp(repo, role):
    touch(repo)
    yield
    repo.signed["snapshot"]["version"] = 1
    repo.publish("snapshot", bump=False)
    repo.publish("timestamp")


@attack("rollback", ("targets", CHANNEL), changed=("timestamp",))
def rollback_in_snapshot(repo, role):
    touch(repo)
    yield
    repo.signed[role]["version"] = 1
    repo.publish(role, bump=False)
    repo.publish("snapshot", "timestamp")


@attack("rollback", changed=())
def rollback_of_root(repo, role):
    """The old root under the next number."""
    yield
    now = repo.signed["root"]["version"]
    repo.files["metadata/%d.root.json" % (now + 1)] = repo.files["metadata/%d.root.json" % now]


@attack("wrong-version", changed=())
def root_that_skips_one(repo, role):
    yield
    repo.signed["root"]["version"] += 2
    body = repo.signed["root"]
    repo.files["metadata/%d.root.json" % (body["version"] - 1)] = repo.dump(
        repo.envelope(body, repo.signers["root"]))


@attack("expired", ROLES)
def expired(repo, role):
    yield
    repo.signed[role]["expires"] = date(-3)
    touch(repo)


@attack("expired", changed=("root",), root=True)
def expired_root(repo, role):
    yield
    repo.signed["root"]["expires"] = date(-3)
    repo.publish("root")


@attack("removed", ("targets", CHANNEL), changed=("timestamp",))
def removed_from_snapshot(repo, role):
    yield
    touch(repo)
    del repo.signed["snapshot"]["meta"][role + ".json"]
    repo.publish("snapshot", "timestamp")


# --- mix and match: files of two states of the repository ---

@attack("wrong-version", ROLES[1:], outsider=True)
def mix_and_match_old(repo, role):
    yield
    old = repo.files["metadata/" + repo.remote(role)]
    replace(repo, role, lambda data: old)


@attack("wrong-version", ROLES[1:], outsider=True)
def mix_and_match_new(repo, role):
    """One file is newer than those that list it."""
    yield
    touch(repo)
    state, name = dict(repo.files), "metadata/" + repo.remote(role)
    touch(repo)
    state[name] = repo.files["metadata/" + repo.remote(role)]
    repo.files = state


# --- a malicious mirror ---

@attack("malformed", ("root", *ROLES), outsider=True)
def html_instead(repo, role):
    page = b"<!DOCTYPE html><html><body><h1>Sign in to the hotel's network</h1></body></html>\n"
    yield
    touch(repo)
    if role == "root":
        repo.files["metadata/%d.root.json" % (repo.signed["root"]["version"] + 1)] = page
    else:
        repo.put(role, page)


@attack("absent", ROLES)
def gone(repo, role):
    yield
    touch(repo)
    del repo.files["metadata/" + repo.remote(role)]


@attack("unsigned", changed=())
def another_publishers_repository(repo, role):
    """Whole, consistent, signed: by others."""
    yield
    other = Repo(repo.consistent)
    for path, entry in repo.signed[CHANNEL]["targets"].items():
        other.signed["targets"]["targets"][path] = entry
    for _ in range(3):
        other.touch()
    repo.files = {n: d for n, d in other.files.items() if not n.endswith(".root.json")}


# --- roles in each other's place ---

def wrong_role(role, other):
    def wrong_role(repo, _):
        shared = [Key()]
        for r in ROLES:
            repo.signers[r] = shared
        for r in ROLES[:3]:
            repo.set_keys(r, shared, 1)
        deleg = repo.signed["targets"]["delegations"]
        deleg["roles"][0].update(keyids=[shared[0].id], threshold=1)
        deleg["keys"][shared[0].id] = shared[0].obj
        repo.publish("root")
        touch(repo)
        yield
        touch(repo)
        repo.put(role, repo.files["metadata/" + repo.remote(other)])
    return wrong_role


for one in ROLES:
    for other in ROLES:
        # with one key for all, the channel's file under the name of targets is caught by its version
        if one != other and {one, other} != {"targets", CHANNEL}:
            ATTACKS.append(Attack("%s in the place of %s" % (other, one), "wrong_role",
                                  wrong_role(one, other), "wrong-type", one, before(one), outsider=True))


# --- signatures and keys ---

@attack("duplicate-signature", ROLES, outsider=True)
def duplicate_signature(repo, role):
    def change(data):
        e = json.loads(data)
        e["signatures"] *= 2
        return repo.dump(e)
    yield
    replace(repo, role, change)


def two_of_two(repo, role, keys, signers):
    """The role asks for two signatures."""
    repo.signers[role] = signers
    if role in ROLES[:3]:
        repo.set_keys(role, keys, 2, signers)
        repo.publish("root")
    else:
        deleg = repo.signed["targets"]["delegations"]
        deleg["roles"][0].update(keyids=[k.id for k in keys], threshold=2)
        deleg["keys"].update({k.id: k.obj for k in keys})


@attack("unsigned", ROLES, outsider=True)
def one_signature_of_two(repo, role):
    a, b = Key(), Key("ecdsa")
    two_of_two(repo, role, [a, b], [a, b])
    touch(repo)
    yield
    touch(repo)
    resign(repo, role, repo.signed[role], [b])


@attack("unsigned", ROLES, outsider=True)
def one_key_under_two_ids(repo, role):
    """Honest with both keys; the attacker has one of them, which stands there under two ids."""
    a, b = Key(), Key()
    two_of_two(repo, role, [a, a.twin({"x": 1}), b], [a, b])
    touch(repo)
    yield
    touch(repo)
    resign(repo, role, repo.signed[role], [a, a.twin({"x": 1})])


@attack("unsigned", ROLES, outsider=True)
def one_key_listed_twice(repo, role):
    a, b = Key(), Key()
    two_of_two(repo, role, [a, a, b], [a, b])
    touch(repo)
    yield
    touch(repo)
    resign(repo, role, repo.signed[role], [a])


@attack("unsigned", ROLES, outsider=True)
def one_signature_under_both_ids(repo, role):
    a, b = Key(), Key()
    two_of_two(repo, role, [a, b], [a, b])
    touch(repo)
    yield
    touch(repo)
    e = repo.envelope(repo.signed[role], [a])
    e["signatures"].append({**e["signatures"][0], "keyid": b.id})
    repo.put(role, repo.dump(e))


@attack("wrong-key-id", ROLES, outsider=True)
def key_under_another_id(repo, role):
    a, b, liar = Key(), Key(), Key()
    liar.id = hashlib.sha256(b"not the hash of the key").hexdigest()
    two_of_two(repo, role, [a, b, liar], [a, b])
    touch(repo)
    yield
    touch(repo)
    resign(repo, role, repo.signed[role], [a, liar])


# --- names ---

@attack("no-target", changed=("timestamp", "snapshot", "targets"))
def role_that_climbs(repo, role):
    """A delegated role named ../x, which may speak for all, has the same file on another path."""
    yield
    repo.delegate("targets", "../x", ["*/*"], terminating=True)
    deleg = repo.signed["targets"]["delegations"]
    deleg["roles"].reverse()
    repo.publish_all()


ATTACKS[-1].changed.add("..%2Fx.json")


# --- what JSON should not be ---

def text_attack(name, change):
    def do(repo, role):
        yield
        replace(repo, role, lambda data: change(data, repo, role))
    do.__name__ = name
    attack("malformed", ROLES, outsider=True)(do)


SIGNED = b'"signed": {'
for title, more in (("duplicate_key", b'"version": 1, "version": 1, '), ("invalid_utf8", b'"x": "\xc3\x28", '),
                    ("surrogate_utf8", b'"x": "\xed\xa0\x80", '), ("overlong_utf8", b'"x": "\xc0\xaf", '),
                    ("lone_surrogate", b'"x": "\\udc00", '), ("nul", b'"x": "\\u0000", '),
                    ("huge_integer", b'"x": ' + b"9" * 5000 + b", "),
                    ("huge_real", b'"x": 1e99999, '), ("fraction", b'"x": 0.1, '),
                    ("not_a_number", b'"x": NaN, '), ("deep_nesting", b'"x": ' + b"[" * 5000 + b"]" * 5000 + b", "),
                    ("very_deep_nesting", b'"x": ' + b'{"a":' * 2500 + b"0" + b"}" * 2500 + b", ")):
    text_attack(title, lambda data, repo, role, more=more: data.replace(SIGNED, SIGNED + more, 1))
text_attack("empty_file", lambda data, repo, role: b"")
text_attack("null", lambda data, repo, role: b"null")
text_attack("byte_order_mark", lambda data, repo, role: b"\xef\xbb\xbf" + data)
text_attack("more_behind_it", lambda data, repo, role: data + b"{}")


def signed_oddity(name, change):
    """By the holder of the role's key, so that only the shape is wrong."""
    def do(repo, role):
        yield
        touch(repo)
        body = change(copy.deepcopy(repo.signed[role]), role)
        repo.put(role, json.dumps({"signatures": [{"keyid": k.id, "sig": k.sign(loose(body))}
                                                  for k in repo.signers[role]], "signed": body}).encode())
    do.__name__ = name
    attack("malformed", ROLES, outsider=True)(do)


def loose(o):
    try:
        return canon_bytes(o)
    except TypeError:
        return json.dumps(o).encode()


def nested(n):
    out = 0
    for _ in range(n):
        out = [out]
    return out


signed_oddity("signed_huge_version", lambda b, role: {**b, "version": 2**63 - 1})
signed_oddity("signed_negative_version", lambda b, role: {**b, "version": -1})
signed_oddity("signed_version_zero", lambda b, role: {**b, "version": 0})
signed_oddity("signed_huge_number", lambda b, role: {**b, "x": 2**64})
signed_oddity("signed_fraction", lambda b, role: {**b, "x": [1.5]})
signed_oddity("signed_too_deep", lambda b, role: {**b, "x": nested(31)})
signed_oddity("signed_no_date", lambda b, role: {**b, "expires": "tomorrow"})
signed_oddity("signed_30_february", lambda b, role: {**b, "expires": "2099-02-30T00:00:00Z"})
signed_oddity("signed_other_specification", lambda b, role: {**b, "spec_version": "2.0.0"})


@attack("too-large", ("snapshot", "targets", CHANNEL), changed=None)
def huge_length_listed(repo, role):
    yield
    touch(repo)
    if role == "snapshot":
        repo.signed["timestamp"]["meta"]["snapshot.json"]["length"] = 2**62
    else:
        repo.signed["snapshot"]["meta"][role + ".json"]["length"] = 2**62
        repo.publish("snapshot")
    repo.publish("timestamp")


@attack("unsigned", changed=("root",), root=True)
def huge_threshold(repo, role):
    """Nobody can ever sign for it."""
    yield
    repo.thresholds["timestamp"] = 2**53
    repo.set_keys("timestamp", repo.signers["timestamp"])
    repo.publish("root", "timestamp")


@attack("unknown-hash", ("snapshot", "targets", CHANNEL))
def only_unknown_hashes(repo, role):
    yield
    touch(repo)
    odd = {"hashes": {"sha1": "00" * 20}}
    if role == "snapshot":
        repo.signed["timestamp"]["meta"]["snapshot.json"].update(odd)
    else:
        repo.signed["snapshot"]["meta"][role + ".json"].update(odd)
        repo.publish("snapshot")
    repo.publish("timestamp")
