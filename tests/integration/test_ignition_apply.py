#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ignition-lite apply against Debian's Ignition on seeded configs, and all or nothing."""
import base64, configparser, contextlib, gzip, hashlib, http.server, json, os, pathlib, random, re, shutil, signal, socket, ssl, stat
import subprocess, sys
import tempfile, threading, time, unittest

BIN = pathlib.Path(os.environ["PROA_BIN"])
LITE = str(BIN / "ignition-lite")
JUDGE = "/usr/lib/dracut/modules.d/30ignition/ignition"
SEED = int(os.environ.get("PROA_SEED", "20261121"), 0)
RUNS = int(os.environ.get("PROA_RUNS", "12"))

PASSWD = "root:x:0:0:root:/root:/bin/bash\ncore:x:500:500:c:/home/core:/bin/bash\nop:x:501:27::/home/op:/bin/sh\n"
SHADOW = "root:*:19000:0:99999:7:::\ncore:!:19000:0:99999:7:::\nop:!:19000:0:99999:7:::\n"
GROUP = "root:x:0:\ncore:x:500:\nwheel:x:10:\nsudo:x:27:\ndisk:x:6:core\nspare:x:600:\n"
GSHADOW = "root:*::\ncore:!::\nwheel:*::\nsudo:*::\ndisk:*::core\nspare:*::\n"
LOGIN_DEFS = "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nSYS_UID_MIN 100\nSYS_UID_MAX 999\n" \
    "PASS_MAX_DAYS 99999\nUSERGROUPS_ENAB yes\nCREATE_HOME yes\nSUB_UID_COUNT 65536\nSUB_GID_COUNT 65536\n" \
    "SUB_UID_MIN 100000\nSUB_UID_MAX 600100000\nSUB_GID_MIN 100000\nSUB_GID_MAX 600100000\n"

# What is deliberately not as in Ignition 2.14 (docs/ignition-lite.md has the reasons):
#   the owner of a symbolic link that names none (root here; the owner of what it leads to there),
#   passwd-, group- and their like (the tools' backups: Ignition calls usermod once more),
#   a path through a symbolic link that the same config replaces (an error here),
#   /etc/.ignition-lite.done, and what is in the result file besides Ignition's fields.
NOT_COMPARED = {"/etc/" + n for n in ("passwd-", "shadow-", "group-", "gshadow-", "subuid-", "subgid-",
                                      ".ignition-lite.done", ".pwd.lock")}


