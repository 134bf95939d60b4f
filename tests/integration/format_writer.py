# SPDX-License-Identifier: Apache-2.0
"""A writer of the blobs that docs/format.md describes, made from that page as format_reader.py is.
Its deltas are random: whatever the page allows, not what a publisher would choose."""
import struct

import zstandard

import format_reader as fr

BLOCK = fr.BLOCK


def full(rnd, data, level):
    """The seekable blob with frames of random lengths, and (packed, raw) of them."""
    packer = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    raws, at, most = [], 0, rnd.choice((1, 20, 64, 512))
    while at < len(data):
        raws.append(data[at:at + BLOCK * rnd.randint(1, most)])
        at += len(raws[-1])
    frames = [packer.compress(r) for r in raws]
    rows = b"".join(struct.pack("<II4s", len(f), len(r), f[-4:]) for f, r in zip(frames, raws))
    table = struct.pack("<II", 0x184D2A5E, len(rows) + 9) + rows
    table += struct.pack("<IBI", len(frames), 0x80, 0x8F92EAB1)
    return b"".join(frames) + table, [(len(f), len(r)) for f, r in zip(frames, raws)]


def index(image, salt, sizes):
    hashes = fr.hash_blocks(image, salt)
    upper = b"".join(fr.tree_of(hashes, salt)[1][:-1])
    two = struct.pack("<%dI" % len(sizes), *(packed | raw // BLOCK << 22 for packed, raw in sizes))
    three = b"".join(h[:8] for h in hashes)
    ends = [512, 512 + len(upper), 512 + len(upper) + len(two)]
    head = b"proa-idx" + struct.pack("<6I", 2, 1, BLOCK, BLOCK, fr.FRAME, 8)
    head += struct.pack("<QQ", len(hashes), sum(packed for packed, _ in sizes) + 17 + 12 * len(sizes))
    for at, part in zip(ends, (upper, two, three)):
        head += struct.pack("<QQ", at, len(part))
    head += struct.pack("<I", len(salt)) + b"sha256".ljust(32, b"\0") + salt.ljust(256, b"\0")
    return head.ljust(512, b"\0") + upper + two + three


def varint(v):
    out = bytearray()
    while v >= 128:
        out.append(v & 127 | 128)
        v >>= 7
    out.append(v)
    return bytes(out)


def zigzag(v):
    return varint(2 * v if v >= 0 else -2 * v - 1)


class Delta:
    """A random one, and with it the target that it makes. sources: (identity, bytes)."""

    def __init__(self, rnd, unit, sources, size):
        self.rnd, self.unit, self.sources = rnd, unit, sources
        self.r = rnd.choice((65536, 131072, 262144, 524288))
        recipe, distance, out, new = [], [0, 0], [], []
        at = 0
        while at * unit < size:
            n = 1 + int(rnd.random() ** 3 * rnd.choice((3, 300000 // unit)))
            kind = rnd.randrange(2 + len(sources))
            if kind >= 2:
                first, n = self.extent(kind - 2, n)
                recipe.append(varint(4 * n + kind) + zigzag(first - at - distance[kind - 2]))
                distance[kind - 2] = first - at
                out.append(self.bytes(kind - 2, first, n))
            else:
                recipe.append(varint(4 * n + kind))
                out.append(self.fresh(n * unit) if kind == 0 else bytes(n * unit))
                new += [out[-1]] if kind == 0 else []
            at += n
        self.target, self.pieces, self.new = b"".join(out), len(recipe), b"".join(new)
        self.recipe = b"".join(recipe)

    def extent(self, which, n):
        units = len(self.sources[which][1]) // self.unit
        n = min(n, units)
        first = self.rnd.choice((0, units - n, self.rnd.randrange(units - n + 1)))
        return first, n

    def bytes(self, which, first, n):
        return self.sources[which][1][first * self.unit:(first + n) * self.unit]

    def fresh(self, n):
        """Like a piece of a source, unlike it, or empty."""
        out = bytearray()
        while len(out) < n:
            kind, k = self.rnd.randrange(4), self.rnd.randrange(1, 100000)
            at = self.rnd.randrange(len(self.sources[0][1]))
            out += (self.rnd.randbytes(k), b"x=%d " % k * (k // 8), *[self.sources[0][1][at:at + k]] * 2)[kind]
        return bytes(out[:n])

    def told(self, raw, prefix):
        """(control, differences and extra bytes) of some triples; as it is now and then."""
        if self.rnd.random() < 0.3 or len(raw) < 128:
            return b"", raw
        control, difference, extra, place, at = b"", [], [], 0, 0
        while at < len(raw):
            more = len(control) < len(raw) // 4 - 40
            add = min(self.rnd.choice((0, 1, self.rnd.randrange(50000))), len(raw) - at, len(prefix))
            rest = min(self.rnd.choice((0, 1, self.rnd.randrange(50000))), len(raw) - at - add)
            rest = rest if more else len(raw) - at - add
            if not add + rest:
                continue
            to = self.rnd.choice((0, len(prefix) - add, self.rnd.randrange(len(prefix) - add + 1)))
            control += zigzag(to - place) + varint(add) + varint(rest)
            difference.append(bytes(r - p & 255 for r, p in zip(raw[at:at + add], prefix[to:to + add])))
            extra.append(raw[at + add:at + add + rest])
            place, at = to + add, at + add + rest
        return control, b"".join(difference + extra)

    def blob(self, identity, spoil=None, extents=(0, 1, 2, 5, 64)):
        """spoil: what becomes of the recipe before it is packed; extents: how many a frame may have."""
        frames, tail, behind = [], [], 0
        for at in range(0, len(self.new), self.r):
            raw, left, prefix, words = self.new[at:at + self.r], (2 << 20) // self.unit, b"", []
            for _ in range(self.rnd.choice(extents)):
                which = self.rnd.randrange(len(self.sources))
                most = self.rnd.choice((1, 20, 65536, left + 1))
                first, n = self.extent(which, 1 + self.rnd.randrange(most))
                if n > left:
                    break
                left -= n
                prefix += self.bytes(which, first, n)
                words.append(varint(2 * n + which) + zigzag(first - behind))
                behind = first + n
            base = fr.behind(prefix)
            packer = zstandard.ZstdCompressor(level=self.rnd.choice((1, 3, 7)), dict_data=base,
                                              write_content_size=True)
            control, content = self.told(raw, prefix)
            frames.append(packer.compress(control + content))
            if len(frames[-1]) > len(raw) + 1024:
                control, frames[-1] = b"", packer.compress(raw)
            tail.append(varint(len(frames[-1])) + varint(len(control)) + varint(len(words)) + b"".join(words))
        recipe = self.recipe + b"".join(tail)
        if spoil:
            recipe = spoil(recipe)
        packed = zstandard.ZstdCompressor(level=3, write_content_size=True).compress(recipe)
        head = b"proa-dlt" + struct.pack("<6I", 2, self.unit, self.r, len(self.sources), self.pieces, len(frames))
        head += struct.pack("<32sQQIIQ", identity, len(self.target), len(self.new), len(recipe), len(packed),
                            sum(map(len, frames)))
        for name, data in self.sources:
            head += struct.pack("<32sQ", name, len(data))
        return head.ljust(256, b"\0") + packed + b"".join(frames)
