#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which configuration files count, and in what order: conf_load() against systemd-analyze.

Random layouts below a root: a main file in any of the three directories, drop-ins, masks made of
empty files and links to /dev/null. `systemd-analyze --root=R cat-config` says which files it reads
in which order; applied in that order they must give the values, files and lines conf-cli prints.
PROA_SEED sets the seed, PROA_LAYOUTS the number of layouts (400).
"""
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import unittest

BIN = os.environ.get("PROA_BIN", "build/bin")
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
LAYOUTS = int(os.environ.get("PROA_LAYOUTS", "400"))
DIRS = ["etc", "run", "usr/lib"]
NAMES = ["10-a.conf", "20-b.conf", "20-B.conf", "9-c.conf", "a.conf", "_.conf", "é.conf", ".hidden.conf", "README",
         "x.conf.bak", ".conf"]


def content(rng):
    lines = []
    for section in rng.sample(["Update", "Health", "Network"], rng.randint(1, 3)):
        lines += rng.choice([[], [""], ["# a comment", ""], ["; another"]])
        lines.append(f"[{section}]")
        for key in rng.sample(["One", "Two", "Three"], rng.randint(0, 3)):
            lines += rng.choice([[], [], [""], ["#One=commented out"]])
            value = rng.choice(["", "v", "two words", "a=b", "https://h/p?q=1"]) and f"v{rng.randrange(10**6)} w"
            lines.append(rng.choice([f"{key}={value}", f"{key} = {value} "]))
    return "\n".join(lines) + rng.choice(["\n", "\n\n", ""])


def place(rng, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = rng.random()
    if kind < 0.12:
        path.write_bytes(b"")
    elif kind < 0.24:
        path.symlink_to("/dev/null")
    elif kind < 0.34:
        target = path.parent / f"target-of-{path.name}.txt"
        target.write_text(content(rng))
        path.symlink_to(target.name)
    else:
        path.write_text(content(rng))


def layout(rng, root):
    for d in DIRS:
        base = root / d / "proa"
        if rng.random() < 0.5:
            place(rng, base / "proa.conf")
        if rng.random() < 0.7:
            for name in rng.sample(NAMES, rng.randint(0, 5)):
                place(rng, base / "proa.conf.d" / name)


def apply(path, state):
    section = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            section = line[1:-1]
            continue
        key, _, value = line.partition("=")
        state[f"{section}.{key.strip()}"] = (value.strip(), f"{path}:{number}")


def judged(root):
    r = subprocess.run(["systemd-analyze", f"--root={root}", "cat-config", "proa/proa.conf"], capture_output=True,
                       text=True, env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"})
    files = [line[2:] for line in r.stdout.splitlines() if line.startswith(f"# {root}/")]
    state = {}
    for f in files:
        apply(pathlib.Path(f), state)
    return state, files


def ours(root):
    r = subprocess.run([f"{BIN}/conf-cli", str(root), "proa"], capture_output=True, text=True)
    if r.returncode != 0:
        return r.stderr
    state = {}
    for line in r.stdout.splitlines():
        setting, _, origin = line.partition("\t")
        name, _, value = setting.partition("=")
        state[name] = (value, origin)
    return state


class Conf(unittest.TestCase):
    def setUp(self):
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="proa-conf-"))
        self.addCleanup(shutil.rmtree, self.tmp)

    def test_judge(self):
        settings = overridden = masks = 0
        for i in range(LAYOUTS):
            rng = random.Random(f"{SEED} {i}")
            root = self.tmp / str(i)
            root.mkdir()
            layout(rng, root)
            want, files = judged(root)
            self.assertEqual(ours(root), want, f"seed {SEED}, layout {i}: {files}")
            settings += len(want)
            overridden += len(files) > 2
            masks += any(os.stat(f).st_size == 0 for f in files)
            shutil.rmtree(root)
        print(f"seed {SEED}: {LAYOUTS} layouts agree, {settings} settings, {overridden} with three files or more, "
              f"{masks} with masks in force")
        self.assertGreater(settings, LAYOUTS)
        self.assertGreater(masks, LAYOUTS // 20)

    def test_unreadable_is_told(self):
        bad = self.tmp / "etc/proa/proa.conf"
        bad.parent.mkdir(parents=True)
        bad.write_text("[Update]\nChannel stable\n")
        self.assertIn(f"{bad}:2: 'Channel stable' is neither [Section] nor Key=value", ours(self.tmp))


if __name__ == "__main__":
    unittest.main(verbosity=1)
