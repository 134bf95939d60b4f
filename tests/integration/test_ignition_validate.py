#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ignition-lite validate against Debian's ignition-validate.

A seeded generator makes configs of specs 3.0.0 to 3.4.0, valid ones and ones with a fault or two.
Both programs must agree on the verdict, on the JSON path of every error and on the place of it;
each way in which ignition-lite is meant to differ is a row of DIFFERENCES with its reason, and of
the table in docs/ignition-lite.md. PROA_SEED sets the seed, PROA_RUNS the number of configs.
"""
import concurrent.futures
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

BIN = os.environ.get("PROA_BIN", "build/bin") + "/ignition-lite"
SEED = int(os.environ.get("PROA_SEED", "20261121"))
RUNS = int(os.environ.get("PROA_RUNS", "700"))
DOC = pathlib.Path("docs/ignition-lite.md")

# Name of the row in the documentation -> what ignition-lite says (path, text) where Ignition is
# content. The other way round is THEIRS.
DIFFERENCES = {
    "spelling": (r"", r"is spelled '"),
    "path length": (r"", r"bytes Linux takes"),
    "root": (r"\.path$", r"is a directory on every host"),
    "ids": (r"\.(id|uid|gid)$", r"must be from 0 to 4294967294"),
    "hash digits": (r"\.hash$", r"must have \d+ hexadecimal digits"),
    "http host": (r"", r"it names no host|the host or its port"),
    "blanks in URLs": (r"", r"a blank must be written as %20"),
    "proxy scheme": (r"Proxy$", r"must be http:// or https://|is not a URL of a scheme"),
    "header names": (r"\.(name|value)$", r"is not a name a header may have|holds control characters"),
    "timeouts": (r"\.timeouts\.", r"must be from 0 \(no limit\)"),
    "kernel arguments": (r"\.kernelArguments\.", r"holds control characters"),
    "account names": (r"^\$\.passwd\.", r"is not a name|is missing"),
    "account fields": (r"^\$\.passwd\.", r"must not hold a colon"),
    "home directories": (r"\.homeDir$", r"must be an absolute path|must be a clean path"),
    "unit names": (r"\.name$", r"is not a name a unit may have|is not the name of a file"),
    "old links": (r"\.target$", r"a link needs a target"),
    "old sources": (r"\.(source|hash)$", r"^is missing$|nothing to verify"),
    "units and files": (r"^\$\.storage\.", r"is written by systemd.units too"),
    "partitions": (r"\.partitions$", r"are more than a GPT holds"),
}
# The same of a document that ignition-lite does not read as JSON at all.
STRICT_JSON = r"too big integer|real number overflow|duplicate object key|\\u0000|nested deeper|surrogate|UTF-8"
# What Ignition refuses and ignition-lite takes: name of the row -> Ignition's words.
THEIRS = {
    "long lines": r"line too long",
}

PATHS = ["/etc/a", "/etc/a/b", "/etc/a/b/c", "/etc/hosts", "/opt/x y", "/ü", "/etc/systemd/system/a.service",
         "/etc/systemd/system/a.service.d/10.conf", "/var/lib/x", "/a.b-c_d", "/dev/sda", "/dev/disk/by-label/x", "/etc"]
URLS = ["data:,x", "data:;base64,aGk=", "data:text/plain;charset=utf-8;base64,aGk=", "data:text/plain,a%20b%00",
        "data:,", "data:application/x-gzip;base64,", "data:x-a/b;q=\"a \\\" b\",z", "http://example.com/a",
        "https://user:p%40w@[::1]:8443/p?q=1#f", "http://h:80", "HTTPS://h/%41", "tftp://h/x", "s3://bucket/key",
        "s3://b/k?versionId=1", "http://h/?a=%zz", "https://10.0.0.1/ü"]
URLS_SINCE = {2: ["gs://b/k"], 4: ["arn:aws:s3:::bucket/key", "arn:aws:s3:eu:123:accesspoint/p/object/k"]}
HASHES = ["sha512-" + "0a" * 64, "sha512-" + "AB" * 64]
UNITS = ["a.service", "b.socket", "c@.service", "c@x.service", "c@y.service", "d.timer", "e-f.mount", "a:b.target"]
TEXTS = ["", "[Unit]\nDescription=x\n", "[Service]\nExecStart=/bin/true \\\n  b\n\n[Install]\nWantedBy=a.target\n",
         "# c \\\n c\n[Install]\nAlias=b", "noise\n[Unit]", "[Unit]\r\nA=b\r\n", "[A]\n ; x\n B = c\n"]
STRINGS = ["", "/", "a", "relative/x", "//a", "/a/", "/a/../b", "/a/./b", "/a//b", "/..", ".", "x" * 300, "/" + "y" * 256,
           "/" + "z/" * 2050 + "z", "a:b", "a b", "-x", "a/b", "a\tb", "ext4", "none", "swap", "vfat", "gzip", "bzip2",
           "raid1", "linear", "tpm2", "sss", "core", "root", ".conf", "10.conf", "10.txt", "a/b.conf", "x.service", "x.srv",
           "a/b.service", "@.service", "[Unit", "[Unit] x", "[Unit]\nfoo", "[Unit]\n=x", "[Unit]\nfoo\n=bar", "[Install]",
           "[Install]\nA=b", "[A]\nB=" + "c" * 3000, "foo = [bar", "data:", "data:x", "data:text,x", "data:font/woff,x",
           "data:,%", "data:,%4", "data:,%zz", "data:,a b", "data:,<", "data:;base64,a", "data:;base64,aGk", "data:;base64,aG=k",
           "data:;base64,a===", "data:;base64,aGkx", "data:;base64;x=y,aGk=", "data:;x,y", "data:;x=,y", "data:;x=%zz,y",
           "data:text/plain;charset,x", "DATA:,x", "data:x-/,", "data:X-y/z,1", "data:text/plain#f", "data:,x#%zz",
           "http:", "http:/a", "http:a", "http://", "http:///x", "http://:80", "http://h:x/", "http://h:8 0/", "http://a b/",
           "http://h/a b", "http://h/%zz", "http://h/#%z", "http://u:p w@h/", "http://u@h@i/", "http://[::1/", "http://[::1]x/",
           "http://h%41/", "https://h\u007f/", "ftp://h/", "://x", "1http://h", "h:80", "file:///x", "s3://b/k?versionId=",
           "s3://b/k?versionId", "s3://b/k?a=1&versionId=", "s3:b", "gs://", "arn:aws:s3:::bucket", "arn:aws:s3:::bucket/key",
           "arn:aws:ec2:::a/b", "arn:aws:s3::a/b", "arn:aws:s3:::accesspoint/p", "sha512-" + "0" * 127, "sha512-" + "g" * 128,
           "sha512-", "sha256-" + "0" * 64, "sha256-" + "0" * 63, "md5-" + "0" * 32, "sha512" + "0" * 128, "-",
           "01234567-89ab-cdef-0123-456789abcdef", "{01234567-89ab-cdef-0123-456789abcdef}", "0123", "X-Y", "X Y", "{}", "{"]
INTS = [-1, 0, 1, 7, 420, 493, 511, 512, 1023, 4095, 4096, 65536, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**62]
ODD = [None, True, False, 1, -1.5, 1.0, 1e3, "x", "", [], {}, [None], [[]], ["a"], [{}], {"a": 1}, {"path": "/q"}, 2**64, "3.0.0"]


class Gen:
    """Valid configs of one spec, from the specification's lists of members."""

    def __init__(self, rng, minor):
        self.rng, self.minor = rng, minor

    def obj(self, **members):
        """name=(since, chance, maker)"""
        o = {}
        for name, (since, chance, make) in members.items():
            if since <= self.minor and self.rng.random() < chance:
                o[name] = make()
        keys = list(o)
        self.rng.shuffle(keys)
        return {k: o[k] for k in keys}

    def some(self, make, most=3):
        return [make() for _ in range(self.rng.randrange(most + 1))]

    def one(self, *values):
        return lambda: self.rng.choice(values)

    def strings(self, *values):
        return lambda: self.rng.sample(values, self.rng.randrange(min(3, len(values)) + 1))

    def flag(self):
        return self.rng.random() < 0.5

    def by_name(self, make, key, names, most=3):
        return [dict(make(), **{key: n}) for n in self.rng.sample(names, self.rng.randrange(most + 1))]

    def url(self):
        urls = list(URLS)
        for since, more in URLS_SINCE.items():
            urls += more if since <= self.minor else []
        return self.rng.choice(urls)

    def resource(self, always=False, compressed=True):
        url = self.url()
        web = url[:4].lower() == "http"
        hashes = HASHES + (["sha256-" + "0f" * 32] if self.minor else [])
        return self.obj(
            source=(0, 1 if always else 0.95, lambda: url),
            compression=(0 if compressed else 1, 0.2, self.one("gzip", "", None)),
            httpHeaders=(1, 0.5 if web else 0, lambda: self.by_name(
                lambda: self.obj(value=(0, 0.7, self.one("v", "w x"))), "name", ["X-A", "Accept", "b"], 2)),
            verification=(0, 0.3 if always else 0, lambda: self.obj(hash=(0, 0.9, self.one(*hashes)))))

    def resources(self, compressed=False):
        made = self.some(lambda: self.resource(True, compressed), 2)
        return list({r["source"]: r for r in made}.values())

    def owner(self):
        return self.rng.choice([{}, {"id": 0}, {"id": 1000}, {"name": "core"}, {"id": 5, "name": ""}, {"id": None}])

    def node(self, path):
        return dict(self.obj(user=(0, 0.2, self.owner), group=(0, 0.2, self.owner)), path=path)

    def storage(self):
        paths = self.rng.sample(PATHS, self.rng.randrange(7))
        lists = {"directories": [], "files": [], "links": []}
        for path in paths:
            kind = self.rng.choice(list(lists))
            node = self.node(path)
            node.update(self.obj(mode=(0, 0.3 if kind != "links" else 0, self.one(0, 420, 493, 511, 1023, 2541))))
            if kind == "files":
                node.update(self.obj(contents=(0, 0.7, lambda: self.resource()),
                                     append=(0, 0.2, lambda: self.some(lambda: self.resource(True), 2))))
                if node.get("contents", {}).get("source") is not None and self.flag():
                    node["overwrite"] = self.flag()
            elif kind == "links":
                node.update(self.obj(target=(0, 1, self.one("/etc/hosts", "../x", "y")), hard=(0, 0.4, self.flag)))
            lists[kind].append(node)
        return self.obj(
            directories=(0, 0.9, lambda: lists["directories"]), files=(0, 0.9, lambda: lists["files"]),
            links=(0, 0.9, lambda: lists["links"]),
            filesystems=(0, 0.3, lambda: self.by_name(self.filesystem, "device", ["/dev/sda", "/dev/sdb", "/dev/vda1"])),
            disks=(0, 0.2, lambda: self.by_name(self.disk, "device", ["/dev/sda", "/dev/vda"], 2)),
            raid=(0, 0.1, lambda: self.by_name(self.raid, "name", ["a", "b"], 1)),
            luks=(2, 0.15, lambda: self.by_name(self.luks, "name", ["a", "b"], 2)))

    def filesystem(self):
        formats = ["ext4", "btrfs", "xfs", "swap", "vfat"] + (["none"] if self.minor >= 3 else [])
        return self.obj(format=(0, 1, self.one(*formats)), label=(0, 0.4, self.one("x", "0123456789a", "")),
                        mountOptions=(1, 0.2, lambda: ["noatime", "noatime"]),
                        options=(0, 0.2, lambda: ["-q", "-q"]), path=(0, 0.4, self.one("/var", "/", "/etc", "")),
                        uuid=(0, 0.2, self.one("", "x")), wipeFilesystem=(0, 0.3, self.flag))

    def partition(self, number):
        guid = "01234567-89AB-cdef-0123-456789abcdef"
        if self.rng.random() < 0.2:
            return {"number": number, "shouldExist": False}
        return dict(self.obj(guid=(0, 0.2, self.one(guid, "")), resize=(2, 0.2, self.flag),
                             label=(0, 0.5, self.one("l%d" % number)), sizeMiB=(0, 0.4, self.one(0, 10)),
                             startMiB=(0, 0.4, lambda: number * 100), typeGuid=(0, 0.2, self.one(guid)),
                             wipePartitionEntry=(0, 0.2, self.flag)), number=number)

    def disk(self):
        return self.obj(wipeTable=(0, 0.3, self.flag),
                        partitions=(0, 0.8, lambda: [self.partition(n + 1) for n in range(self.rng.randrange(4))]))

    def raid(self):
        return self.obj(devices=(0, 1, lambda: ["/dev/a", "/dev/b"]), level=(0, 1, self.one("raid1", "6", "mirror", "raid10")),
                        options=(0, 0.3, lambda: ["-x", "-x"]), spares=(0, 0.3, self.one(0, 1)))

    def luks(self):
        def clevis():
            if self.rng.random() < 0.3:
                return {"custom": {"pin": "sss", "config": "{}", "needsNetwork": True}}
            return self.obj(tang=(0, 0.6, lambda: [{"url": "http://t%d" % i, "thumbprint": "x"} for i in range(2)]),
                            threshold=(0, 0.4, self.one(0, 1, 2)), tpm2=(0, 0.4, self.flag))
        return self.obj(clevis=(0, 0.4, clevis), device=(0, 1, self.one("/dev/sda")), label=(0, 0.3, self.one("l", "")),
                        keyFile=(0, 0.3, lambda: self.resource()), options=(0, 0.3, lambda: ["-x", "-x"]),
                        uuid=(0, 0.2, self.one("x")), wipeVolume=(0, 0.2, self.flag))

    def unit(self):
        return self.obj(contents=(0, 0.6, self.one(*TEXTS)), enabled=(0, 0.5, self.flag), mask=(0, 0.2, self.flag),
                        dropins=(0, 0.4, lambda: self.by_name(lambda: self.obj(contents=(0, 0.7, self.one(*TEXTS))),
                                                              "name", ["10.conf", "x.conf", "a b.conf"], 2)))

    def user(self):
        return self.obj(gecos=(0, 0.2, self.one("", "A, B")), homeDir=(0, 0.2, self.one("/home/x")), uid=(0, 0.3, self.one(0, 1000)),
                        groups=(0, 0.3, self.strings("wheel", "docker", "sudo")), noCreateHome=(0, 0.2, self.flag),
                        noLogInit=(0, 0.1, self.flag), noUserGroup=(0, 0.1, self.flag), primaryGroup=(0, 0.1, self.one("users")),
                        passwordHash=(0, 0.3, self.one("*", "$6$a$b", "")), shell=(0, 0.2, self.one("/bin/sh")),
                        sshAuthorizedKeys=(0, 0.3, self.strings("ssh-ed25519 AAA a", "ssh-rsa B")),
                        shouldExist=(2, 0.2, self.flag), system=(0, 0.2, self.flag))

    def group(self):
        return self.obj(gid=(0, 0.3, self.one(0, 500)), passwordHash=(0, 0.2, self.one("*")),
                        shouldExist=(2, 0.2, self.flag), system=(0, 0.2, self.flag))

    def ignition(self):
        proxy = lambda: self.obj(httpProxy=(0, 0.5, self.one("http://p:3128", "https://p")),
                                 httpsProxy=(0, 0.5, self.one("http://p:3128", "https://p")),
                                 noProxy=(0, 0.5, self.strings("a", "10.0.0.0/8", "*.b")))
        return self.obj(
            config=(0, 0.2, lambda: self.obj(merge=(0, 0.7, self.resources),
                                             replace=(0, 0.3, lambda: self.resource(True, False)))),
            proxy=(1, 0.15, proxy),
            security=(0, 0.15, lambda: {"tls": self.obj(certificateAuthorities=(0, 0.9, self.resources))}),
            timeouts=(0, 0.15, lambda: self.obj(httpResponseHeaders=(0, 0.7, self.one(0, 10)), httpTotal=(0, 0.7, self.one(0, 60)))),
            version=(0, 1, lambda: "3.%d.0" % self.minor))

    def config(self):
        kargs = lambda: self.obj(shouldExist=(0, 0.8, self.strings("quiet", "a=b", "c d")),
                                 shouldNotExist=(0, 0.8, self.strings("nosmt", "e")))
        return self.obj(
            ignition=(0, 1, self.ignition), storage=(0, 0.8, self.storage), kernelArguments=(3, 0.2, kargs),
            systemd=(0, 0.5, lambda: self.obj(units=(0, 0.95, lambda: self.by_name(self.unit, "name", UNITS, 4)))),
            passwd=(0, 0.3, lambda: self.obj(users=(0, 0.8, lambda: self.by_name(self.user, "name", ["core", "a_b", "x.y"])),
                                             groups=(0, 0.6, lambda: self.by_name(self.group, "name", ["g", "h"], 2)))))


