# SPDX-License-Identifier: Apache-2.0
"""A clean update: 1.0.0 fetches 1.1.0 over HTTP, reboots into it, and it is blessed."""


def run(lab):
    host = lab.host(lab.serve())
    host.expect(host.check("proactl check"), r"1\.1\.0")
    host.update()
    host.applied("1.1.0")
    host.shows("applied", "proactl status", "proactl why")
    boot = host.first_boot_of("1.1.0")
    assert boot.entry == "proa_1.1.0+3-0.efi", boot
    host.wait_settled()
    host.check("journalctl -b -u proa-settle --no-pager | grep -q Finished")
    host.expect(host.check("journalctl -b -o json MESSAGE_ID=a4c2e6f80b1d4f3a9e7c5b3d1f0a8e62"),
                r"1\.1\.0")
    host.check("proactl check || test $? = 3")
    host.expect(host.shows("good", "proactl status", "proactl why", "proactl history"),
                r"runs 1\.1\.0.*healthy")
    host.expect(host.history(), r"1\.1\.0 +good")
    host.no_failed_units()
    # The way back stays: 1.0.0 is still on the disk and can boot.
    assert "proa_1.0.0.efi" in host.check("ls /efi/EFI/Linux")
