#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How exposed each of Proa's services is, by systemd-analyze security: prints the scores, fails at 2.0.

The two of the initrd are not judged: they partition disks and make users before there is a host.
"""
import pathlib
import re
import subprocess
import sys

LIMIT = 2.0


def score(unit):
    p = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20",
                        str(unit.resolve())], capture_output=True, text=True)
    m = re.search(r"Overall exposure level for \S+: ([\d.]+)", p.stdout)
    return (float(m[1]) if m else 10.0), p.returncode == 0


def main():
    units = sorted(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "units").glob("*.service"))
    units = [u for u in units if "[Service]" in u.read_text()]
    bad = 0
    for u in units:
        n, passed = score(u)
        bad += n >= LIMIT or not passed
        print(f"{n:4.1f}  {u.name}{'' if n < LIMIT and passed else '   too exposed'}")
    return 1 if bad or len(units) < 6 else 0


if __name__ == "__main__":
    sys.exit(main())
