# SPDX-License-Identifier: Apache-2.0
"""A person takes a good release back and says why: the host runs the one before, the same release
is offered again and not taken, until it is forgiven."""


def run(lab):
    host = lab.host(lab.serve())
    host.update()
    host.first_boot_of("1.1.0")
    host.wait_settled()
    host.expect(host.check("proactl rollback --reason 'pods lose their network'"), r"1\.0\.0")
    host.expect(host.check("proactl status"), r"runs 1\.1\.0")
    host.reboot()
    host.wait_boot("1.0.0")
    host.wait_settled()

    before = host.picture()
    out = host.run("proactl update --unattended", 300)
    assert out.status in (3, 4), out
    host.expect(host.shows("taken-back", "proactl why", "proactl history"),
                r"1\.1\.0.*pods lose their network.*proactl forgive 1\.1\.0.*rolled back")
    host.unchanged(before)

    host.check("proactl forgive 1.1.0")
    host.update()
    host.applied("1.1.0")