def places(root):
    """Every (container, key) of the tree but those of the version."""
    todo, found = [root], []
    while todo:
        at = todo.pop()
        keys = list(at) if isinstance(at, dict) else range(len(at))
        for k in keys:
            if k == "version":
                continue
            found.append((at, k))
            if isinstance(at[k], (dict, list)):
                todo.append(at[k])
    return found


def spoil(rng, root):
    """One change for the worse, or for the same."""
    if not places(root):
        return
    at, k = rng.choice(places(root))
    v, what = at[k], rng.randrange(10)
    leaves = [c[i] for c, i in places(root) if isinstance(c[i], str)]
    if what < 4 and isinstance(v, str):
        at[k] = rng.choice(STRINGS if rng.random() < 0.7 or not leaves else leaves)
    elif what < 4 and isinstance(v, int) and not isinstance(v, bool):
        at[k] = rng.choice(INTS)
    elif what < 5 and isinstance(at, list):
        at.insert(rng.randrange(len(at) + 1), json.loads(json.dumps(v)))
    elif what < 6:
        at[k] = rng.choice(ODD)
    elif what < 7:
        del at[k]
    elif what < 8 and isinstance(at, dict):
        at[rng.choice(["unknown", "Path", "x y", "mode", "path", "format", "httpHeaders", "compression", "shouldExist",
                       "kernelArguments", "luks", "mountOptions", "target", "id", "name", "contents", k.upper()])] = \
            rng.choice([v, None, 1, "a", "/a", {}, []])
    elif what < 9 and isinstance(v, list):
        v.append(rng.choice([None, {}, "", "/x", 1]))
    elif isinstance(v, str):
        at[k] = rng.choice(STRINGS)


