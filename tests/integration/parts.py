# SPDX-License-Identifier: Apache-2.0
"""A long test in parts that run at once: `from parts import load_tests` in the test, PARTS in its
add_integration(). PROA_PART=2/3 is every third test from the second on; each belongs to one part.
"""
import os
import unittest


def each(suite):
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from each(t)
        else:
            yield t


def load_tests(loader, tests, pattern):
    part, parts = (int(n) for n in os.environ.get("PROA_PART", "1/1").split("/"))
    mine = [t for i, t in enumerate(each(tests)) if i % parts == part - 1]
    assert mine, "no tests are left for part %d of %d" % (part, parts)
    return unittest.TestSuite(mine)
