# SPDX-License-Identifier: Apache-2.0
"""The channel's newest release is older than the one running: not installed, nothing changed."""


def run(lab):
    host = lab.host(lab.serve(), channel="old")
    before = host.picture()
    result = host.run("proactl update", 300)
    host.expect(result.out, r"0\.9\.0.*older|newest|nothing to do")
    host.unchanged(before)
