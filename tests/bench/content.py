# SPDX-License-Identifier: Apache-2.0
"""Trees of a wanted size with realistic content: files of this machine's own /usr."""
import hashlib
import os
import random
import shutil
import stat

BLOCK = 4096
FILE_MAX = 32 << 20  # one huge library must not be the whole image
LEFT_OUT = ("/usr/local", "/usr/src", "/usr/games")


def usr_files(seed):
    """Regular files of /usr with their sizes, in an order that only the seed and names decide."""
    found = []
    for folder, dirs, names in os.walk("/usr"):
        dirs[:] = [d for d in dirs if f"{folder}/{d}" not in LEFT_OUT]
        for name in names:
            path = f"{folder}/{name}"
            try:
                st = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(st.st_mode) and 0 < st.st_size <= FILE_MAX and os.access(path, os.R_OK):
                found.append((path, st.st_size))
    return sorted(found, key=lambda f: hashlib.sha256(f"{seed} {f[0]}".encode()).digest())


def varied(data, seed, lap):
    """Other bytes that compress as well: every value exchanged for another one."""
    table = list(range(256))
    random.Random(f"{seed} {lap}").shuffle(table)
    return data.translate(bytes(table))


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def make_tree(tree, size, seed):
    """A tree whose erofs is about `size` bytes; returns its files. /usr is repeated when small."""
    files, made, lap, left = usr_files(seed), [], 0, size - BLOCK
    if not files:
        raise SystemExit("bench: /usr holds no readable file")
    while True:
        for path, length in files:
            need = (length + BLOCK - 1) // BLOCK * BLOCK + 128
            if need > left:
                if left < 64 * BLOCK or length < FILE_MAX:
                    return made
                continue
            to = f"{tree}/lap{lap}{path[4:]}" if lap else f"{tree}{path[4:]}"
            with open(path, "rb") as f:
                data = f.read()
            write(to, varied(data, seed, lap) if lap else data)
            made.append(to)
            left -= need
        lap += 1


def change_tree(files, seed, budget):
    """What an update of some packages does: files of `budget` bytes in all become others, or (one
    in two) are shifted by a few bytes."""
    rng = random.Random(f"{seed} change")
    for path in sorted(files, key=lambda f: hashlib.sha256(f"{seed} {f}".encode()).digest()):
        with open(path, "rb") as f:
            data = f.read()
        if len(data) > budget:
            continue
        budget -= len(data)
        kind = rng.randrange(2)
        at = rng.randrange(len(data))
        if kind == 0:
            data = varied(data, seed, "change")
        else:
            data = data[:at] + rng.randbytes(24) + data[at:]
        write(path, data)


def fake_kernel(path, seed):
    """As much of a bzImage as a publisher looks at: the release name of the boot protocol."""
    head = bytearray(random.Random(f"{seed} kernel").randbytes(2 << 20))
    head[0:2], head[0x202:0x206], head[0x20e:0x210] = b"MZ", b"HdrS", (0x1000).to_bytes(2, "little")
    name = b"6.1.0-bench\0"
    head[0x1200:0x1200 + len(name)] = name
    write(path, bytes(head))


def remove_tree(tree):
    shutil.rmtree(tree, ignore_errors=True)
