# SPDX-License-Identifier: Apache-2.0
"""Blobs with wrong bytes. A wrong delta is made up for with the full image; when that is wrong too,
the update is refused with a sentence, never a boot entry; it works once one is mended."""


def run(lab):
    repo = lab.copy_repo()
    # in every frame: most of them are not asked for, as what runs has the same blocks
    full, good = spoil(lab.blob(repo, "1.1.0", "usr-full"), 4000)
    delta = lab.blob(repo, "1.1.0", "usr-delta")
    spoil(delta, delta.stat().st_size * 2 // 3)
    host = lab.host(lab.serve(repo))
    entries, table = host.esp(), host.part(2)
    out = host.refuse("proactl update", r"1\.1\.0|blob|hash", 300)
    assert len(out.strip().splitlines()[-1]) > 20, out
    assert host.esp() == entries and host.part(2) == table, "the running release was touched"
    assert not host.run("ls /efi/EFI/Linux | grep 1.1.0").out
    replace(full, good)
    host.expect(host.check("proactl update 2>&1", 300), "delta from 1.0.0")
    host.applied("1.1.0")


def spoil(blob, step):
    """A wrong byte after each `step`; returns the blob and what it held."""
    good = blob.read_bytes()
    bad = bytearray(good)
    for at in range(step, len(bad), step):
        bad[at] ^= 1
    replace(blob, bytes(bad))
    return blob, good


def replace(path, data):
    """By a new file: the old one is a link into the fixture."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.rename(path)