def text_of(rng, config):
    indent = rng.choice([None, 1, 4])
    return json.dumps(config, indent=indent, ensure_ascii=rng.random() < 0.5)


LINE = re.compile(r"^(error|warning) at (?:(\$.*?), )?line (\d+) col (\d+): (.*)$")


def judge(path):
    run = subprocess.run(["ignition-validate", path], capture_output=True, text=True, timeout=60)
    found = {"error": [], "warning": []}
    for line in (run.stdout + run.stderr).splitlines():
        m = LINE.match(line)
        if m:
            found[m[1]].append((m[2], int(m[3]), int(m[4]), m[5]))
        elif line.startswith(("error", "warning")):
            m = re.match(r"(error|warning) at (\$\S*): (.*)", line)
            found[line.split()[0]].append((m[1 + 1], 0, 0, m[3]) if m else (None, 0, 0, line))
    assert run.returncode in (0, 1), run
    return run.returncode == 0, found


def ours(path):
    run = subprocess.run([BIN, "validate", "--json", path], capture_output=True, text=True, timeout=60)
    assert run.returncode in (0, 1) and not run.stderr, (run.returncode, run.stderr)
    said = json.loads(run.stdout)
    assert said["taken"] == (run.returncode == 0)
    return said


# Ignition says some things of the whole that ignition-lite says of the member.
SAME_PLACE = [(re.compile(r"^(.*\.(merge|certificateAuthorities)\.\d+)\.source$"), r"\1"),
              (re.compile(r"^(.*\.luks\.\d+)\.keyFile\.source$"), r"\1.keys"),
              (re.compile(r"^(.*)\.source$"), r"\1.httpHeaders")]


