#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What ignition-lite adds to an initrd that has systemd, udev and dm-verity: packed as an initrd is."""
import os, pathlib, re, shutil, subprocess, tempfile, unittest

BIN = pathlib.Path(os.environ["PROA_BIN"])
LIMIT = 3 << 19  # 1.5 MiB
# What an initrd that opens /usr by its root hash is made of.
ANYWAY = """/usr/lib/systemd/systemd /usr/lib/systemd/systemd-udevd /usr/lib/systemd/systemd-veritysetup
/usr/lib/systemd/systemd-journald /usr/bin/systemctl /usr/bin/udevadm /usr/bin/mount /usr/bin/kmod""".split()


def libraries(program):
    out = subprocess.run(["ldd", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {os.path.realpath(p) for p in re.findall(r"(/\S+) \(0x", out) if not re.search(r"lib([a-z]*san|gcc_s|stdc)", p)}


def packed(files):
    """Bytes of these as a part of an initrd."""
    with tempfile.TemporaryDirectory() as d:
        for i, f in enumerate(sorted(files)):
            shutil.copy(f, "%s/%d" % (d, i))
            subprocess.run(["strip", "%s/%d" % (d, i)], check=True)
        out = subprocess.run("find . -type f | sort | cpio -o -H newc --quiet | zstd -q -12 | wc -c", shell=True, cwd=d,
                             check=True, stdout=subprocess.PIPE)
    return int(out.stdout)


class Size(unittest.TestCase):
    def test_initrd(self):
        program = str(BIN / "ignition-lite")
        there = set().union(*map(libraries, ANYWAY))
        new = libraries(program) - there
        alone, adds = packed([program]), packed([program, *new])
        everything = packed([program, *libraries(program)])
        print("ignition-lite adds %.2f MiB to an initrd (zstd): itself %.2f MiB, and %s; with every library it uses: %.2f MiB" % (
            adds / 2**20, alone / 2**20, ", ".join(sorted(os.path.basename(l) for l in new)) or "no library",
            everything / 2**20), flush=True)
        if any("libcurl" in l for l in new):
            self.skipTest("linked with Debian's libcurl, not with that of ignition-lite/small-curl")
        self.assertLess(adds, LIMIT)


unittest.main()
