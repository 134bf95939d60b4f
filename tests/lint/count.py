#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""count.py LOG: "passed failed skipped" out of a runner's log (ctest, or our own last line)."""
import re
import sys

text = open(sys.argv[1], errors="replace").read()
own = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", text, re.M)
ctest = re.search(r"^\d+% tests passed, (\d+) tests failed out of (\d+)", text, re.M)
if ctest:
    failed, total = map(int, ctest.groups())
    skipped = len(re.findall(r"\*\*\*Skipped", text))
    print(total - failed - skipped, failed, skipped)
elif own:
    p, f, s = own[-1]
    print(p, f, s or 0)
else:
    print(0, 1, 0)
