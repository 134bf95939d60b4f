#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""version_compare() against `systemd-analyze compare-versions` on seeded random pairs.

PROA_SEED sets the seed, PROA_PAIRS the number of pairs (3,000).
"""
import os
import random
import subprocess
import unittest

BIN = os.environ.get("PROA_BIN", "build/bin")
SEED = int(os.environ.get("PROA_SEED", "20261120"), 0)
PAIRS = int(os.environ.get("PROA_PAIRS", "3000"))
SYMBOL = {0: 0, 11: 1, 12: -1}

# the total order of systemd's own test-string-util.c
CHAIN = ["~1", "", "ab", "abb", "abc", "0001", "002", "12", "122", "122.9", "123~rc1", "123", "123-a",
         "123-a.1", "123-a1", "123-a1.1", "123-3", "123-3.1", "123^patch1", "123^1", "123.a-1",
         "123.1-1", "123a-1", "124"]


def ours(pairs):
    text = "".join(f"{a}\t{b}\n" for a, b in pairs)
    out = subprocess.run([f"{BIN}/version-cli"], input=text, capture_output=True, text=True, check=True)
    return [SYMBOL[int(line)] for line in out.stdout.split()]


def judge(a, b):
    return SYMBOL[subprocess.run(["systemd-analyze", "compare-versions", "--", a, b]).returncode]


def random_version(rng):
    kind = rng.random()
    if kind < 0.4:  # as people write them
        v = ".".join(str(rng.randrange(rng.choice([2, 20, 400]))) for _ in range(rng.randint(1, 4)))
        return v + rng.choice(["", "", "", "-1", "~rc1", "~rc2", "^git1", "-2.1", "a", "b1", "+x", "_y"])
    alphabet = rng.choice(["01aB~-^.", "0123456789", "09azAZ~-^.+_ :/", "~~--^^..01", "aAbB.0"])
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(0, rng.choice([3, 8, 20]))))


def mutated(rng, v):
    if not v or rng.random() < 0.3:
        return random_version(rng)
    at = rng.randrange(len(v))
    return v[:at] + rng.choice(["", "0", "00", "1", "~", "-", "^", ".", "a", "Z", "_"]) + v[at + rng.randint(0, 1):]


class Version(unittest.TestCase):
    def test_chain(self):
        pairs = [(a, b) for a in CHAIN for b in CHAIN]
        want = [(i > j) - (i < j) for i in range(len(CHAIN)) for j in range(len(CHAIN))]
        for pair, w, got in zip(pairs, want, ours(pairs)):
            self.assertEqual(got, w, pair)

    def test_digit_beats_none(self):
        self.assertEqual(ours([("0", "B"), ("B", "0")]), [1, -1])

    def test_judge(self):
        rng = random.Random(SEED)
        pairs = []
        while len(pairs) < PAIRS:
            a = random_version(rng)
            pairs.append((a, mutated(rng, a)))
        seen = {-1: 0, 0: 0, 1: 0}
        for (a, b), got in zip(pairs, ours(pairs)):
            want = judge(a, b)
            seen[want] += 1
            self.assertEqual(got, want, f"{a!r} {b!r} seed {SEED}")
        print(f"seed {SEED}: {PAIRS} pairs agree, {seen}")
        self.assertTrue(all(n > PAIRS // 100 for n in seen.values()), seen)

    def test_antisymmetric_and_transitive(self):
        rng = random.Random(SEED + 1)
        vs = [random_version(rng) for _ in range(120)]
        pairs = [(a, b) for a in vs for b in vs]
        r = dict(zip(pairs, ours(pairs)))
        for a in vs:
            for b in vs:
                self.assertEqual(r[a, b], -r[b, a], (a, b))


if __name__ == "__main__":
    unittest.main(verbosity=1)
