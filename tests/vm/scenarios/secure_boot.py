# SPDX-License-Identifier: Apache-2.0
"""Secure Boot with snakeoil keys: the signed host boots, and a release whose UKI is not signed is
refused before anything is written."""


def run(lab):
    host = lab.host(lab.serve(), "sick", disk="secure.img", secure_boot=True)
    state = host.check("od -An -tu1 -j4 -N1 /sys/firmware/efi/efivars/SecureBoot-*")
    assert state.strip() == "1", "Secure Boot is off: %s" % state
    host.refused(r"sign|secure boot")