def compare(text, minor):
    """None, or what is wrong; and the rows of the differences that showed."""
    with tempfile.TemporaryDirectory() as d:
        path = d + "/config.ign"
        pathlib.Path(path).write_text(text, encoding="utf-8")
        mine = ours(path)
        if minor == 4:
            pathlib.Path(path).write_text(text.replace('"3.4.0"', '"3.4.0-experimental"'), encoding="utf-8")
        valid, theirs = judge(path)
    errors = [i for i in mine["issues"] if i["kind"] == "error"]
    rows, unexplained = set(), []
    for i in errors:
        row = next((n for n, (p, t) in DIFFERENCES.items() if re.search(p, i["path"]) and re.search(t, i["text"])), None)
        i["row"] = row
        if row is None:
            unexplained.append(i)
    if valid and not errors and not mine["valid"] and re.search(STRICT_JSON, mine["error"]):
        return None, {"strict JSON"}
    if valid and not mine["valid"]:
        if not errors or unexplained:
            return "Ignition takes it, ignition-lite says %s" % (unexplained or mine["error"]), rows
        return None, {i["row"] for i in errors}
    if mine["valid"] and not valid:
        for _, _, _, says in theirs["error"]:
            row = next((n for n, t in THEIRS.items() if re.search(t, says)), None)
            if row is None:
                return "Ignition says %s, ignition-lite takes it" % says, rows
            rows.add(row)
        return None, rows
    if not valid and all(p for p, _, _, _ in theirs["error"]) and errors:
        # both found faults in what they could read: in the same places
        here = {i["path"] for i in errors}
        here |= {a.sub(b, p) for p in here for a, b in SAME_PLACE if a.match(p)}
        missed = [(p, t) for p, _, _, t in theirs["error"]
                  if p not in here and not any(re.search(w, t) for w in THEIRS.values())]
        if missed and not any(re.search("must be a|spelled|a path is needed", i["text"]) for i in errors):
            return "Ignition says %s, ignition-lite only %s" % (missed, errors), rows
        if minor < 4 and text.isascii():
            # Ignition points behind the brace of an object, and counts bytes
            at = {p: (l, c) for p, l, c, _ in theirs["error"] if l}
            for i in errors:
                line, column = at.get(i["path"], (i["line"], i["column"]))
                if i["line"] != line or column - i["column"] not in (0, 1):
                    return "place of %s: Ignition has %s" % (i, at[i["path"]]), rows
    if valid:
        a = {p for p, _, _, t in theirs["warning"] if t.startswith("Unused key")}
        b = {i["path"] for i in mine["issues"] if "unused key" in i["text"] or "does not know it" in i["text"]}
        if a != b:
            return "unused keys: Ignition %s, ignition-lite %s" % (a, b), rows
    return None, rows