def put(path, data=b"", mode=0o644, owner=(0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    os.chown(path, *owner)
    os.chmod(path, mode)


def make_root(root):
    """A root as an image has it, with some things in the way."""
    put(root / "etc/passwd", PASSWD)
    put(root / "etc/shadow", SHADOW, 0o640)
    put(root / "etc/group", GROUP)
    put(root / "etc/gshadow", GSHADOW, 0o640)
    put(root / "etc/subuid", "core:100000:65536\n")
    put(root / "etc/subgid", "core:100000:65536\n")
    put(root / "etc/login.defs", LOGIN_DEFS)
    put(root / "etc/skel/.profile", "# hello\n")
    put(root / "etc/selinux/config", "SELINUX=disabled\nSELINUXTYPE=targeted\n")
    put(root / "etc/selinux/targeted/contexts/files/file_contexts", "")
    put(root / "etc/motd", "old\n", 0o600, (500, 27))
    put(root / "data/full/a", "a")
    put(root / "data/full/sub/b", "b", 0o4711, (500, 500))
    put(root / "data/plain", "plain", 0o640, (501, 27))
    os.symlink("/data", root / "abs")
    os.symlink("../data/full", root / "etc/rel")
    os.symlink("/nowhere", root / "dangling")
    put(root / "etc/systemd/system/was.service", "[Install]\nWantedBy=multi-user.target\n")
    (root / "etc/systemd/system/multi-user.target.wants").mkdir()
    os.symlink("/etc/systemd/system/was.service", root / "etc/systemd/system/multi-user.target.wants/was.service")
    os.symlink("/dev/null", root / "etc/systemd/system/masked.service")
    for home, owner in (("core", (500, 500)), ("op", (501, 27))):
        (root / "home" / home).mkdir(parents=True)
        os.chown(root / "home" / home, *owner)
    (root / "var/mail").mkdir(parents=True)
    (root / "usr/lib").mkdir(parents=True)


def look(root, skip=frozenset()):
    """path -> everything there is to know about it, without times"""
    out = {}
    for base, dirs, files in os.walk(root):
        for name in dirs + files:
            p = pathlib.Path(base) / name
            rel = "/" + str(p.relative_to(root))
            if rel in skip:
                continue
            st = p.lstat()
            kind = stat.S_IFMT(st.st_mode)
            body = os.readlink(p) if kind == stat.S_IFLNK else p.read_bytes() if kind == stat.S_IFREG else None
            out[rel] = [oct(st.st_mode), st.st_uid, st.st_gid, st.st_nlink if kind == stat.S_IFREG else 0, body]
    return out


def without_tool_locks(tree):
    """Without what useradd and its like leave when they are killed while they lock a file: /etc/shadow.PID,
    which holds that number. They do not mind it themselves."""
    left = re.compile(r"/etc/(passwd|shadow|group|gshadow|subuid|subgid)\.([0-9]+)")
    return {k: v for k, v in tree.items() if not ((m := left.fullmatch(k)) and
                                                 v[4].rstrip(b"\0\n") in (b"", m[2].encode()))}


def data_url(r, data):
    how = r.randrange(3)
    if how == 0:
        return "data:;base64," + base64.b64encode(data).decode()
    if how == 1:
        return "data:text/plain;charset=utf-8;base64," + base64.b64encode(data).decode()
    return "data:," + "".join(chr(b) if b < 128 and chr(b).isalnum() else f"%{b:02X}" for b in data)


def resource(r, bad=False):
    data = bytes(r.randrange(256) for _ in range(r.choice((0, 1, 20, 300))))
    res, sent = {}, data
    if r.random() < 0.3:
        res["compression"] = "gzip"
        sent = gzip.compress(data)
    if r.random() < 0.4:
        kind = r.choice(("sha256", "sha512"))
        digest = hashlib.new(kind, data + (b"x" if bad else b"")).hexdigest()
        res["verification"] = {"hash": f"{kind}-{digest}"}
    res["source"] = data_url(r, sent) if sent or r.random() < 0.5 else ""
    return res


class Maker:
    """One config. Mostly one that works; sometimes something stands in the way."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.taken = set()

    def path(self, *also):
        r = self.r
        tops = ["/etc", "/opt", "/var/lib", "/abs", "/etc/rel", "/home/core", "/data", "/", "/srv"]
        for _ in range(100):
            if also and r.random() < 0.25:
                p = r.choice(also)
            else:
                p = r.choice(tops).rstrip("/") + "/" + "/".join(
                    r.choice("abcdef") + str(r.randrange(4)) for _ in range(r.randrange(1, 4)))
            # one key space, nothing below a file or a link, nothing that is twice in two spellings
            real = p.replace("/abs/", "/data/").replace("/etc/rel/", "/data/full/")
            if all(not (a + "/").startswith(b + "/") for t in self.taken for q in (p, real)
                   for a, b in ((q, t), (t, q))):
                self.taken |= {p, real}
                return p
        return None

    def node(self, path):
        r, n = self.r, {"path": path}
        if r.random() < 0.3:
            n["user"] = r.choice([{"id": r.randrange(2000)}, {"name": "core"}, {"name": "root"}, {}])
        if r.random() < 0.3:
            n["group"] = r.choice([{"id": r.randrange(2000)}, {"name": "sudo"}, {"name": "core"}, {}])
        return n

    def file(self):
        r = self.r
        n = self.node(self.path("/etc/motd", "/data/plain", "/data/full", "/dangling", "/etc/rel"))
        kind = r.randrange(4)
        if kind < 3:
            n["contents"] = resource(r)
            n["overwrite"] = n["path"] in ("/etc/motd", "/data/plain", "/data/full", "/dangling", "/etc/rel") or \
                r.random() < 0.3
            if r.random() < 0.03:
                n["overwrite"] = False
        if kind == 0 or kind == 3:
            n["append"] = [resource(r) for _ in range(r.randrange(1, 3))]
        if r.random() < 0.6:
            n["mode"] = r.choice((0o600, 0o644, 0o755, 0o400, 0o000))
        return n

    def directory(self):
        r = self.r
        n = self.node(self.path("/data/full", "/home/op", "/var/mail"))
        if r.random() < 0.5:
            n["mode"] = r.choice((0o700, 0o755, 0o750))
        if r.random() < 0.15:
            n["overwrite"] = True
        return n

    def link(self):
        r = self.r
        n = self.node(self.path("/dangling", "/etc/rel", "/data/plain"))
        if n["path"] in ("/dangling", "/etc/rel", "/data/plain"):
            n["overwrite"] = True
        if r.random() < 0.4:
            n["hard"] = True
            n["target"] = r.choice(("/etc/login.defs", "/etc/passwd", "/data/full/a", "/abs/full/a"))
            if r.random() < 0.03:
                n["target"] = "/no/such/file"
        else:
            n["target"] = r.choice(("../x", "/etc/passwd", "y", "/"))
        return n

    def unit(self, i):
        r = self.r
        n = {"name": r.choice((f"u{i}.service", f"u{i}.timer", f"u{i}.socket"))}  # with templates the judge dials systemd
        if r.random() < 0.6:
            n["contents"] = "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
        if r.random() < 0.5:
            n["enabled"] = r.random() < 0.7
        if r.random() < 0.2:
            n["mask"] = r.random() < 0.7
        if r.random() < 0.4:
            n["dropins"] = [{"name": f"{k}0.conf", "contents": f"[Service]\nNice={k}\n"} for k in range(r.randrange(1, 3))]
        return n

    def user(self, i):
        r = self.r
        n = {"name": r.choice(("core", "op")) if r.random() < 0.3 else f"user{i}"}
        new = n["name"].startswith("user")
        if r.random() < 0.5:
            n["sshAuthorizedKeys"] = [f"ssh-ed25519 AAAA{r.randrange(1000)} k{k}" for k in range(r.randrange(1, 4))]
        if r.random() < 0.4:
            n["passwordHash"] = r.choice(("$6$abc$def", "", "$y$j9T$x$y"))
        if r.random() < 0.3:
            n["gecos"] = "A User"
        if r.random() < 0.3:
            n["groups"] = r.sample(["sudo", "wheel", "disk"], r.randrange(1, 3))
        if r.random() < 0.2:
            n["shell"] = "/bin/sh"
        if r.random() < 0.2:
            n["primaryGroup"] = "wheel"
        if new:
            if r.random() < 0.2:
                n["uid"] = 3000 + i
            if r.random() < 0.2:
                n["homeDir"] = f"/var/home{i}"
            for k in ("system", "noUserGroup", "noLogInit"):
                if r.random() < 0.15:
                    n[k] = True
            if "sshAuthorizedKeys" not in n and r.random() < 0.2:
                n["noCreateHome"] = True
            if n.get("system") and "noCreateHome" not in n and "sshAuthorizedKeys" in n:
                del n["system"]
        elif r.random() < 0.15:
            return {"name": n["name"], "shouldExist": False}
        return n

    def make(self):
        r = self.r
        many = lambda f, top: [x for x in (f() for _ in range(r.randrange(top))) if x.get("path", True)]
        c = {"ignition": {"version": r.choice(("3.2.0", "3.3.0"))}, "storage": {}, "systemd": {}, "passwd": {}}
        c["storage"]["files"] = many(self.file, 8)
        c["storage"]["directories"] = many(self.directory, 4)
        c["storage"]["links"] = many(self.link, 4)
        c["systemd"]["units"] = [self.unit(i) for i in range(r.randrange(5))]
        if r.random() < 0.15:
            c["systemd"]["units"].append({"name": "masked.service", "mask": False})
        if r.random() < 0.15:
            c["systemd"]["units"].append({"name": "was.service", "enabled": False})
        users = {u["name"]: u for u in (self.user(i) for i in range(r.randrange(4)))}
        c["passwd"]["users"] = list(users.values())
        gone = {u["name"] for u in users.values() if u.get("shouldExist") is False}
        if r.random() < 0.4:
            c["passwd"]["groups"] = [{"name": "g1"}, {"name": "g2", "gid": 2222, "system": True}]
            if r.random() < 0.5:
                c["passwd"]["groups"].append({"name": "spare", "shouldExist": False})
        if "core" in gone:  # nothing may be owned by who is gone
            for n in sum(c["storage"].values(), []):
                n.pop("user", None), n.pop("group", None)
        return c


class Tree(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ign-apply."))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        os.chmod(self.dir, 0o755)  # the judge writes keys as their user
        tools = self.dir / "bin"
        tools.mkdir()
        put(tools / "setfiles", "#!/bin/sh\nexit 0\n", 0o755)
        self.path = f"{tools}:{os.environ['PATH']}:/usr/sbin:/sbin"

    def root(self, name, fill=make_root):
        root = self.dir / name
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        fill(root)
        return root

    def config(self, doc, name="config.ign"):
        put(self.dir / name, doc if isinstance(doc, (str, bytes)) else json.dumps(doc))
        return self.dir / name

    def lite(self, *args, verb="apply", env=None, ok=None):
        p = subprocess.run([LITE, verb, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=120,
                           env={"PATH": self.path, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""), **(env or {})})
        self.assertIn(p.returncode, (0, 1, 2, 3), p)
        if ok is not None:
            self.assertEqual(p.returncode, ok, (p.args, p.stdout, p.stderr))
        if p.returncode == 1:
            self.assertEqual(p.stderr.splitlines()[-1][:15], "ignition-lite: ", p.stderr)
        return p

    def apply(self, root, doc, *args, ok=0, **kw):
        return self.lite("--root", root, "--config", self.config(doc), "--host", self.dir / "host", *args, ok=ok, **kw)

    def judge(self, root, cfg):
        env = {"PATH": self.path, "IGNITION_CONFIG_FILE": str(cfg)}
        work = self.dir / "judge"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        for stage in ("fetch", "files"):
            p = subprocess.run([JUDGE, "--stage", stage, "--platform", "file", "--root", str(root), "--config-cache",
                                str(work / "cache"), "--state-file", str(work / "state"), "--neednet",
                                str(work / "net"), "--log-to-stdout"], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, env=env, timeout=120)
            if p.returncode:
                return False, p.stdout.strip().splitlines()[-1]
        return True, ""


@unittest.skipUnless(os.geteuid() == 0, "owners need root")
class Same(Tree):
    @staticmethod
    def node_of(tree, path):
        return tree[path.replace("/abs/", "/data/").replace("/etc/rel/", "/data/full/")]

    def test_same_trees(self):
        good = 0
        for i in range(RUNS):
            seed = SEED + i
            doc = Maker(seed).make()
            ours, theirs = self.root("ours"), self.root("theirs")
            before = look(ours)
            p = self.apply(ours, doc, ok=None)
            ok, why = self.judge(theirs, self.dir / "config.ign")
            where = f"PROA_SEED={seed} PROA_RUNS=1\n{json.dumps(doc)}\nours {p.stderr}\ntheirs {why}"
            self.assertEqual(p.returncode == 0, ok, where)
            if not ok:
                self.assertEqual(look(ours), before, where)
                continue
            good += 1
            a, b = look(ours, NOT_COMPARED), look(theirs, NOT_COMPARED)
            for tree in (a, b):
                result = json.loads(tree["/etc/.ignition-result.json"].pop())
                tree["/etc/.ignition-result.json"].append([result["userConfigProvided"], sorted(result)[0]])
                presets = tree.get("/etc/systemd/system-preset/20-ignition.preset")
                if presets:  # the judge's order is that of a Go map; the units are different ones
                    presets[-1] = sorted(presets[-1].splitlines())
                for link in doc["storage"]["links"]:
                    if not link.get("hard") and not (link.get("user") and link.get("group")):
                        self.node_of(tree, link["path"])[1:3] = []
            a["/etc/.ignition-result.json"][-1][-1] = b["/etc/.ignition-result.json"][-1][-1]
            diff = {k: (a.get(k), b.get(k)) for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
            self.assertEqual(diff, {}, where)
        self.assertGreater(good, RUNS // 3)


class Server:
    """An HTTP(S) server whose paths are functions of the handler."""

    def __init__(self, tls=None):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.seen.append((self.path, dict(self.headers)))
                n = outer.count[self.path] = outer.count.get(self.path, 0) + 1
                try:
                    outer.paths.get(self.path.split("?")[0], lambda h, n: outer.say(h, 404))(self, n)
                except OSError:
                    pass

            def log_message(self, *args):
                pass

        self.seen, self.count, self.paths = [], {}, {}
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        if tls:
            self.http.socket = tls.wrap_socket(self.http.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @staticmethod
    def say(h, status, body=b"", **fields):
        h.send_response(status)
        for k, v in {"Content-Length": len(body), **fields}.items():
            h.send_header(k.replace("_", "-"), str(v))
        h.end_headers()
        h.wfile.write(body)

    def body(self, path, body, status=200):
        self.paths[path] = lambda h, n: self.say(h, status, body)
        return self.url + path

    def then(self, path, *answers):
        """The n-th request gets the n-th answer: a status, or (status, body); the last one stays."""
        def go(h, n):
            a = answers[min(n, len(answers)) - 1]
            self.say(h, *(a if isinstance(a, tuple) else (a,)))
        self.paths[path] = go
        return self.url + path

    def to(self, path, url, status=302):
        self.paths[path] = lambda h, n: self.say(h, status, Location=url)
        return self.url + path

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def conf(**top):
    return {"ignition": {"version": "3.3.0", **top.pop("ignition", {})}, **top}


def files(**named):
    return conf(storage={"files": [{"path": "/" + k.replace("_", "/"), **v} for k, v in named.items()]})


class Fetching(Tree):
    def setUp(self):
        super().setUp()
        self.server = Server()
        self.addCleanup(self.server.close)

    def good(self, doc, *args, **kw):
        root = self.root("root", lambda r: None)
        self.apply(root, doc, *args, **kw)
        return root

    def bad(self, doc, *args, says, **kw):
        root = self.root("root", lambda r: put(r / "etc/x", "x"))
        before = look(root)
        p = self.apply(root, doc, *args, ok=1, **kw)
        self.assertEqual(look(root), before)
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, p.stderr)
        return p

    def test_contents(self):
        data = b"hello" * 100
        packed = gzip.compress(data)
        url, gz = self.server.body("/a", data), self.server.body("/a.gz", packed)
        two = self.server.body("/two.gz", gzip.compress(b"one") + gzip.compress(b"two"))
        digest = {"hash": "sha256-" + hashlib.sha256(data).hexdigest()}
        long = {"hash": "sha512-" + hashlib.sha512(data).hexdigest()}
        root = self.good(files(
            a={"contents": {"source": url, "verification": digest}},
            b={"contents": {"source": gz, "compression": "gzip", "verification": long}},
            c={"contents": {"source": two, "compression": "gzip"}, "append": [{"source": url}, {"source": "data:,!"}]}))
        self.assertEqual((root / "a").read_bytes(), data)
        self.assertEqual((root / "b").read_bytes(), data)
        self.assertEqual((root / "c").read_bytes(), b"onetwo" + data + b"!")

    def test_large(self):
        # more than stays in memory, a first try that breaks in the middle, and what is small behind it
        data = random.Random(SEED).randbytes(9 << 20)
        def broken(h, n):
            self.server.say(h, 200, data[:5 << 20] if n == 1 else data, Content_Length=len(data))
            h.close_connection = True
        self.server.paths["/big"] = broken
        digest = {"hash": "sha256-" + hashlib.sha256(data).hexdigest()}
        root = self.good(files(
            a={"contents": {"source": self.server.body("/s", b"small")}},
            big={"contents": {"source": self.server.url + "/big", "verification": digest}},
            c={"contents": {"source": self.server.body("/s", b"small")}, "append": [{"source": self.server.url + "/big"}]}))
        self.assertEqual((root / "big").read_bytes(), data)
        self.assertEqual((root / "c").read_bytes(), b"small" + data)
        self.assertEqual(sorted(os.listdir(root)), ["a", "big", "c", "etc"])

    def test_refused(self):
        hash_of_a = "sha256-" + hashlib.sha256(b"a").hexdigest()
        source = lambda url, **kw: files(f={"contents": {"source": url, **kw}})
        self.bad(source(self.server.body("/x", b"b"), verification={"hash": hash_of_a}), says=["'/f'", "not the hash"])
        self.bad(source(self.server.url + "/none?token=secret"), says=["answers 404"])
        self.assertNotIn("secret", self.bad(source(self.server.url + "/none?token=secret"), says="404").stderr)
        self.bad(source(self.server.body("/g", b"plain"), compression="gzip"), says="no valid gzip")
        self.bad(source(self.server.body("/g", gzip.compress(b"x" * 99)[:-5]), compression="gzip"), says="too early")
        self.bad(source(self.server.then("/e", 403)), says="403")
        self.bad(source(self.server.then("/e5", 503)), "--timeout", "1s", says=["gave up after 1 s", "503"])
        self.bad(source(self.server.to("/loop", self.server.url + "/loop")), says="redirects")
        self.bad(source(self.server.to("/ftp", "ftp://127.0.0.1/x")), says="not followed")
        self.bad(source("http://127.0.0.1:1/"), "--timeout", "1s", says="gave up")
        self.server.paths["/slow"] = lambda h, n: time.sleep(5)
        doc = source(self.server.url + "/slow")
        doc["ignition"]["timeouts"] = {"httpResponseHeaders": 1, "httpTotal": 3}
        self.bad(doc, says=["gave up after 3 s", "no answer within 1 s"])
        def stall(h, n):
            self.server.say(h, 200, b"x", Content_Length=100)
            time.sleep(5)
        self.server.paths["/stall"] = stall
        self.bad(source(self.server.url + "/stall"), "--timeout", "2s", says="gave up")

    def test_bomb(self):
        # a config has the smaller limit; that of files is 1 GiB and the same code
        bomb = self.server.body("/b", gzip.compress(bytes(100 << 20), 9))
        self.bad(conf(ignition={"config": {"merge": [{"source": bomb, "compression": "gzip"}]}}),
                 says="/b: it decompresses to more than 16777216 bytes")
        self.bad(conf(ignition={"config": {"replace": {"source": self.server.body("/c", bytes(17 << 20))}}}),
                 says="/c: it is larger than 16777216 bytes")

    def test_retries_and_redirects(self):
        self.server.then("/flaky", 500, 502, (200, b"there"))
        hop = self.server.to("/hop", self.server.url + "/flaky", 307)
        doc = files(f={"contents": {"source": hop, "httpHeaders": [{"name": "X-Token", "value": "t"}]}})
        root = self.good(doc)
        self.assertEqual((root / "f").read_bytes(), b"there")
        self.assertEqual({p: "X-Token" in f for p, f in self.server.seen}, {"/hop": True, "/flaky": False})

    def test_merge(self):
        leaf = json.dumps(files(m={"contents": {"source": "data:,leaf"}}, only={"contents": {"source": "data:,o"}}))
        packed = gzip.compress(leaf.encode())
        inner = files(m={"contents": {"source": "data:,inner"}})
        inner["ignition"]["config"] = {"merge": [{
            "source": self.server.body("/leaf", packed), "compression": "gzip",
            "verification": {"hash": "sha512-" + hashlib.sha512(leaf.encode()).hexdigest()}}]}
        outer = files(m={"contents": {"source": "data:,outer"}, "mode": 0o600}, top={"contents": {"source": "data:,t"}})
        outer["ignition"]["config"] = {"merge": [{"source": self.server.body("/inner", json.dumps(inner).encode()),
                                                  "httpHeaders": [{"name": "A", "value": "b"}]}]}
        root = self.good(outer)
        self.assertEqual((root / "m").read_text(), "leaf")
        self.assertEqual((root / "m").stat().st_mode & 0o777, 0o600)
        self.assertEqual(((root / "only").read_text(), (root / "top").read_text()), ("o", "t"))
        self.assertIn("version=3.5.0", dict(self.server.seen)["/inner"]["Accept"])
        replaced = files(no={"contents": {"source": "data:,no"}})
        replaced["ignition"]["config"] = {"replace": {"source": self.server.url + "/leaf", "compression": "gzip"}}
        root = self.good(replaced)
        self.assertFalse((root / "no").exists())
        self.assertTrue((root / "only").exists())

    def test_merge_refused(self):
        loop = conf(ignition={"config": {"merge": [{"source": self.server.url + "/loop"}]}})
        self.server.body("/loop", json.dumps(loop).encode())
        self.bad(loop, says="loop")
        self.bad(conf(ignition={"config": {"replace": {"source": self.server.url + "/loop2"}}}), says="404")
        again = conf(ignition={"config": {"replace": {"source": self.server.url + "/again"}}})
        self.server.body("/again", json.dumps(again).encode())
        self.bad(again, says="loop")
        self.bad(conf(ignition={"config": {"merge": [{"source": self.server.body("/nothing", b"")}]}}), says="no config")
        self.bad(conf(ignition={"config": {"merge": [{"source": self.server.body("/bad", b"{")}]}}), says="/bad")

    def test_tls(self):
        run = lambda *a: subprocess.run(a, cwd=self.dir, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            "ca.key", "-out", "ca.pem", "-days", "3650", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.dir / "ca.pem", self.dir / "ca.key")
        secure = Server(tls)
        self.addCleanup(secure.close)
        doc = files(f={"contents": {"source": secure.body("/f", b"tls")}})
        self.bad(doc, says="certificate")
        pem = (self.dir / "ca.pem").read_bytes()
        doc["ignition"]["security"] = {"tls": {"certificateAuthorities": [
            {"source": self.server.body("/ca", pem), "verification": {"hash": "sha256-" + hashlib.sha256(pem).hexdigest()}}]}}
        self.assertEqual((self.good(doc) / "f").read_bytes(), b"tls")
        down = files(f={"contents": {"source": secure.to("/down", self.server.body("/plain", b"no"))}})
        down["ignition"]["security"] = doc["ignition"]["security"]
        self.bad(down, says="redirects from https")
        self.assertEqual((self.good(files(f={"contents": {"source": secure.url + "/f"}}), "--ca", self.dir / "ca.pem")
                          / "f").read_bytes(), b"tls")

    def test_proxy(self):
        self.server.paths["http://nowhere.invalid/f"] = lambda h, n: self.server.say(h, 200, b"by proxy")
        doc = files(f={"contents": {"source": "http://nowhere.invalid/f"}})
        doc["ignition"]["proxy"] = {"httpProxy": self.server.url}
        self.assertEqual((self.good(doc) / "f").read_bytes(), b"by proxy")
        doc["ignition"]["proxy"]["noProxy"] = ["nowhere.invalid"]
        self.bad(doc, "--timeout", "1s", says="nowhere.invalid")
        # the environment is nobody's config
        self.bad(files(f={"contents": {"source": "http://nowhere.invalid/f"}}), "--timeout", "1s",
                 env={"http_proxy": self.server.url}, says="nowhere.invalid")


    def raw(self, *answers, tls=None):
        """A server that says these bytes, one after the other, and nothing else; its URL and what it heard."""
        heard, listener = [], socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        todo = list(answers)

        def serve():
            while True:
                try:
                    c, _ = listener.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), tls.wrap_socket(c, server_side=True) if tls else c as c:
                    text = b""
                    while b"\r\n\r\n" not in text:
                        text += c.recv(4096) or b"\r\n\r\n"
                    heard.append(text.decode())
                    answer = todo.pop(0) if len(todo) > 1 else todo[0]
                    for piece in [answer] if isinstance(answer, bytes) else answer:
                        c.sendall(piece)
        threading.Thread(target=serve, daemon=True).start()
        return "http%s://127.0.0.1:%d" % ("s" if tls else "", listener.getsockname()[1]), heard

    def one(self, url, **kw):
        return files(f={"contents": {"source": url, **kw}})

    def test_wire(self):
        ok = b"HTTP/1.1 200 OK\r\n"
        url, heard = self.raw(ok + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",  # cut: tried again
                              ok + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n")
        root = self.good(self.one(url.replace("//", "//me:se%63ret@") + "/a b?c".replace(" ", "%20"), httpHeaders=[
            {"name": "User-Agent", "value": "mine"}, {"name": "X-More", "value": "a b"}]))
        self.assertEqual((root / "f").read_bytes(), b"abcde")
        self.assertEqual(len(heard), 2)
        lines = heard[0].split("\r\n")
        self.assertEqual(lines[0], "GET /a%20b?c HTTP/1.1")
        for line in ("Host: " + url[7:], "User-Agent: mine", "X-More: a b",
                     "Authorization: Basic " + base64.b64encode(b"me:secret").decode()):
            self.assertEqual(lines.count(line), 1, (line, lines))
        self.assertEqual(sum(l.startswith("User-Agent") for l in lines), 1)
        url, heard = self.raw(b"HTTP/1.1 308 P\r\nLocation: ../d/./e?f#g\r\n\r\n", b"HTTP/1.0 200\n\nto the end")
        self.assertEqual((self.good(self.one(url + "/x/y/z")) / "f").read_bytes(), b"to the end")
        self.assertEqual(heard[1].split("\r\n")[0], "GET /x/d/e?f HTTP/1.1")
        for answer, says in ((b"SSH-2.0-x\r\n", "HTTP/0.9"), (ok + b"Content-Length: 9\r\n\r\nshort", "4 bytes remaining"),
                             (b"", "Empty reply"), ([b"HTTP/1.1 200 OK\r\n"] + [b"A: b\r\n" * 9999] * 30, "Too large response headers"),
                             (b"HTTP/1.1 302 Found\r\n\r\n", "redirects to nowhere"),
                             (b"HTTP/1.1 302 Found\r\nLocation: http://a b/\r\n\r\n", "URL")):
            self.bad(self.one(self.raw(answer)[0] + "/"), "--timeout", "1s", says=says)

    def certificates(self):
        """A CA, and server contexts for 127.0.0.1, localhost and elsewhere.invalid by it; one that has run out."""
        run = lambda *a: subprocess.run(a, cwd=self.dir, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        run("openssl", "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650", "-subj", "/CN=ca")
        made = {}
        for name, names, when in (("ip", "IP:127.0.0.1", ()), ("name", "DNS:localhost", ()), ("other", "DNS:elsewhere.invalid", ()),
                                  ("old", "IP:127.0.0.1", ("faketime", "2001-01-01"))):
            run("openssl", "req", *new, "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=127.0.0.1",
                "-addext", "subjectAltName=" + names)
            run(*when, "openssl", "x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "30", "-copy_extensions", "copy", "-out", name + ".pem")
            made[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            made[name].load_cert_chain(self.dir / (name + ".pem"), self.dir / (name + ".key"))
        return made

    def test_names(self):
        made, ca = self.certificates(), ("--ca", self.dir / "ca.pem")
        def at(name):
            server = Server(made[name])
            self.addCleanup(server.close)
            return server.body("/f", name.encode())
        self.assertEqual((self.good(self.one(at("ip")), *ca) / "f").read_bytes(), b"ip")
        named = at("name")
        self.assertEqual((self.good(self.one(named.replace("127.0.0.1", "localhost")), *ca) / "f").read_bytes(), b"name")
        self.bad(self.one(named), *ca, says=["certificate", "127.0.0.1"])
        self.bad(self.one(at("other").replace("127.0.0.1", "localhost")), *ca, says=["certificate", "localhost"])
        self.bad(self.one(at("old")), *ca, says=["certificate", "expired"])
        # what is cut off is not whole
        url, _ = self.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhalf", tls=made["ip"])
        self.bad(self.one(url + "/"), *ca, "--timeout", "1s", says="1 bytes remaining")
        put(self.dir / "no.pem", "nothing")
        self.bad(self.one(at("ip")), "--ca", self.dir / "no.pem", says="CA certificate")

    def tunnel(self, answer=b"HTTP/1.1 200 Connected\r\n\r\n", tls=None):
        """A proxy that knows CONNECT; its URL and what it heard."""
        heard, listener = [], socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def pump(a, b):
            with contextlib.suppress(OSError):
                while data := a.recv(65536):
                    b.sendall(data)
            with contextlib.suppress(OSError):
                b.shutdown(socket.SHUT_WR)

        def one(c):
            with contextlib.suppress(OSError):
                c = tls.wrap_socket(c, server_side=True) if tls else c
                text = b""
                while b"\r\n\r\n" not in text:
                    text += c.recv(4096) or b"\r\n\r\n"
                heard.append(text.decode())
                c.sendall(answer)
                if b" 200 " in answer:
                    port = int(re.match(r"CONNECT \S+:(\d+) ", heard[-1])[1])
                    with socket.create_connection(("127.0.0.1", port)) as to:
                        back = threading.Thread(target=pump, args=(to, c), daemon=True)
                        back.start()
                        pump(c, to)
                        back.join()
            c.close()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()
        threading.Thread(target=serve, daemon=True).start()
        return "http%s://me:pw@127.0.0.1:%d" % ("s" if tls else "", listener.getsockname()[1]), heard

    def test_tunnel(self):
        made, ca = self.certificates(), ("--ca", self.dir / "ca.pem")
        secure = Server(made["ip"])
        self.addCleanup(secure.close)
        big = random.Random(SEED).randbytes(3 << 20)
        doc = self.one(secure.body("/f", big))
        for tls in (None, made["ip"]):
            url, heard = self.tunnel(tls=tls)
            doc["ignition"]["proxy"] = {"httpsProxy": url, "httpProxy": "http://127.0.0.1:1"}
            self.assertEqual((self.good(doc, *ca) / "f").read_bytes(), big)
            self.assertEqual(heard[0].split("\r\n")[0], "CONNECT %s HTTP/1.1" % secure.url[8:])
            self.assertIn("Proxy-Authorization: Basic " + base64.b64encode(b"me:pw").decode(), heard[0])
            self.assertNotIn("GET", heard[0])
        doc["ignition"]["proxy"] = {"httpsProxy": self.tunnel(b"HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\nno!")[0]}
        p = self.bad(doc, *ca, says="the proxy answers 407")
        self.assertNotIn("pw", p.stderr)
        doc["ignition"]["proxy"]["noProxy"] = ["127.0.0.0/8"]
        self.assertEqual((self.good(doc, *ca) / "f").read_bytes(), big)


class Sources(Tree):
    def host(self, cmdline="", **named):
        host = self.dir / "host"
        shutil.rmtree(host, ignore_errors=True)
        put(host / "proc/cmdline", cmdline)
        for path, text in named.items():
            put(host / path, text if isinstance(text, (str, bytes)) else json.dumps(text))
        return host

    def find(self, *args, ok=0, **kw):
        root = self.root("root", lambda r: None)
        p = self.lite("--root", root, "--host", self.dir / "host", *args, ok=ok, **kw)
        return root, p

    def one(self, text):
        return files(f={"contents": {"source": "data:," + text}})

    def fw(self, name):
        return f"sys/firmware/qemu_fw_cfg/by_name/{name}/raw"

    def test_order(self):
        server = Server()
        self.addCleanup(server.close)
        url = server.body("/c", json.dumps(self.one("url")).encode())
        every = {"usr/lib/ignition/user.ign": self.one("image"), self.fw("opt/com.coreos/config"): self.one("fw"),
                 self.fw("opt/org.flatcar-linux/config"): self.one("flatcar")}
        self.host(f"quiet ignition.config.url={url}", **every)
        self.assertEqual((self.find()[0] / "f").read_text(), "url")
        self.host("quiet", **every)
        self.assertEqual((self.find()[0] / "f").read_text(), "image")
        del every["usr/lib/ignition/user.ign"]
        self.host("ignition.platform.id=qemu", **every)
        self.assertEqual((self.find()[0] / "f").read_text(), "fw")
        del every[self.fw("opt/com.coreos/config")]
        self.host("", **every)
        self.assertEqual((self.find()[0] / "f").read_text(), "flatcar")
        self.host("ignition.platform.id=metal", **every)
        self.assertFalse((self.find()[0] / "f").exists())
        self.host("ignition.platform.id=ec2", **every)
        self.assertIn("platform 'ec2'", self.find(ok=1)[1].stderr)
        put(self.dir / "config.ign", json.dumps(self.one("file")))
        self.host("ignition.platform.id=file")
        root, _ = self.find(env={"IGNITION_CONFIG_FILE": str(self.dir / "config.ign")})
        self.assertEqual((root / "f").read_text(), "file")

    def test_base(self):
        named = lambda **k: files(**{n: {"contents": {"source": "data:," + t}} for n, t in k.items()})
        self.host("ignition.platform.id=qemu", **{
            "usr/lib/ignition/base.d/20-b.ign": named(a="2", b="2", u="2"),
            "usr/lib/ignition/base.d/10-a.ign": named(a="1", c="1"),
            "usr/lib/ignition/base.d/not.json": "{",
            "usr/lib/ignition/base.platform.d/qemu/x.ign": named(b="q"),
            "usr/lib/ignition/base.platform.d/azure/x.ign": named(b="z"),
            self.fw("opt/com.coreos/config"): named(u="user")})
        root, _ = self.find()
        self.assertEqual([(root / n).read_text() for n in "abcu"], ["2", "q", "1", "user"])

    def test_none(self):
        self.host("")
        root, p = self.find()
        self.assertIn("no config was given", p.stdout)
        self.assertIs(json.loads((root / "etc/.ignition-result.json").read_text())["userConfigProvided"], False)
        self.find_again(root)

    def find_again(self, root):
        p = self.lite("--root", root, "--host", self.dir / "host", ok=3)
        self.assertIn("was provisioned", p.stdout)

    def test_azure(self):
        server = Server()
        self.addCleanup(server.close)
        path = "/metadata/instance/compute/userData"
        b64 = base64.b64encode(json.dumps(self.one("imds")).encode())
        azure = lambda **kw: self.find("--platform", "azure", "--imds", server.url, "--timeout", "4s", **kw)
        cd = {"media/cdrom/ovf-env.xml": "<x/>", "media/cdrom/CustomData.bin": self.one("cdrom")}
        self.host("", **cd)
        for first in ((), (404,), (410,), (429,), (500, 503)):
            server.count.clear()
            server.then(path, *first, (200, b64 + b"\n"))
            self.assertEqual((azure()[0] / "f").read_text(), "imds", first)
        seen = server.seen[0]
        self.assertEqual((seen[1]["Metadata"], seen[0].split("?")[1]), ("true", "api-version=2021-01-01&format=text"))
        server.then(path, (200, b""))
        self.assertEqual((azure()[0] / "f").read_text(), "cdrom")
        self.host("")
        self.assertFalse((azure()[0] / "f").exists())
        server.then(path, (200, b"%%%"))
        self.assertIn("base64", azure(ok=1)[1].stderr)
        server.then(path, 404)
        self.assertIn("gave up after 4 s", azure(ok=1)[1].stderr)
        server.then(path, 400)
        self.assertIn("answers 400", azure(ok=1)[1].stderr)
        server.paths[path] = lambda h, n: time.sleep(5)
        self.assertIn("gave up", self.find("--platform", "azure", "--imds", server.url, "--timeout", "1s", ok=1)[1].stderr)

    def test_probe(self):
        root = self.root("root", lambda r: None)
        probe = lambda ok, *a: self.lite("--root", root, "--host", self.dir / "host", *a, verb="probe", ok=ok)
        fw = self.fw("opt/com.coreos/config")
        self.host("")
        probe(3)
        self.host("", **{fw: self.one("x")})
        probe(3)
        self.host("", **{fw: files(f={"contents": {"source": "https://x.invalid/"}})})
        probe(0)
        self.host("", **{fw: conf(ignition={"config": {"merge": [{"source": "http://x.invalid/"}]}})})
        probe(0)
        self.host("ignition.config.url=http://x.invalid/")
        probe(0)
        self.host("ignition.platform.id=azure")
        probe(0)
        self.host("", **{fw: "{"})
        probe(1)
        self.assertEqual(os.listdir(root), [])


@unittest.skipUnless(os.geteuid() == 0, "owners need root")
class Whole(Tree):
    """All or nothing."""
    BAD_END = {"path": "/zz/hard", "target": "/no/such/file", "hard": True}

    def test_once(self):
        doc = files(f={"contents": {"source": "data:,1"}})
        root = self.root("root")
        self.apply(root, doc, "--dry-run")
        before = look(root)
        p = self.apply(root, doc, "--explain")
        self.assertIn("/f", p.stdout)
        self.assertEqual(look(root), before)
        self.assertIn("sha256", self.apply(root, doc).stdout)
        after = look(root)
        self.assertIn("was provisioned", self.apply(root, files(g={}), ok=3).stdout)
        self.assertEqual(look(root), after)
        # asked for: it is done again, and the first report is kept
        self.apply(root, doc, "--force", ok=1)
        self.assertEqual(look(root), after)
        self.apply(root, files(g={}), "--force")
        self.assertTrue((root / "g").exists())
        result = json.loads((root / "etc/.ignition-result.json").read_text())
        self.assertIn("provisioningDate", result["previousReport"])
        put(self.dir / "host/proc/cmdline", "ignition.firstboot=1")
        out = json.loads(self.apply(root, files(h={}), "--json").stdout)
        self.assertEqual((out["outcome"], out["steps"]), ("applied", 1))
        self.assertTrue((root / "h").exists())

    def test_failure_leaves_nothing(self):
        failed = 0
        for i in range(RUNS):
            doc = Maker(SEED + 5000 + i).make()
            doc["storage"]["links"].append(self.BAD_END)
            root = self.root("root")
            before = look(root)
            self.apply(root, doc, ok=1)
            self.assertEqual(look(root), before, f"PROA_SEED={SEED + i} PROA_RUNS=1\n{json.dumps(doc)}")
            failed += 1
        self.assertEqual(failed, RUNS)

    def end_tools(self, root):
        """A power cut ends useradd and its like as well; here they have process groups of their own."""
        while True:
            left = []
            for p in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if any(a == str(root).encode() or a.startswith(str(root).encode() + b"/")
                           for a in p.read_bytes().split(b"\0")):
                        left.append(int(p.parent.name))
                        os.kill(left[-1], signal.SIGKILL)
                except OSError:
                    pass
            if not left:
                return
            time.sleep(0.01)

    def test_killed_anywhere(self):
        rng = random.Random(SEED)
        undone = 0
        for i in range(RUNS):
            doc = Maker(SEED + 9000 + i).make()
            doc["storage"].setdefault("files", []).extend(
                {"path": f"/many/{k % 7}/{k}", "contents": {"source": "data:,x"}} for k in range(150))
            cfg, root, clean = self.config(doc), self.root("root"), self.root("clean")
            args = [LITE, "apply", "--host", str(self.dir / "host"), "--config", str(cfg), "--root"]
            env = {"PATH": self.path}
            start = time.monotonic()
            want = subprocess.run([*args, str(clean)], env=env, capture_output=True).returncode
            took = time.monotonic() - start
            before = look(root)
            p = subprocess.Popen([*args, str(root)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 start_new_session=True)
            time.sleep(took * rng.random())
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
            self.end_tools(root)
            undone += (root / "etc/.ignition-lite.undo").exists() and not (root / "etc/.ignition-lite.done").exists()
            other = self.config(files(other={}), "other.ign")
            q = subprocess.run([LITE, "apply", "--host", str(self.dir / "host"), "--config", str(other), "--root",
                                str(root)], env=env, capture_output=True, text=True)
            self.assertIn(q.returncode, (0, 3), q.stderr)
            now = look(root, {"/other", "/etc/.ignition-result.json", "/etc/.ignition-lite.done"})
            where = f"seed {SEED + 9000 + i}, {json.dumps(doc)}"
            if q.returncode == 0:  # the cut run left nothing behind
                self.assertEqual(without_tool_locks(now), before, where)
            else:                  # or it was done: then all of it is there
                self.assertEqual(want, 0, where)
                self.assertEqual(now, look(clean, {"/etc/.ignition-result.json", "/etc/.ignition-lite.done"}), where)
        self.assertGreater(undone, 0)

    def injected(self, root, doc, *inject):
        """A run whose system calls fail, or are its last, as strace's --inject says."""
        env = {"PATH": self.path, "ASAN_OPTIONS": "detect_leaks=0"}  # which does not work under ptrace(2)
        calls = ",".join(i.split(":")[0] for i in inject)
        return subprocess.run(["strace", "-qqq", "-o", self.dir / "trace", "-e", "trace=" + calls, *(a for i in inject for a in ("-e", "inject=" + i)),
                               LITE, "apply", "--force", "--host", str(self.dir / "host"), "--config", str(self.config(doc)), "--root", str(root)],
                              env=env, capture_output=True, text=True, timeout=120)

    STEPS = {"f": {"contents": {"source": "data:,new"}}, "etc_motd": {"contents": {"source": "data:,new"}, "overwrite": True},
             "dangling": {"contents": {"source": "data:,new"}, "overwrite": True}, "d_e_f": {"contents": {"source": "data:,new"}},
             "data_full": {"contents": {"source": "data:,new"}, "overwrite": True}}
    # fsync(2) of a run: the log, its directory, the stamp, its directory, and then those of the way back
    LOG_DIR, STAMP, STAMP_DIR = 2, 3, 4

    def before_way_back(self, call):
        """Its calls until the stamp's directory could not be synced."""
        self.injected(self.root("root"), files(**self.STEPS), f"fsync:error=EIO:when={self.STAMP_DIR}", call + ":delay_enter=0")
        calls = (self.dir / "trace").read_text().split("(INJECTED)")[0].splitlines()
        return [l for l in calls if l.startswith(call + "(")]

    def test_syncs_fail(self):
        """A run that fails leaves nothing, whichever sync it is that fails; an earlier run's stamp is what it was."""
        for stamped in (False, True):
            for n in range(1, self.STAMP_DIR + 1):
                root = self.root("root")
                if stamped:
                    self.apply(root, files(first={}))
                before = look(root)
                p = self.injected(root, files(**self.STEPS), f"fsync:error=EIO:when={n}")
                self.assertEqual((p.returncode, "Input/output" in p.stderr), (1, True), (n, p.stderr))
                self.assertEqual(look(root), before, n)
                self.apply(root, files(**self.STEPS), ok=3 if stamped else 0)

    def test_stamp_stays(self):
        """Where the stamp may be on the medium nothing goes back: the next run sees whether it is, and ends it."""
        root, clean = self.root("root"), self.root("clean")
        p = self.injected(root, files(**self.STEPS), f"fsync:error=EIO:when={self.STAMP_DIR}+")
        self.assertEqual(p.returncode, 1)
        self.assertIn("the next run", p.stderr)
        self.assertEqual((root / "etc/motd").read_text(), "new")
        self.assertTrue((root / "etc/.ignition-lite.undo").exists())
        self.apply(root, files(other={}))
        self.apply(clean, files(other={}))
        skip = {"/etc/.ignition-result.json", "/etc/.ignition-lite.done"}
        self.assertEqual(look(root, skip), look(clean, skip))
        # with the stamp still there it is forward
        fails = f"fsync:error=EIO:when={self.STAMP_DIR}"
        n = len(self.before_way_back("unlinkat")) + 1
        root = self.root("root")
        p = self.injected(root, files(**self.STEPS), fails, f"unlinkat:error=EIO:when={n}")
        self.assertEqual((p.returncode, (root / "etc/.ignition-lite.done").exists()), (1, True), p.stderr)
        self.apply(root, files(other={}), ok=3)
        self.apply(clean := self.root("clean"), files(**self.STEPS))
        self.assertEqual(look(root, skip), look(clean, skip))

    def test_cut_on_the_way_back(self):
        """The stamp could not be synced, and the power goes at any call of the way back: all or nothing all the same."""
        other = {"/other", "/etc/.ignition-result.json", "/etc/.ignition-lite.done"}
        for stamped, cut in ((False, ("unlinkat", "renameat", "symlinkat", "fchmodat", "syncfs")), (True, ("unlinkat",))):
            done, back = 0, 0
            clean = self.root("clean")
            if stamped:
                self.apply(clean, files(first={}))
            self.apply(clean, files(**self.STEPS), "--force")
            for call in cut:
                for n in range(len(self.before_way_back(call)) + 1, 200):
                    root = self.root("root")
                    if stamped:
                        self.apply(root, files(first={}))
                    before = look(root)
                    p = self.injected(root, files(**self.STEPS), f"fsync:error=EIO:when={self.STAMP_DIR}",
                                      f"{call}:signal=SIGKILL:when={n}")
                    if p.returncode == 1:  # it makes no n-th one
                        self.assertEqual(look(root), before)
                        break
                    q = self.apply(root, files(other={}), ok=None)
                    forward = q.returncode == 3 and (root / "d/e/f").exists()
                    where = (stamped, call, n, p, q)
                    self.assertEqual(q.returncode, 3 if stamped or forward else 0, where)
                    self.assertEqual(look(root, other), look(clean, other) if forward else {
                        k: v for k, v in before.items() if k not in other}, where)
                    if stamped and not forward:
                        self.assertEqual(look(root), before, where)
                    done, back = done + forward, back + (not forward)
            self.assertGreater(back, 10)
            self.assertEqual(done, 1)  # where the stamp was still there

    def test_one_at_a_time(self):
        root = self.root("root")
        held = os.open(root, os.O_RDONLY)
        self.addCleanup(os.close, held)
        import fcntl
        fcntl.flock(held, fcntl.LOCK_EX)
        self.assertIn("another ignition-lite", self.apply(root, files(f={}), ok=1).stderr)

    def test_confined(self):
        outside = self.dir / "outside"
        outside.mkdir()
        root = self.root("root")
        for name, target in (("up", "../" * 20 + str(outside)), ("out", str(outside)), ("loop", "loop2"), ("loop2", "loop")):
            os.symlink(target, root / name)
        self.apply(root, conf(storage={"files": [{"path": f"/{n}/f", "contents": {"source": "data:,x"}}
                                                 for n in ("up", "out")][:1]}))
        self.assertEqual(list(outside.iterdir()), [])
        self.assertTrue(pathlib.Path(str(root) + str(outside) + "/f").exists())
        p = self.apply(root, files(loop_f={}), "--force", ok=1)
        self.assertIn("more than 40 symbolic links", p.stderr)

    def test_refused_first(self):
        root = self.root("root")
        before = look(root)
        for doc, says in (
                (conf(kernelArguments={"shouldExist": ["nosmt"]}), "signed UKI"),
                (conf(storage={"luks": [{"name": "x", "device": "/dev/x"}]}), "luks"),
                (conf(storage={"files": [{"path": "/f", "contents": {"source": "s3://a/b"}}]}), "s3"),
                (conf(storage={"filesystems": [{"device": "/dev/null", "format": "ext4", "path": "/"}]}), "mounted already"),
                (files(f={"user": {"name": "nobody-here"}}), "no user 'nobody-here'"),
                (conf(passwd={"groups": [{"name": "wheel"}]}), "exists already"),
                ("{", "config.ign"), ("[]", "config.ign"), ({"ignition": {"version": "2.3.0"}}, "$.ignition.version")):
            p = self.apply(root, doc, ok=1)
            self.assertIn(says, p.stderr)
            self.assertEqual(look(root), before)
        guid = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
        for name, text in (("LoaderEntrySelected", "proa_1.0.0+3-0.efi"), ("StubInfo", "systemd-stub 252.39-1")):
            put(self.dir / f"host/sys/firmware/efi/efivars/{name}-{guid}", b"\6\0\0\0" + (text + "\0").encode("utf-16-le"))
        p = self.apply(root, conf(kernelArguments={"shouldExist": ["nosmt"]}), ok=1)
        for says in ("'nosmt' is not in the command line of 'proa_1.0.0+3-0.efi'", "systemd-stub 252.39-1 reads no addons"):
            self.assertIn(says, p.stderr)
        self.assertEqual(look(root), before)
        put(self.dir / "host/proc/cmdline", "quiet nosmt")
        self.apply(root, conf(kernelArguments={"shouldExist": ["nosmt"], "shouldNotExist": ["debug"]}))

    def test_log_stays(self):
        """What would take the log and the stamp away is refused before anything is done."""
        root = self.root("root")
        os.symlink("/", root / "top")
        os.symlink("etc", root / "cfg")
        before = look(root)
        disk = self.dir / "disk"
        disk.write_bytes(bytes(1 << 20))
        fs = lambda path: conf(storage={"filesystems": [{"device": str(disk), "format": "ext4", "path": path}]})
        over = {"overwrite": True}
        for doc, static, says in (
                (conf(storage={"directories": [{"path": "/etc", **over}]}), True, "$.storage.directories.0.overwrite"),
                (conf(storage={"links": [{"path": "/etc", "target": "/usr/etc", **over}]}), True, "$.storage.links.0.path"),
                (files(etc={"contents": {"source": "data:,x"}, **over}), True, "$.storage.files.0.path"),
                (fs("/etc"), True, "$.storage.filesystems.0.path"), (fs("/"), True, "$.storage.filesystems.0.path"),
                (fs("/top/etc"), False, "'/top/etc'"), (fs("/etc/../etc"), True, "clean path"),
                (conf(storage={"directories": [{"path": "/top/etc", **over}]}), False, "'/etc'"),
                (conf(storage={"links": [{"path": "/top/etc", "target": "usr/etc", **over}]}), False, "'/etc'"),
                (conf(storage={"directories": [{"path": "/etc/.ignition-lite.undo"}]}), True, "a name of ignition-lite's own"),
                (files(**{"etc_.ignition-lite.done": {}}), True, "a name of ignition-lite's own"),
                (files(**{"srv_..ignition-lite.done.new_x": {}}), True, "a name of ignition-lite's own"),
                (conf(storage={"links": [{"path": "/.ignition-lite-3/x", "target": "y"}]}), True, "a name of ignition-lite's own"),
                (fs("/srv/.ignition-lite-tmp"), True, "a name of ignition-lite's own"),
                (conf(passwd={"users": [{"name": "new", "homeDir": "/etc/.ignition-lite.undo"}]}), True, "a name of ignition-lite's own")):
            p = self.apply(root, doc, ok=1)
            self.assertIn(says, p.stderr)
            self.assertEqual((look(root), disk.read_bytes()), (before, bytes(1 << 20)), says)
            v = subprocess.run([LITE, "validate", str(self.config(doc))], capture_output=True, text=True)
            self.assertEqual((v.returncode, says in v.stderr), (1, True) if static else (0, False), v.stderr)
        # what is in /etc, and /etc itself as it is, may be written
        self.apply(root, conf(storage={"directories": [{"path": "/etc", "mode": 0o711}, {"path": "/etc/systemd", **over}],
                                       "files": [{"path": "/cfg/motd", "contents": {"source": "data:,x"}, **over}]}))
        self.assertEqual((root / "etc/motd").read_text(), "x")
        self.assertEqual((root / "etc").stat().st_mode & 0o777, 0o711)

    def test_odd_homes(self):
        """Homes of the image's passwd that are spelled in odd ways: the home it is, or an error, never the root."""
        key = {"sshAuthorizedKeys": ["ssh-ed25519 AAAA k"]}
        for home, good in (("/home/core/", True), ("/home//core", True), ("/home/./core//", True), ("/home/core/.", False),
                           ("/..", False), ("/home/core/..", False), ("home/core", False)):
            def fill(r):
                make_root(r)
                put(r / "etc/passwd", PASSWD.replace("/home/core:", home + ":"))
                put(r / "home/core/mine", "m", 0o600, (500, 500))
                os.chmod(r / "home/core", 0o710)
            root = self.root("root", fill)
            os.chown(root, 0, 27)
            before, top = look(root), (root.stat().st_mode, root.stat().st_uid, root.stat().st_gid)
            for user in ({"name": "core", **key}, {"name": "core", "shouldExist": False}, {"name": "core", "uid": 777},
                         {"name": "core", "homeDir": "/home/new"}):
                for end in ([], [self.BAD_END]):
                    p = self.apply(root, conf(passwd={"users": [user]}, storage={"links": end}), "--force", ok=None)
                    where = (home, user, end, p)
                    self.assertEqual((root.stat().st_mode, root.stat().st_uid, root.stat().st_gid), top, where)
                    if end or not good and (user.get("shouldExist") is not False or home[0] == "/"):
                        self.assertEqual((p.returncode, look(root)), (1, before), where)
                        continue
                    self.assertEqual(p.returncode, 0, where)
                    if user.get("shouldExist") is False:
                        self.assertEqual((root / "home/core").exists(), not good, where)
                    elif "homeDir" in user:
                        self.assertEqual((root / "home/new/mine").read_text(), "m")
                    elif "uid" in user:
                        self.assertEqual((root / "home/core/mine").stat().st_uid, 777, where)
                    else:
                        self.assertEqual((root / "home/core/.ssh/authorized_keys.d/ignition").stat().st_uid, 500)
                    shutil.rmtree(root)
                    root = self.root("root", fill)
                    os.chown(root, 0, 27)

    def test_homes_that_stay(self):
        """A home that /etc lies in, or is, goes nowhere with its user."""
        for home in ("/", "//", "/etc", "/etc/"):
            def fill(r):
                make_root(r)
                put(r / "etc/passwd", PASSWD.replace("/home/core:", home + ":"))
                os.chown(r / "etc", 500, 500)
                os.chown(r, 500, 500)
            root = self.root("root", fill)
            before = look(root)
            self.assertIn("cannot be moved", self.apply(root, conf(passwd={"users": [{"name": "core", "homeDir": "/home/new"}]}), ok=1).stderr)
            self.assertEqual(look(root), before, home)
            if "etc" not in home:
                self.assertIn("all below '/'", self.apply(root, conf(passwd={"users": [{"name": "core", "uid": 777}]}), ok=1).stderr)
                self.assertEqual(look(root), before, home)
            self.apply(root, conf(passwd={"users": [{"name": "core", "shouldExist": False}]}))
            self.assertTrue((root / "etc/motd").exists() and (root / "home/op").exists(), home)
            self.assertNotIn("core", (root / "etc/passwd").read_text())

    def test_remarks(self):
        doc = conf(systemd={"units": [{"name": "a.service", "enabled": True, "contents": "[Install]\nWantedBy=b.target\n"}]})
        for machine_id, says in ((None, False), ("", False), ("uninitialized\n", False), ("0" * 32 + "\n", True)):
            root = self.root("root")
            if machine_id is not None:
                put(root / "etc/machine-id", machine_id)
            self.assertEqual("has a machine id" in self.apply(root, doc).stderr, says, machine_id)
        self.assertNotIn("machine id", self.apply(root, files(f={}), "--force").stderr)
        for mode, says in (("disabled", False), ("permissive", True), ("enforcing", True)):
            put(root / "etc/selinux/config", f"# SELINUX=x\nSELINUX={mode}\nSELINUXTYPE=targeted\n")
            self.assertEqual("SELinux policy" in self.apply(root, files(**{mode: {}}), "--force").stderr, says, mode)
        self.assertEqual(self.apply(root, files(q={}), "--force", "--quiet").stderr, "")

    def test_secrets_are_not_said(self):
        root = self.root("root")
        doc = conf(passwd={"users": [{"name": "new", "passwordHash": "$6$verysecret$x", "groups": ["none-such"]}]},
                   storage={"files": [{"path": "/k", "contents": {"source": "data:,topsecret"}, "mode": 384}]})
        for args in (("--explain",), ("--dry-run",), ()):
            p = self.apply(root, doc, *args, ok=None)
            self.assertNotIn("secret", p.stdout + p.stderr)
        self.assertIn("none-such", p.stderr)

    def test_usage(self):
        for args in ((), ("--root",), ("--root", self.dir, "x"), ("--root", self.dir, "--nope"),
                     ("--root", self.dir, "--timeout", "0"), ("--root", self.dir, "--platform", "ec2")):
            self.lite(*args, ok=2)
        self.assertIn("Usage:", self.lite("--help", ok=0).stdout)
        self.lite("--root", self.dir / "none", ok=1)

    def test_thousand_files(self):
        root = self.root("root", lambda r: None)
        cfg = self.config(conf(storage={"files": [
            {"path": f"/srv/{i % 10}/{i}", "contents": {"source": "data:;base64," + base64.b64encode(
                str(i).encode() * 50).decode()}} for i in range(1000)]}))
        out = subprocess.run(["/usr/bin/time", "-f", "%U %S %M", LITE, "apply", "--root", str(root), "--config", str(cfg)],
                             capture_output=True, text=True, check=True)
        self.assertEqual(len(list(root.glob("srv/*/*"))), 1000)
        print(f"1000 files: user s, system s, KiB: {out.stderr.strip()}", file=sys.stderr)


def may_loop():
    """Are there loop devices, and may this process mount?"""
    with tempfile.TemporaryDirectory() as d:
        return subprocess.run("truncate -s 4M x && mkfs.ext4 -q x && mkdir m && unshare -m mount -o loop x m", shell=True, cwd=d,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


@unittest.skipUnless(os.geteuid() == 0 and may_loop(), "needs loop devices and mount(2)")
class Mounted(Tree):
    """File systems of the config: made, mounted, filled, and unmounted; or put back."""

    def setUp(self):
        super().setUp()
        self.devices = []
        for i in range(2):
            image = self.dir / f"disk{i}"
            subprocess.run(["truncate", "-s", "16M", image], check=True)
            dev = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
            self.addCleanup(subprocess.run, ["losetup", "-d", dev], check=True)
            self.devices.append(dev)

    def mounts(self):
        return [l.split()[:2] for l in pathlib.Path("/proc/mounts").read_text().splitlines() if l.split()[0] in self.devices]

    def end_mounts(self):
        """As a power cut does."""
        while self.mounts():
            if subprocess.run(["umount", self.mounts()[-1][1]], stderr=subprocess.DEVNULL).returncode:
                time.sleep(0.02)  # mount(8) outlives who started it

    def on(self, i):
        """What a file system holds."""
        at = self.dir / "at"
        at.mkdir(exist_ok=True)
        subprocess.run(["mount", "-r", self.devices[i], at], check=True)
        try:
            return look(at, {"/lost+found"}), oct(at.stat().st_mode)
        finally:
            subprocess.run(["umount", at], check=True)

    def doc(self, *more, **kw):
        """Two file systems, one on the other, and files on both."""
        return conf(storage={"filesystems": [
            {"device": self.devices[1], "format": "ext4", "label": "inner", "path": "/srv/data/in", **kw},
            {"device": self.devices[0], "format": "ext4", "label": "outer", "path": "/srv/data", "mountOptions": ["noatime"], **kw}],
            "directories": [{"path": "/srv/data", "mode": 0o750}, {"path": "/srv/data/dir"}],
            "files": [{"path": p, "overwrite": True, "contents": {"source": "data:,new"}}
                      for p in ("/srv/data/f", "/srv/data/in/g", "/srv/plain")],
            "links": [{"path": "/srv/data/l", "target": "in/g"}, *more]})

    def test_filled(self):
        root = self.root("root")
        self.apply(root, self.doc())
        self.assertEqual(self.mounts(), [])
        self.assertEqual(sorted(look(root / "srv")), ["/data", "/plain"])
        outer, mode = self.on(0)
        self.assertEqual(sorted(outer), ["/dir", "/f", "/in", "/l"])
        self.assertEqual((outer["/f"][4], mode), (b"new", "0o40750"))
        self.assertEqual({k: v[4] for k, v in self.on(1)[0].items()}, {"/g": b"new"})
        # used as they are the next time; what is on them stays
        self.apply(root, files(srv_data_h={"contents": {"source": "data:,h"}}), "--force")
        doc = self.doc()
        doc["storage"]["files"].append({"path": "/srv/data/in/more", "contents": {"source": "data:,m"}})
        self.apply(root, doc, "--force")
        self.assertEqual(sorted(self.on(1)[0]), ["/g", "/more"])
        self.assertNotIn("/h", self.on(0)[0])
        self.apply(root, self.doc(wipeFilesystem=True), "--force")
        self.assertEqual(sorted(self.on(1)[0]), ["/g"])

    def test_failure(self):
        root = self.root("root")
        before = look(root)
        self.apply(root, self.doc(Whole.BAD_END), ok=1)
        self.assertEqual((self.mounts(), look(root), self.on(0)[0], self.on(1)[0]), ([], before, {}, {}))
        self.apply(root, self.doc())
        before = look(root), self.on(0), self.on(1)
        doc = self.doc(Whole.BAD_END)
        for f in doc["storage"]["files"]:
            f["contents"]["source"] = "data:,other"
        doc["storage"]["directories"][0]["mode"] = 0o700
        self.apply(root, doc, "--force", ok=1)
        self.assertEqual((look(root), self.on(0), self.on(1)), before)
        put(root / "srv/file", "in the way")
        doc["storage"]["filesystems"][0]["path"] = "/srv/file"
        self.assertIn("no directory", self.apply(root, doc, "--force", ok=1).stderr)
        self.assertEqual(self.mounts(), [])

    def test_killed(self):
        rng, undone = random.Random(SEED), 0
        doc = self.doc()
        doc["storage"]["files"] += [{"path": f"/srv/data/{'in/' * (k % 2)}{k}", "contents": {"source": "data:,x"}} for k in range(200)]
        doc["storage"]["files"] += [{"path": f"/srv/data/old{k}", "overwrite": True, "contents": {"source": "data:,x"}} for k in range(50)]
        cfg = self.config(doc)
        host = ["--host", str(self.dir / "host")]
        first = self.doc()
        first["storage"]["files"] += [{"path": f"/srv/data/old{k}", "contents": {"source": "data:,old"}} for k in range(50)]
        for i in range(60):
            if undone and i >= max(4, RUNS // 3):  # one kill at least was in the midst
                break
            for dev in self.devices:
                subprocess.run(["wipefs", "-qa", dev], check=True)
            root = self.root("root")
            self.apply(root, first)
            before = look(root), self.on(0), self.on(1)
            p = subprocess.Popen([LITE, "apply", *host, "--config", str(cfg), "--root", str(root), "--force"],
                                 env={"PATH": self.path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not self.mounts() and p.poll() is None and rng.random() < 0.999:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.3)
            p.kill()
            p.wait()
            self.end_tools(root)
            self.end_mounts()
            undone += (root / "etc/.ignition-lite.undo").exists()
            self.apply(root, files(other={}), ok=3)  # settles, and was provisioned
            self.assertEqual(self.mounts(), [])
            now = look(root), self.on(0), self.on(1)
            done = "/0" in now[1][0]
            self.assertEqual(now[1:] == before[1:], not done, i)
            if not done:
                self.assertEqual(now[0], before[0], i)
        self.assertGreater(undone, 0)

    end_tools = Whole.end_tools


class Completion(unittest.TestCase):
    def complete(self, *words):
        script = pathlib.Path(__file__).resolve().parents[2] / "ignition-lite/ignition-lite.bash"
        out = subprocess.run(["bash", "-c", f'. {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ignition_lite;'
                              ' printf "%s\\n" "${COMPREPLY[@]}"', "-", "ignition-lite", *words],
                             check=True, stdout=subprocess.PIPE, text=True, cwd="/")
        return out.stdout.split()

    def test_all(self):
        options = lambda verb: set(re.findall(r"^ *(--[a-z-]+)", subprocess.run(
            [LITE, verb, "--help"], check=True, capture_output=True, text=True).stdout, re.M))
        self.assertEqual(self.complete(""), ["apply", "probe", "validate", "--help", "--version"])
        self.assertEqual(set(self.complete("apply", "--")), options("apply"))
        self.assertLessEqual(set(self.complete("probe", "--")), options("apply"))
        self.assertEqual(set(self.complete("validate", "--")), options("validate"))
        self.assertEqual(self.complete("apply", "--platform", "a"), ["azure"])
        self.assertIn("etc", self.complete("apply", "--root", "et"))
        self.assertIn("etc", self.complete("validate", "et"))


class Units(Tree):
    def test_verify(self):
        source, root = pathlib.Path(__file__).resolve().parents[2], self.root("root", lambda r: None)
        system = root / "usr/lib/systemd/system"
        system.mkdir(parents=True)
        for f in pathlib.Path("/lib/systemd/system").iterdir():
            if not f.is_dir():
                shutil.copy2(f, system / f.name, follow_symlinks=False)
        for name in ("ignition-lite", "mount", "systemctl"):
            put(root / "usr/bin" / name, "#!/bin/sh\n", 0o755)
        put(root / "usr/lib/systemd/systemd-networkd-wait-online", "#!/bin/sh\n", 0o755)
        for link in ("lib", "bin", "sbin"):
            os.symlink("usr/" + link, root / link)
        for f in (source / "units/initrd").glob("*.service"):
            shutil.copy(f, system)
        for unit in ("initrd.target", "initrd-cleanup.service"):  # as the dracut module enables it
            (system / (unit + ".requires")).mkdir()
            os.symlink("../ignition-lite.service", system / (unit + ".requires/ignition-lite.service"))
        p = subprocess.run(["systemd-analyze", "verify", "--man=no", f"--root={root}", "initrd.target",
                            "ignition-lite.service", "ignition-lite-network.service", "initrd-switch-root.target"],
                           capture_output=True, text=True)
        self.assertEqual([l for l in p.stderr.splitlines() if "ignition" in l or "cycle" in l], [], p.stderr)

    def test_isolate(self):
        # stopping the unit for what initrd-cleanup.service isolates would stop initrd-cleanup.service,
        # which requires it: a host that was just provisioned would end in the emergency
        unit = (pathlib.Path(__file__).resolve().parents[2] / "units/initrd/ignition-lite.service").read_text()
        self.assertIn("RequiredBy=initrd.target initrd-cleanup.service", unit)
        self.assertIsNone(re.search(r"^Conflicts=.*initrd-switch-root", unit, re.M))

    def test_module(self):
        source = pathlib.Path(__file__).resolve().parents[2]
        subprocess.run(["bash", "-n", str(source / "ignition-lite/dracut/module-setup.sh")], check=True)

    def test_mkosi(self):
        """What the snippet names is there: the files that are installed, the packages of what the program is linked with."""
        source = pathlib.Path(__file__).resolve().parents[2]
        conf = configparser.ConfigParser(delimiters="=")
        conf.optionxform = str
        conf.read(source / "ignition-lite/mkosi/mkosi.conf")
        content = {k: [l.strip() for l in v.splitlines() if l.strip()] for k, v in conf["Content"].items()}
        self.assertEqual(content["MakeInitrd"], ["yes"])
        module, units = "/usr/lib/dracut/modules.d/31ignition-lite/", source / "units/initrd"
        trees = dict(t.split(":") for t in content["ExtraTrees"])
        self.assertEqual(set(trees), {"/usr/bin/ignition-lite"} | {
            module + f.name for f in units.iterdir() if f.name not in ("CMakeLists.txt", "README.md")})
        for name in re.findall(r'NEEDED.*\[(.*)\]', subprocess.run(["readelf", "-d", LITE], check=True, capture_output=True, text=True).stdout):
            if re.match(r"lib(asan|ubsan|c|m|gcc_s)\.so", name):
                continue
            owner = subprocess.run(["dpkg-query", "-S", "*/" + name], check=True, capture_output=True, text=True).stdout
            self.assertIn(owner.split(":")[0], content["Packages"])
        presets = (source / "ignition-lite/mkosi/mkosi.extra/usr/lib/systemd/system-preset/80-ignition-lite.preset").read_text()
        for line in presets.splitlines():
            self.assertRegex(line, r"^(#.*|enable ignition-lite\.service|disable systemd-[a-z-]+\.(service|socket))$")


if __name__ == "__main__":
    unittest.main()
