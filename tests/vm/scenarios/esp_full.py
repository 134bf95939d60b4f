# SPDX-License-Identifier: Apache-2.0
"""The ESP has no room for the new UKI: said before anything is written; works when room is made."""


def run(lab):
    host = lab.host(lab.serve())
    host.check("dd if=/dev/zero of=/efi/fill bs=1M count=125 status=none; sync")
    host.refused(r"room|space|full")
    host.check("rm /efi/fill; sync")
    host.update()
    host.applied("1.1.0")
