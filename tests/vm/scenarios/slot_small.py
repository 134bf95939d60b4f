# SPDX-License-Identifier: Apache-2.0
"""The other slot is too small for the release: said with both sizes, nothing written."""
import image
from lab import USR_B


def run(lab):
    host = lab.host(lab.serve(), prepare=shrink)
    host.refused(r"too small|needs")


def shrink(guest):
    """Give the second /usr partition half its size."""
    p = image.parts(guest.disk)[USR_B - 1]
    image.sh("sgdisk", "--delete=%d" % USR_B, "--new=%d:%d:+%d" % (
        USR_B, p["start"] // 512, p["size"] // 1024 - 1), "--typecode=%d:%s" % (USR_B, p["type"]),
             "--change-name=%d:_empty" % USR_B, guest.disk)
