# SPDX-License-Identifier: Apache-2.0
"""A server that ignores ranges: the update works all the same."""


def run(lab):
    server = lab.serve(ranges=False)
    host = lab.host(server)
    host.update()
    assert not [r for r in server.requests() if r[0] == 206], "the server did answer ranges"
    host.applied("1.1.0")
