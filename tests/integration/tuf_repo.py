# SPDX-License-Identifier: Apache-2.0
"""Makes TUF repositories, honest and hostile, with nothing of Proa's: own canonical JSON, own
signing through python3-cryptography, served by a threaded HTTP server on 127.0.0.1."""
import copy, datetime, hashlib, http.server, json, threading, urllib.parse

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

TOP = ("root", "timestamp", "snapshot", "targets")


def canon(o):
    """OLPC canonical JSON, as text."""
    if isinstance(o, str):
        return '"' + o.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if o is True or o is False:
        return "true" if o else "false"
    if o is None:
        return "null"
    if isinstance(o, int):
        return str(o)
    if isinstance(o, (list, tuple)):
        return "[" + ",".join(canon(x) for x in o) + "]"
    if isinstance(o, dict):
        return "{" + ",".join(canon(k) + ":" + canon(o[k]) for k in sorted(o)) + "}"
    raise TypeError(type(o))


def canon_bytes(o):
    return canon(o).encode()


def date(days, seconds=0):
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return (now + datetime.timedelta(days=days, seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Key:
    """A private key and its KEY object; extra goes into the object and so into the key id."""

    def __init__(self, kind="ed25519", extra=None, private=None, bits=2048):
        self.kind = kind
        if private:
            self.private = private
        elif kind == "ed25519":
            self.private = ed25519.Ed25519PrivateKey.generate()
        elif kind == "ecdsa":
            self.private = ec.generate_private_key(ec.SECP256R1())
        else:
            self.private = rsa.generate_private_key(65537, bits)
        pub = self.private.public_key()
        if kind == "ed25519":
            text = pub.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
        else:
            text = pub.public_bytes(serialization.Encoding.PEM,
                                    serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        scheme = {"ed25519": "ed25519", "ecdsa": "ecdsa-sha2-nistp256", "rsa": "rsassa-pss-sha256"}
        self.obj = {"keytype": kind, "scheme": scheme[kind], "keyval": {"public": text}}
        self.obj.update(extra or {})
        self.id = hashlib.sha256(canon_bytes(self.obj)).hexdigest()

    def twin(self, extra):
        """The same key under another id."""
        return Key(self.kind, extra, self.private)

    def sign(self, data):
        if self.kind == "ed25519":
            return self.private.sign(data).hex()
        if self.kind == "ecdsa":
            return self.private.sign(data, ec.ECDSA(hashes.SHA256())).hex()
        return self.private.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()),
                                                   padding.PSS.MAX_LENGTH), hashes.SHA256()).hex()


