# SPDX-License-Identifier: Apache-2.0
"""The ESP has no room for the new UKI: said before anything is written; works when room is made."""


def run(lab):
    host = lab.host(lab.serve(), prepare=fill)
    host.refused(r"room|space|full")
    host.check("rm /efi/fill; sync")
    host.update()
    host.applied("1.1.0")


def fill(guest):
    """Leave less than a UKI's size on the ESP."""
    import image
    filler = guest.dir / "fill"
    with open(filler, "wb") as f:
        f.truncate(125 * image.MIB)
    image.esp_put(guest.disk, filler, "fill")
    filler.unlink()
