#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ignition-lite's merging against Ignition's own.

For seeded pairs of configs, Debian's Ignition applies the parent with the child in
ignition.config.merge into one directory, and what ignition-lite merged of the two into another. The
trees must be the same. PROA_SEED sets the seed, PROA_RUNS the number of pairs.
"""
import base64
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

BIN = os.environ.get("PROA_BIN", "build/bin") + "/ign-merge-cli"
IGNITION = "/usr/lib/dracut/modules.d/30ignition/ignition"
SEED = int(os.environ.get("PROA_SEED", "20261121"))
RUNS = int(os.environ.get("PROA_RUNS", "100"))
PATHS = ["/etc/a", "/etc/b", "/etc/c/d", "/opt/e/f/g", "/opt/e/h"]
# no instances of templates: for them Ignition wants to speak with systemd
UNITS = ["a.service", "b.service", "c.socket", "d.timer"]


def source(rng):
    return {"source": "data:," + rng.choice(["one", "two", "three%0a", ""])}


def node(rng, path):
    kind = rng.choice(["files", "files", "directories", "links"])
    n = {"path": path}
    if rng.random() < 0.3:
        n["user"] = {"id": rng.choice([0, 7, 9])}
    if kind == "links":
        n["target"] = rng.choice(["/etc/x", "../y"])
    elif rng.random() < 0.5:
        n["mode"] = rng.choice([384, 420, 493])
    if kind == "files":
        if rng.random() < 0.7:
            n["contents"] = source(rng)
        if rng.random() < 0.4:
            n["append"] = [source(rng) for _ in range(rng.randrange(3))]
    return kind, n


def unit(rng, name):
    u = {"name": name}
    if rng.random() < 0.5:
        u["contents"] = rng.choice(["[Unit]\n", "[Unit]\nDescription=b\n[Install]\nWantedBy=x.target\n"])
    if rng.random() < 0.5:
        u["enabled"] = True
    u["dropins"] = [{"name": d, "contents": rng.choice(["[A]\nB=c\n", "[D]\nE=f\n"])}
                    for d in rng.sample(["1.conf", "2.conf"], rng.randrange(3))]
    return u


def config(rng, version):
    storage = {}
    for path in rng.sample(PATHS, rng.randrange(1, len(PATHS) + 1)):
        kind, n = node(rng, path)
        storage.setdefault(kind, []).append(n)
    return {"ignition": {"version": version}, "storage": storage,
            "systemd": {"units": [unit(rng, u) for u in rng.sample(UNITS, rng.randrange(4))]}}


def apply(ignition, config, d):
    """What the tree holds afterwards, or None when Ignition refuses."""
    root = pathlib.Path(d)
    root.mkdir()
    cfg = root.parent / (root.name + ".ign")
    cfg.write_text(json.dumps(config))
    run = subprocess.run([ignition, "--root", str(root), "--offline", str(cfg)], capture_output=True, text=True,
                         env={**os.environ, "container": "x"}, timeout=60)
    if run.returncode:
        return None, (run.stdout + run.stderr)[-600:]
    found = {}
    for p in sorted(root.rglob("*")):
        st = p.lstat()
        rel = str(p.relative_to(root))
        if "ignition-result" in rel:
            continue
        what = os.readlink(p) if p.is_symlink() else p.read_text() if p.is_file() else ""
        if rel.endswith("20-ignition.preset"):
            what = sorted(what.splitlines())
        found[rel] = (oct(st.st_mode), st.st_uid, st.st_gid, what)
    return found, ""


def one(rng, ignition, d):
    parent, child = config(rng, rng.choice(["3.0.0", "3.2.0", "3.3.0"])), config(rng, rng.choice(["3.1.0", "3.3.0"]))
    files = []
    for name, c in (("parent", parent), ("child", child)):
        files.append(d / (name + ".json"))
        files[-1].write_text(json.dumps(c))
    run = subprocess.run([BIN, *map(str, files)], capture_output=True, text=True, timeout=60)
    if run.returncode:
        return "refused: " + run.stderr
    merged = json.loads(run.stdout)
    merged["ignition"]["version"] = "3.3.0"
    url = "data:;base64," + base64.b64encode(files[1].read_bytes()).decode()
    parent["ignition"]["config"] = {"merge": [{"source": url}]}
    theirs, why = apply(ignition, parent, d / "theirs")
    mine, why2 = apply(ignition, merged, d / "mine")
    if theirs is None or mine is None:
        return None if theirs is None and mine is None else "one of them fails: %s%s" % (why, why2)
    if theirs != mine:
        return "\n".join("%s: Ignition %s, ignition-lite %s" % (p, theirs.get(p), mine.get(p))
                         for p in sorted({*theirs, *mine}) if theirs.get(p) != mine.get(p))
    return ""


def main():
    if os.geteuid() != 0:
        print("skipped: Ignition sets owners, which needs root")
        return 0
    applied = 0
    with tempfile.TemporaryDirectory() as top:
        ignition = top + "/ignition-apply"
        os.symlink(IGNITION, ignition)
        for n in range(RUNS):
            rng = random.Random(SEED * 1000003 + n)
            d = pathlib.Path(top) / str(n)
            d.mkdir()
            wrong = one(rng, ignition, d)
            if wrong:
                sys.exit("seed %d pair %d: %s\n%s\n%s" % (SEED, n, wrong, (d / "parent.json").read_text(),
                                                         (d / "child.json").read_text()))
            applied += wrong == ""
            shutil.rmtree(d)
    print("%d pairs, %d of them applied" % (RUNS, applied))
    return 0 if applied > RUNS // 3 else 1


if __name__ == "__main__":
    sys.exit(main())