class Repo:
    """State of a repository: `signed` holds each role's body, `signers` who signs it, and `files`
    what the server gives out. Nothing is served before it is published."""

    def __init__(self, consistent=True, kind="ed25519", listed_hashes=False):
        self.consistent, self.listed_hashes = consistent, listed_hashes
        self.files, self.targets = {}, {}
        self.signers = {r: [Key(kind)] for r in TOP}
        self.thresholds = {r: 1 for r in TOP}
        self.delegators = {}  # delegated role -> delegator
        self.style = dict(indent=1)
        common = lambda t: {"_type": t, "spec_version": "1.0.34", "version": 0, "expires": date(30)}
        self.signed = {r: common(r) for r in TOP}
        self.signed["root"].update(consistent_snapshot=consistent, keys={}, roles={})
        self.signed["timestamp"]["meta"] = {}
        self.signed["snapshot"]["meta"] = {}
        self.signed["targets"]["targets"] = {}
        for r in TOP:
            self.set_keys(r, self.signers[r])
        self.publish("root", "targets", "snapshot", "timestamp")

    # keys
    def set_keys(self, role, keys, threshold=None, sign=None):
        """Who may sign a top-level role; does not publish root."""
        root = self.signed["root"]
        if threshold:
            self.thresholds[role] = threshold
        self.signers[role] = list(keys if sign is None else sign)
        root["roles"][role] = {"keyids": [k.id for k in keys], "threshold": self.thresholds[role]}
        for k in keys:
            root["keys"][k.id] = k.obj

    # publishing
    def envelope(self, signed, signers):
        data = canon_bytes(signed)
        return {"signatures": [{"keyid": k.id, "sig": k.sign(data)} for k in signers],
                "signed": signed}

    def dump(self, envelope):
        return json.dumps(envelope, **self.style).encode()

    def listed(self, role, data):
        out = {"version": self.signed[role]["version"]}
        if self.listed_hashes:
            out["length"] = len(data)
            out["hashes"] = {"sha256": hashlib.sha256(data).hexdigest(),
                             "sha512": hashlib.sha512(data).hexdigest()}
        return out

    def remote(self, role, version=None):
        name = urllib.parse.quote(role, "") + ".json"
        if role == "root" or (role != "timestamp" and self.consistent):
            return "%d.%s" % (version or self.signed[role]["version"], name)
        return name

    def put(self, role, data):
        self.files["metadata/" + self.remote(role)] = data

    def publish(self, *roles, bump=True, signers=None):
        for role in roles:
            body = self.signed[role]
            if bump:
                body["version"] += 1
            data = self.dump(self.envelope(body, self.signers[role] if signers is None else signers))
            self.put(role, data)
            if role == "snapshot":
                self.signed["timestamp"]["meta"]["snapshot.json"] = self.listed(role, data)
            elif role not in ("root", "timestamp"):
                self.signed["snapshot"]["meta"][role + ".json"] = self.listed(role, data)

    def touch(self):
        self.publish("targets", "snapshot", "timestamp")

    # targets
    def add_target(self, path, data, role="targets", algorithms=("sha256",), custom=None):
        entry = {"length": len(data),
                 "hashes": {a: hashlib.new(a, data).hexdigest() for a in algorithms}}
        if custom is not None:
            entry["custom"] = custom
        self.signed[role]["targets"][path] = entry
        self.serve_target(path, data, entry)

    def serve_target(self, path, data, entry):
        d, _, base = path.rpartition("/")
        names = ["%s.%s" % (h, base) for h in entry["hashes"].values()] if self.consistent else [base]
        for n in names:
            self.files["targets/" + (d + "/" if d else "") + n] = data

    def delegate(self, delegator, role, paths=None, prefixes=None, terminating=False, keys=None,
                 threshold=1, signers=None):
        keys = keys or [Key()]
        body = self.signed[delegator]
        deleg = body.setdefault("delegations", {"keys": {}, "roles": []})
        d = {"name": role, "keyids": [k.id for k in keys], "threshold": threshold,
             "terminating": terminating}
        if prefixes is not None:
            d["path_hash_prefixes"] = prefixes
        else:
            d["paths"] = paths if paths is not None else ["*"]
        deleg["roles"].append(d)
        deleg["keys"].update({k.id: k.obj for k in keys})
        if role not in self.signed:
            self.signed[role] = {"_type": "targets", "spec_version": "1.0.34", "version": 0,
                                 "expires": date(30), "targets": {}}
            self.signers[role] = list(signers if signers is not None else keys)
        return keys

    def publish_all(self):
        self.publish(*[r for r in self.signed if r not in TOP], "targets", "snapshot", "timestamp")

    # going back to the honest state after an attack
    def save(self):
        return copy.deepcopy({k: v for k, v in self.__dict__.items() if k != "signers"}), \
            {r: list(k) for r, k in self.signers.items()}

    def restore(self, saved):
        self.__dict__.update(copy.deepcopy(saved[0]))
        self.signers = {r: list(k) for r, k in saved[1].items()}


class Server:
    """Serves repo.files; keeps the list of requests. hook(path) may answer instead: bytes, an int
    status, or a function that gets the handler."""

    def __init__(self, repo):
        self.repo, self.requests, self.hook = repo, [], None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65536  # headers and body in one packet, or delayed acknowledgements cost 40 ms
            disable_nagle_algorithm = True

            def do_GET(self):
                raw = self.path.lstrip("/")
                outer.requests.append(raw)
                got = outer.hook(raw) if outer.hook else None
                if callable(got):
                    return got(self)
                if got is None:
                    # metadata names are compared as they are sent, so that quoting is seen
                    got = outer.repo.files.get(
                        raw if raw.startswith("metadata/") else urllib.parse.unquote(raw), 404)
                body = b"" if isinstance(got, int) else got
                self.send_response(got if isinstance(got, int) else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, request, address):
                pass  # a client that refuses endless data hangs up

        self.httpd = Quiet(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.thread = threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = "http://127.0.0.1:%d/" % self.httpd.server_address[1]

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()
