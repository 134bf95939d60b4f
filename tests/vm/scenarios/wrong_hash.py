# SPDX-License-Identifier: Apache-2.0
"""A signed release whose UKI carries another root hash: refused before a boot entry exists."""


def run(lab):
    host = lab.host(lab.serve(lab.folder / "crossed"))
    entries = host.esp()
    host.refuse("proactl update", r"usrhash|root hash", 300)
    assert host.esp() == entries, host.esp()
    host.reboot()
    host.wait_boot("1.0.0")
