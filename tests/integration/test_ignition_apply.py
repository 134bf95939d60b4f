#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ignition-lite apply against Debian's Ignition on seeded configs, and all or nothing."""
import base64, gzip, hashlib, http.server, json, os, pathlib, random, shutil, signal, ssl, stat, subprocess, sys
import tempfile, threading, time, unittest

BIN = pathlib.Path(os.environ["PROA_BIN"])
LITE = str(BIN / "ignition-lite")
JUDGE = "/usr/lib/dracut/modules.d/30ignition/ignition"
SEED = int(os.environ.get("PROA_SEED", "20261121"), 0)
RUNS = int(os.environ.get("PROA_RUNS", "25"))

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


def data_url(r, data):
    how = r.randrange(3)
    if how == 0:
        return "data:;base64," + base64.b64encode(data).decode()
    if how == 1:
        return "data:text/plain;charset=utf-8;base64," + base64.b64encode(data).decode()
    return "data:," + "".join(chr(b) if chr(b).isalnum() else f"%{b:02X}" for b in data)


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


if __name__ == "__main__":
    unittest.main()
