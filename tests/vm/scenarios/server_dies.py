# SPDX-License-Identifier: Apache-2.0
"""The server dies half-way and comes back: the update waits, goes on, and fetches nothing twice."""
import time

import image

# What was on its way when the connection broke: the buffers of three sockets.
SLACK = 6 * image.MIB


def run(lab):
    server = lab.serve()
    repo = lab.folder / "repo"
    proxy = lab.proxy(server, cut_after=lab.bulk(repo, "1.1.0") // 2)
    host = lab.host(proxy)
    host.spawn("proactl update; echo status $?", log="/run/update.log")
    proxy.wait_dead()
    time.sleep(5)
    proxy.revive()
    host.until("grep ^status /run/update.log", 400, 1)
    host.expect(host.check("cat /run/update.log"), r"status 0")
    staged = host.events("staged")[-1]  # the first is the installation
    assert proxy.passed < staged["fetched"] + SLACK, "%d bytes passed for %d" % (
        proxy.passed, staged["fetched"])
    host.applied("1.1.0")