def one(n):
    rng = random.Random(SEED * 1000003 + n)
    minor = rng.choice([0, 1, 2, 3, 3, 4])
    config = Gen(rng, minor).config()
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        spoil(rng, config)
    text = text_of(rng, config)
    wrong, rows = compare(text, minor)
    return n, wrong, rows, text


def check_generated():
    seen, valid, bad = {}, 0, 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for n, wrong, rows, text in pool.map(one, range(RUNS)):
            if wrong:
                bad += 1
                print("seed %d config %d: %s\n%s\n" % (SEED, n, wrong, text[:3000] if os.environ.get("PROA_SHOW") else ""))
                if bad >= 25:
                    sys.exit(1)
            for row in rows:
                seen[row] = seen.get(row, 0) + 1
    print("%d configs judged; differences seen: %s" % (RUNS, seen))
    return bad


def run(*args, data=b""):
    """Exit status, standard output, standard error; never a signal, never more than a few lines."""
    got = subprocess.run([BIN, *args], input=data, capture_output=True, timeout=60)
    assert got.returncode in (0, 1, 2), (args, got)
    assert len(got.stderr) < 64 << 10, args
    return got.returncode, got.stdout.decode(), got.stderr.decode()


WHOLE = ('{"ignition": {"version": "3.3.0"},\n "storage": {"files": [{"path": "/etc/\\u00fc", "mode": 420,\n'
         '  "contents": {"source": "data:;base64,aGk="}}]},\n "systemd": {"units": [{"name": "a.service"}]}}')


