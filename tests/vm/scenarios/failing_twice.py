# SPDX-License-Identifier: Apache-2.0
"""Two releases in a row that do not stay: the health check of the first hangs, under the second all
checks pass but a unit dies within its watch time. One fallback each, and no third release is taken
before a person has looked."""

HANGS = """#!/bin/sh
[ "$PROA_VERSION" != 1.1.0 ] || exec sleep 3600
"""
# a unit that is active when it is looked at first, and ends while it is watched
LIVES = """#!/bin/sh
. /usr/lib/os-release
until systemctl is-active proa-health.service | grep -q activating; do sleep 1; done
[ $IMAGE_VERSION = 1.2.0 ] || exec sleep infinity
sleep 15
"""
UNIT = """[Service]
ExecStart=/etc/mesh
[Install]
WantedBy=multi-user.target
"""
WATCH = "[Health]\nDeadline=120s\nUnits=mesh.service\nStayActive=40s\n"


def run(lab):
    host = lab.host(lab.serve())
    host.conf("60-health", "[Health]\nDeadline=60s\n")
    host.health_check("10-storage.sh", HANGS)
    # the check that 1.2.0 brings fails: that it dies later is what this is about
    host.check("ln -s /dev/null /etc/proa/health/required.d/30-frobnicator.sh; sync")

    falls_back(host, "1.1.0", r"1\.1\.0 +failed.*10-storage.*(deadline|time)")
    host.expect(host.shows("fell-back", "proactl status", "proactl why", "proactl history"),
                r"1\.1\.0.*failed.*proactl forgive 1\.1\.0")

    host.conf("60-health", WATCH)
    host.put("/etc/mesh", LIVES, 0o755)
    host.put("/etc/systemd/system/mesh.service", UNIT)
    host.check("systemctl daemon-reload; systemctl enable --now mesh.service")
    host.configure(lab.serve(), "sick", 3)
    falls_back(host, "1.2.0", r"1\.2\.0 +failed.*mesh\.service.*did not stay active")

    before = host.picture()
    host.configure(lab.serve(), "dead", 3)
    result = host.run("proactl update --unattended", 300)
    assert result.status == 4, result
    host.expect(host.shows("halted", "proactl status", "proactl why"),
                r"2 releases in a row did not stay.*forgive")
    host.unchanged(before)
    host.no_failed_units()


def falls_back(host, version, said):
    host.update()
    host.reboot()
    boots = host.wait_version("1.0.0")
    assert [b.version for b in boots] == [version, "1.0.0"], boots
    host.wait_settled()
    host.expect(host.until("proactl history | grep 'fell back' && proactl history"), said)
    assert not host.run("ls /efi/EFI/Linux | grep %s+[1-9]" % version).out
