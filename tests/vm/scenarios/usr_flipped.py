# SPDX-License-Identifier: Apache-2.0
"""A byte of /usr flips on disk before its first boot: dm-verity panics, the old one runs."""
from lab import USR_B


def run(lab):
    host = lab.host(lab.serve(), tries=1)
    host.update()
    host.power_off()
    host.flip(USR_B, 1024 + 16)  # in the erofs superblock: read at every mount
    host.start()
    host.wait_line("dm-verity.*corrupt|Kernel panic", 120)
    host.wait_boot("1.0.0")
    host.expect(host.until("proactl history"), r"1\.1\.0 +failed.*did not boot")
