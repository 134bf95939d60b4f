# SPDX-License-Identifier: Apache-2.0
"""A health check that hangs under the new release: the deadline ends it and the host falls back,
once, with two tries left; a unit that has to stay active stays so meanwhile."""

HANGS = """#!/bin/sh
[ "$PROA_VERSION" != 1.1.0 ] || exec sleep 3600
"""
MESH = """[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""
CONF = "[Health]\nDeadline=90s\nUnits=mesh.service\nStayActive=15s\n"


def run(lab):
    host = lab.host(lab.serve())
    host.conf("60-health", CONF)
    host.put("/etc/systemd/system/mesh.service", MESH)
    host.check("systemctl daemon-reload; systemctl enable --now mesh.service")
    host.health_check("10-storage.sh", HANGS)
    host.update()
    host.reboot()
    boots = host.wait_version("1.0.0")
    assert [b.version for b in boots] == ["1.1.0", "1.0.0"], boots
    host.wait_settled()
    host.expect(host.until("proactl history | grep 'fell back' && proactl history"),
                r"1\.1\.0 +failed.*10-storage.*(deadline|time)")
    host.expect(host.shows("fell-back", "proactl status", "proactl why", "proactl history"),
                r"1\.1\.0.*failed.*proactl forgive 1\.1\.0")
    assert not host.run("ls /efi/EFI/Linux | grep 1.1.0+[1-9]").out
