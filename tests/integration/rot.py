# SPDX-License-Identifier: Apache-2.0
"""Rot: a bit that is another one than was written."""


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x20]))