def check_truncated():
    for n in range(len(WHOLE)):
        rc, out, err = run("validate", "-", data=WHOLE[:n].encode())
        if n == 0:
            assert rc == 0 and out == "-: empty: no config given\n", (rc, out, err)
        else:
            assert rc == 1 and not out and err.startswith("error: -: line ") and err.count("\n") == 1, (n, out, err)
    rc, out, err = run("validate", "-", data=WHOLE.encode())
    assert (rc, out, err) == (0, "-: valid\n", ""), (rc, out, err)


HEAD = '{"ignition":{"version":"3.3.0"},'
REFUSED = [  # text, what the one line says
    ("[" * 100000, "nested deeper than"),
    ('{"a":' * 100000, "nested deeper than"),
    (HEAD + '"x":' + "[" * 64 + "]" * 64 + "}", "nested deeper than"),
    (" " * (100 << 20), "more than 16777216 bytes"),
    ('"' + "a" * (100 << 20), "more than 16777216 bytes"),
    (HEAD + '"a":1,"a":2}', "duplicate object key"),
    (HEAD + '"a":"\\u0000"}', "line 1"),
    ("\ufeff" + WHOLE, "line 1, column"),
    ("nonsense", "line 1, column"),
    ("[]", "$: must be an object"),
    ("null", "$: must be an object"),
    ("{}", "$.ignition: is missing"),
    ('{"ignition":{}}', "$.ignition.version: is missing"),
    ('{"ignition":{"version":"3.9.0"}}', "these are 3.0.0 to 3.5.0"),
    ('{"ignition":{"version":"3.4.0-experimental"}}', "experimental specs are not taken"),
    ('{"ignition":{"version":"2.2.0"}}', "spec 1 and 2"),
    ('{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/a/../../b"}]}}', "without . and .."),
    (HEAD + '"storage":{"files":[{"path":"/' + "a" * 4096 + '"}]}}', "bytes Linux takes"),
    (HEAD + '"storage":{"disks":[{"device":"/dev/sda"}]}}', "systemd-repart"),
    (HEAD + '"storage":{"filesystems":[{"device":"/dev/a","format":"ext4","path":"/"}]}}', "mounted already"),
    (HEAD + '"storage":{"filesystems":[{"device":"/dev/a","format":"ext4","path":"/etc"}]}}', "must lie on the root"),
    (HEAD + '"storage":{"directories":[{"path":"/etc","overwrite":true}]}}', "$.storage.directories.0.overwrite"),
    (HEAD + '"storage":{"links":[{"path":"/etc","target":"x"}]}}', "$.storage.links.0.path"),
    (HEAD + '"storage":{"files":[{"path":"/etc/.ignition-lite.done"}]}}', "a name of ignition-lite's own"),
    (HEAD + '"storage":{"luks":[{"name":"a","device":"/dev/sda"}]}}', "systemd-repart"),
    (HEAD + '"storage":{"raid":[{"name":"a","level":"1","devices":["/dev/a"]}]}}', "RAID"),
    (HEAD + '"storage":{"files":[{"path":"/a","contents":{"source":"tftp://h/x"}}]}}', "tftp is not fetched"),
    (HEAD + '"storage":{"files":[{"path":"/a","append":[{"source":"gs://h/x"}]}]}}', "$.storage.files.0.append.0.source"),
    (HEAD[:-1].replace('"}', '","config":{"merge":[{"source":"s3://h/x"}]}}') + "}", "s3 is not fetched"),
]


