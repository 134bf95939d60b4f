# SPDX-License-Identifier: Apache-2.0
"""A release that does not boot at all: three tries are counted down, then the old one runs."""


def run(lab):
    host = lab.host(lab.serve(), channel="dead", tries=3)
    host.update()
    host.reboot()
    host.wait_boot("1.0.0", seconds=300)
    assert host.resets == 4, "%d resets, expected one reboot and three panics" % host.resets
    assert "proa_1.2.1+0-3.efi" in host.check("ls /efi/EFI/Linux")
    host.wait_settled()
    host.expect(host.until("proactl history"), r"1\.2\.1 +failed.*did not boot")
    host.expect(host.run("proactl update", 300).out, r"1\.2\.1.*failed|not be tried")
