# SPDX-License-Identifier: Apache-2.0
"""Two hosts and one place in a real etcd: the second waits and says for whom, until the first runs
the new release, is found good and gives the place back."""
from scenarios.reboot_terms import given_back, held

CONF = """[Update]
Reboot=immediate
[Lock]
Type=etcd
URL=http://10.0.2.2:%d/
Group=web
[Reboot]
Retry=10min
"""


def run(lab):
    etcd, server = lab.etcd(), lab.serve()
    first = lab.host(server, name="web-04")
    second = lab.host(server, name="web-17")
    for host in (first, second):
        host.conf("60-reboot", CONF % etcd.port)
    second.update()

    first.spawn("proactl update --unattended")
    first.wait("place in the group", lambda: held(etcd), 400)
    (holder,) = held(etcd)
    second.run("proactl reboot --unattended")
    second.expect(second.shows("locked", "proactl status", "proactl why"), "web")
    assert held(etcd) == [holder], held(etcd)
    first.wait_boot("1.1.0")
    first.wait_blessed("1.1.0")
    given_back(etcd)

    # nobody asks it to: it tries again by itself when that is due
    second.clock("+16 minutes")
    second.wait_boot("1.1.0", 300)
    second.wait_blessed("1.1.0")
    given_back(etcd)
    for host in (first, second):
        host.no_failed_units()