def check_refused():
    for text, says in REFUSED:
        rc, out, err = run("validate", "-", data=text.encode())
        assert rc == 1 and not out and says in err, (text[:200], rc, out, err[:2000])
        assert all(line.startswith(("error: ", "refused: ", "-: ")) for line in err.splitlines()), err


def check_many():
    """A thousand faults: some are told, all are counted, and it does not take long."""
    files = [{"path": "x%d" % i} for i in range(1000)]
    text = json.dumps({"ignition": {"version": "3.3.0"}, "storage": {"files": files}}, indent=1)
    rc, out, err = run("validate", "-", data=text.encode())
    assert rc == 1 and err.count("must be an absolute path") == 64 and "936 more" in err, err[-500:]
    big = {"ignition": {"version": "3.3.0"}, "storage": {"files": [{"path": "/d/%06d" % i} for i in range(100000)]},
           "systemd": {"units": [{"name": "e@%06d.service" % i, "enabled": True} for i in range(50000)]}}
    rc, out, err = run("validate", "-", data=json.dumps(big).encode())
    assert (rc, out, err) == (0, "-: valid\n", ""), err[:2000]


def check_program():
    assert run("--help")[0] == 0 and "validate" in run("--help")[1]
    assert run("--version")[1].startswith("ignition-lite ")
    assert run("validate", "--help")[0] == 0
    for args in ([], ["nothing"], ["validate"], ["validate", "a", "b"], ["validate", "--nonsense", "a"]):
        rc, out, err = run(*args)
        assert rc == 2 and not out and err.count("\n") == 1, (args, rc, out, err)
    rc, out, err = run("validate", "/nonexistent/x.ign")
    assert rc == 1 and "No such file" in err, err
    rc, out, err = run("validate", "/etc")
    assert rc == 1 and err, err
    with tempfile.TemporaryDirectory() as d:
        path = d + "/config.ign"
        pathlib.Path(path).write_text(HEAD + '\n "x": 1,\n "storage": {"files": [{"path": "x"}]}}')
        rc, out, err = run("validate", path)
        assert err == ("warning: %s:2:7: $.x: unused key 'x'\nerror: %s:3:33: $.storage.files.0.path: must be an "
                       "absolute path\n%s: not valid\n" % (path, path, path)), err
        said = json.loads(run("validate", "--json", path)[1])
        assert [i["kind"] for i in said["issues"]] == ["warning", "error"] and not said["valid"], said


def check_examples():
    """One config of each kind that people write: both programs take it, without a word."""
    examples = sorted(pathlib.Path("tests/ignition").glob("*.ign"))
    assert len(examples) >= 16, examples
    for path in examples:
        assert run("validate", str(path)) == (0, "%s: valid\n" % path, ""), path
        assert judge(str(path)) == (True, {"error": [], "warning": []}), path


def check_documented():
    text = DOC.read_text(encoding="utf-8")
    for row in [*DIFFERENCES, *THEIRS, "strict JSON"]:
        assert "| %s |" % row in text, "%s does not explain '%s'" % (DOC, row)


def check_long_lines():
    """The one thing that Ignition refuses and ignition-lite takes; no random config is so long."""
    config = {"ignition": {"version": "3.3.0"}, "systemd": {"units": [
        {"name": "a.service", "contents": "[Service]\nExecStart=" + "x" * 5000}]}}
    wrong, rows = compare(json.dumps(config), 3)
    assert wrong is None and rows == {"long lines"}, (wrong, rows)


def main():
    check_documented()
    check_examples()
    check_program()
    check_refused()
    check_truncated()
    check_many()
    check_long_lines()
    return 1 if check_generated() else 0


if __name__ == "__main__":
    sys.exit(main())
