# SPDX-License-Identifier: Apache-2.0
"""Blobs with one wrong byte. A wrong delta is made up for with the full image; when that is wrong
too, the update is refused with a sentence, never a boot entry; it works once one is mended."""


def run(lab):
    repo = lab.copy_repo()
    full, good = spoil(lab.blob(repo, "1.1.0", "usr-full"))
    spoil(lab.blob(repo, "1.1.0", "usr-delta"))
    host = lab.host(lab.serve(repo))
    entries, table = host.esp(), host.part(2)
    out = host.refuse("proactl update", r"1\.1\.0|blob|hash", 300)
    assert len(out.strip().splitlines()[-1]) > 20, out
    assert host.esp() == entries and host.part(2) == table, "the running release was touched"
    assert not host.run("ls /efi/EFI/Linux | grep 1.1.0").out
    replace(full, good)
    host.expect(host.check("proactl update 2>&1", 300), "delta from 1.0.0")
    host.applied("1.1.0")


def spoil(blob):
    """One wrong byte, late; returns the blob and what it held."""
    good = blob.read_bytes()
    at = len(good) * 2 // 3
    replace(blob, good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
    return blob, good


def replace(path, data):
    """By a new file: the old one is a link into the fixture."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.rename(path)
