# SPDX-License-Identifier: Apache-2.0
"""A reader of what Proa publishes, written from docs/format.md, RFC 8878 and the description of
dm-verity, not from Proa's sources: it says whether that page is enough. It believes the manifest and
proves all it restores. Signatures are not its business (tuf_reference.py).

What the page says must be so is checked, and anything else is Bad: of a writer's blobs as well as
of one's own understanding."""
import bisect
import hashlib
import json
import pathlib
import random
import struct

import zstandard

BLOCK, DIGEST, FANOUT = 4096, 32, 4096 // 32
FRAME, FILE_FRAME, WINDOW, OVERHEAD, CUT = 2 << 20, 65536, 8 << 20, 1024, 8
TOP = 1 << 64


class Bad(Exception):
    """Not what docs/format.md describes, or not proved."""


def must(true, *what):
    if not true:
        raise Bad(*what)


def ceil(a, b):
    return -(-a // b)


def sha256(data):
    return hashlib.sha256(data).digest()


# dm-verity

def hash_blocks(data, salt):
    start = hashlib.sha256(salt)
    out = []
    for at in range(0, len(data), BLOCK):
        h = start.copy()
        h.update(data[at:at + BLOCK])
        out.append(h.digest())
    return out


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def level_of(hashes):
    """The hash blocks that hold these hashes."""
    return padded(b"".join(hashes))


def tree_of(hashes, salt):
    """Root hash and levels, top first, leaves last, over the hashes of the data blocks."""
    levels = []
    while len(hashes) > 1:
        levels.insert(0, level_of(hashes))
        hashes = hash_blocks(levels[0], salt)
    return hashes[0], levels


def hash_area(image, salt):
    """What `veritysetup format` writes."""
    root, levels = tree_of(hash_blocks(image, salt), salt)
    head = struct.pack("<8sII16s32sIIQH6x256s", b"verity\0\0", 1, 1, root[:16], b"sha256", BLOCK, BLOCK,
                       len(image) // BLOCK, len(salt), salt)
    return root, padded(head) + b"".join(levels)


def level_sizes(blocks):
    """Hash blocks of each level, top first."""
    out = []
    while blocks > 1:
        blocks = ceil(blocks, FANOUT)
        out.insert(0, blocks)
    return out


# zstd

def frame_at(data, at):
    """Of the zstd frame there: content size, window, end, whether it has a checksum."""
    def take(n):
        nonlocal at
        must(0 <= n <= len(data) - at, "a frame is cut off")
        at += n
        return data[at - n:at]
    must(take(4) == b"\x28\xb5\x2f\xfd", "no zstd frame")
    (flags,) = take(1)
    single = flags >> 5 & 1
    must(not flags & 8, "reserved bit")
    window = 0  # a single segment needs its content size and no more
    if not single:
        (w,) = take(1)
        window = (1 << 10 + (w >> 3)) // 8 * (8 + (w & 7))
    must(flags & 3 == 0, "a dictionary ID")
    width = (single, 2, 4, 8)[flags >> 6]
    must(width, "a frame does not declare its size")
    size = int.from_bytes(take(width), "little") + (256 if width == 2 else 0)
    last = 0
    while not last:
        head = int.from_bytes(take(3), "little")
        last, kind, length = head & 1, head >> 1 & 3, head >> 3
        must(kind != 3, "reserved block")
        take(1 if kind == 1 else length)
    if flags & 4:
        take(4)
    return size, window, at, bool(flags & 4)


def behind(prefix):
    """Plain content in front of what is packed or unpacked."""
    return zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if prefix else None


def unpack(frame, raw, prefix=b""):
    """The content of exactly this frame, of exactly that size."""
    size, wants, end, _ = frame_at(frame, 0)
    must(size == raw and wants <= WINDOW and end == len(frame), "frame", size, raw, wants, end)
    try:
        out = zstandard.ZstdDecompressor(dict_data=behind(prefix)).decompress(frame, max_output_size=raw)
    except zstandard.ZstdError as e:
        raise Bad("frame", e) from e
    must(len(out) == raw, "a frame decodes to another size")
    return out


# the repository

class Repository:
    def __init__(self, path):
        self.path = pathlib.Path(path)

    def metadata(self, name, entry):
        data = (self.path / "metadata" / ("%d.%s.json" % (entry["version"], name))).read_bytes()
        must(len(data) == entry["length"] and sha256(data).hex() == entry["hashes"]["sha256"], name)
        return json.loads(data)["signed"]

    def manifest(self, channel, image, version):
        now = json.loads((self.path / "metadata/timestamp.json").read_text())["signed"]["meta"]
        snapshot = self.metadata("snapshot", now["snapshot.json"])["meta"]
        targets = self.metadata("targets", snapshot["targets.json"])
        (role,) = [r for r in targets["delegations"]["roles"] if r["name"] == channel]
        must(role["paths"] == [channel + "/*"], "paths")
        name = "%s_%s.json" % (image, version)
        entry = self.metadata(channel, snapshot[channel + ".json"])["targets"][channel + "/" + name]
        sha = entry["hashes"]["sha256"]
        data = (self.path / "targets" / channel / (sha + "." + name)).read_bytes()
        must(len(data) == entry["length"] <= 65536 and sha256(data).hex() == sha, "manifest")
        m = json.loads(data)
        must(m["proa"] == 1, "another manifest")
        for k in ("image", "version", "architecture"):
            must(m[k] == entry["custom"][k], k)
        must((m["image"], m["version"]) == (image, version), "manifest of another release")
        return Release(self, m)


class Release:
    """A manifest, and the ways to its image and its UKI."""

    def __init__(self, repo, manifest):
        self.repo, self.manifest = repo, manifest
        usr = manifest["usr"]
        self.root, self.salt = bytes.fromhex(usr["root_hash"]), bytes.fromhex(usr["salt"])
        self.blocks = usr["data_blocks"]
        must(len(self.root) == DIGEST and len(self.salt) <= 256 and usr["block_size"] == BLOCK, "usr")
        must(1 <= self.blocks <= 1 << 24, "data blocks")
        must(usr["hash_bytes"] == BLOCK * (1 + sum(level_sizes(self.blocks))), "hash bytes")
        self.uki = bytes.fromhex(manifest["uki"]["sha256"])
        must(len(self.uki) == DIGEST, "uki")

    def entry(self, role, base=None):
        """Its entry of blobs[], or None."""
        found = [b for b in self.manifest["blobs"]
                 if b["role"] == role and b.get("base") == (base.hex() if base else None)]
        must(len(found) <= 1, "two blobs", role)
        return found[0] if found else None

    def read(self, role, base=None, at=0, length=None):
        """Bytes of a blob, as a server with ranges would give them; of a whole one, proved."""
        entry = self.entry(role, base)
        with open(self.repo.path / "blobs/sha256" / entry["sha256"], "rb") as f:
            f.seek(at)
            data = f.read() if length is None else f.read(length)
        if length is None and at == 0:
            must(len(data) == entry["bytes"] and sha256(data).hex() == entry["sha256"], "blob", role)
        must(length is None or len(data) == length, "blob ends early", role)
        return data

    def image_full(self):
        return self.proved_image(unpack_seekable(self.read("usr-full"), self.blocks * BLOCK, FRAME))

    def uki_full(self):
        blob, size = self.read("uki-full"), self.manifest["uki"]["bytes"]
        must(len(blob) > 9 and blob[-9:-5] == struct.pack("<I", ceil(size, FILE_FRAME)), "frames of a UKI")
        return self.proved_uki(unpack_seekable(blob, size, FILE_FRAME))

    def proved_image(self, data):
        must(len(data) == self.blocks * BLOCK, "another length")
        must(tree_of(hash_blocks(data, self.salt), self.salt)[0] == self.root, "another root hash")
        return data

    def proved_uki(self, data):
        must(len(data) == self.manifest["uki"]["bytes"] and sha256(data) == self.uki, "another UKI")
        return data

    def index(self):
        return Index(self)

    def image_delta(self, base_root, base):
        """By usr-delta, with frames of the full blob for groups that are not proved. Also the
        number of those."""
        delta = Delta(self.read("usr-delta", base_root), BLOCK, self.root, self.blocks * BLOCK,
                      [(base_root, base)])
        return self.mended(delta.restore())

    def uki_delta(self, base_sha, base, usr):
        """usr is the release's own image, for a delta of two sources."""
        delta = Delta(self.read("uki-delta", base_sha), 1, self.uki, self.manifest["uki"]["bytes"],
                      [(base_sha, base), (self.root, usr)])
        return self.proved_uki(delta.restore())

    def uki_own(self, usr):
        """From the release's own image."""
        delta = Delta(self.read("uki-delta", self.root), 1, self.uki, self.manifest["uki"]["bytes"],
                      [(self.root, usr)])
        return self.proved_uki(delta.restore())

    def image_any_base(self, base, base_hashes):
        """From any image, and the hashes of its blocks as its hash area says. Also the bytes of
        the full blob that took, and the number of groups that were not proved at first."""
        index, there = self.index(), {}
        for i, h in enumerate(base_hashes):
            there.setdefault(h[:CUT], i)
        zero = hash_blocks(bytes(BLOCK), self.salt)[0][:CUT]
        out, missing = bytearray(self.blocks * BLOCK), set()
        for i, h in enumerate(index.cut):
            if h in there:
                out[i * BLOCK:(i + 1) * BLOCK] = base[there[h] * BLOCK:(there[h] + 1) * BLOCK]
            elif h != zero:
                missing.add(index.holder(i))
        for i in missing:
            index.put(out, i)
        data, again = self.mended(out)
        return data, sum(index.frames[i][1] for i in missing), again

    def mended(self, data):
        """Each group proved, or had from the full blob."""
        index, out, again = self.index(), bytearray(data), 0
        for g in range(ceil(self.blocks, FANOUT)):
            at = g * FANOUT * BLOCK
            if not index.proves(g, out[at:at + FANOUT * BLOCK]):
                again += 1
                end = min((g + 1) * FANOUT, self.blocks)
                for i in range(index.holder(g * FANOUT), index.holder(end - 1) + 1):
                    index.put(out, i)
                must(index.proves(g, out[at:at + FANOUT * BLOCK]), "group", g)
        return self.proved_image(bytes(out)), again


def unpack_seekable(blob, raw, most):
    """A full blob, of an image or a UKI."""
    must(len(blob) >= 17, "too short")
    n = struct.unpack_from("<I", blob, len(blob) - 9)[0]
    table = len(blob) - (17 + 12 * n)
    must(table >= 0, "too short")
    magic, length = struct.unpack_from("<II", blob, table)
    must((magic, length) == (0x184D2A5E, 9 + 12 * n), "seek table")
    must(blob[-9:] == struct.pack("<IBI", n, 0x80, 0x8F92EAB1), "end of the seek table")
    out, at = [], 0
    for i in range(n):
        packed, size, check = struct.unpack_from("<III", blob, table + 8 + 12 * i)
        must(0 < size <= most and packed <= size + OVERHEAD, "frame", i)
        must(size % BLOCK == 0 if most == FRAME else size == most or i == n - 1, "frame", i)
        must(at + packed <= table, "frames end behind the seek table")
        frame = blob[at:at + packed]
        out.append(full_frame(frame, size))
        must(frame[-4:] == struct.pack("<I", check), "checksum of frame", i)
        at += packed
    must(at == table, "bytes between frames and seek table")
    must(sum(map(len, out)) == raw, "another length")
    return b"".join(out)


def full_frame(frame, raw):
    must(frame_at(frame, 0)[3], "no content checksum")
    return unpack(frame, raw)


class Index:
    def __init__(self, release):
        self.release, b = release, release.blocks
        length, upper = release.entry("usr-full")["bytes"], level_sizes(b)[:-1]
        u = BLOCK * sum(upper)
        blob = release.read("usr-index")
        f, rest = divmod(len(blob) - 512 - u - CUT * b, 4)
        must(rest == 0 and 1 <= f <= min(b, 1 << 20), "length of the index")
        head = struct.pack("<8s6IQQ6QI32s256s", b"proa-idx", 2, 1, BLOCK, BLOCK, FRAME, CUT, b, length, 512, u,
                           512 + u, 4 * f, 512 + u + 4 * f, CUT * b, len(release.salt), b"sha256",
                           release.salt)
        must(len(head) == 388 and blob[:512] == head + bytes(124), "header of the index")
        # top-down: the hashes in a proved level say what the level below must be
        known, at = [release.root], 512
        for n in upper:
            level = blob[at:at + n * BLOCK]
            must(hash_blocks(level, release.salt) == known[:n], "upper levels")
            must(not any(b"".join(known[n:])), "padding")
            known = [level[i:i + DIGEST] for i in range(0, len(level), DIGEST)]
            at += n * BLOCK
        self.groups = known[:ceil(b, FANOUT)]
        must(not any(b"".join(known[len(self.groups):])), "padding")
        self.frames, first, packed_at = [], 0, 0  # (offset, packed bytes, first block, blocks)
        for entry in struct.unpack_from("<%dI" % f, blob, at):
            n, packed = entry >> 22, entry & (1 << 22) - 1
            must(1 <= n <= FRAME // BLOCK and 1 <= packed <= n * BLOCK + OVERHEAD, "a frame")
            self.frames.append((packed_at, packed, first, n))
            packed_at += packed
            first += n
        must(first == b and packed_at + 17 + 12 * f == length, "frames")
        self.cut = [blob[i:i + CUT] for i in range(at + 4 * f, len(blob), CUT)]

    def holder(self, block):
        """The frame that holds that block."""
        return bisect.bisect_right(self.frames, block, key=lambda f: f[2]) - 1

    def put(self, out, i):
        """One frame of the full blob, by a range, in its place."""
        at, packed, first, n = self.frames[i]
        raw = full_frame(self.release.read("usr-full", None, at, packed), n * BLOCK)
        out[first * BLOCK:(first + n) * BLOCK] = raw

    def proves(self, group, data):
        salt = self.release.salt
        hashes = hash_blocks(data, salt)
        if self.release.blocks == 1:
            return hashes[0] == self.release.root
        return hash_blocks(level_of(hashes), salt)[0] == self.groups[group]


class Varints:
    def __init__(self, data):
        self.data, self.at = data, 0

    def get(self):
        value = shift = 0
        while True:
            must(self.at < len(self.data), "recipe ends early")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                must(byte or shift == 7, "a varint that is not the shortest")
                must(value < TOP, "a varint above 64 bits")
                return value
            must(shift < 70, "a long varint")

    def signed(self):
        v = self.get()
        return (v >> 1) ^ -(v & 1)


def bspatch(content, control, prefix):
    v, place, triples = Varints(content[:control]), 0, []
    while v.at < control:
        place = (place + v.signed()) % TOP
        add, extra = v.get(), v.get()
        must(add or extra, "an empty triple")
        must(place + add <= len(prefix), "outside the prefix")
        triples.append((place, add, extra))
        place += add
    must(sum(a + x for _, a, x in triples) == len(content) - control, "what the triples make")
    difference, out = control, bytearray()
    more = control + sum(a for _, a, _ in triples)
    for place, add, extra in triples:
        out += bytes(p + d & 255 for p, d in zip(prefix[place:place + add], content[difference:difference + add]))
        out += content[more:more + extra]
        difference, more = difference + add, more + extra
    return bytes(out)


class Delta:
    """sources: (identity, bytes) of those that may be used, the base first."""

    def __init__(self, blob, unit, target, length, sources):
        must(len(blob) >= 256, "too short")
        (magic, version, units, self.r, count, pieces, frames, what, size, self.new, raw, p, q, *rest) = \
            struct.unpack_from("<8s6I32sQQIIQ32sQ32sQ", blob)
        must((magic, version, units) == (b"proa-dlt", 2, unit), "header of the delta")
        must(self.r in (65536, 131072, 262144, 524288), "frame size")
        must(1 <= count <= len(sources) and 1 <= pieces <= 1 << 20, "counts")
        must(frames == ceil(self.new, self.r) and (what, size) == (target, length), "target")
        must(raw <= 16 << 20 and p <= raw + OVERHEAD and len(blob) == 256 + p + q, "lengths")
        must(not any(blob[176:256]), "end of the header")
        must(self.new % unit == 0 and size % unit == 0, "whole units")
        for i, (name, data) in enumerate(sources):
            must(tuple(rest[2 * i:2 * i + 2]) == ((name, len(data)) if i < count else (bytes(32), 0)), "source")
        if len(sources) == 1:
            must(tuple(rest[2:4]) == (bytes(32), 0), "source 1")
        self.unit, self.length, self.sources = unit, length, [data for _, data in sources[:count]]
        self.frames_at, self.blob = 256 + p, blob
        v = Varints(unpack(blob[256:256 + p], raw))
        self.read_pieces(v, pieces)
        self.read_frames(v, frames)
        must(v.at == raw, "bytes behind the recipe")
        must(self.frames_at == len(blob), "packed bytes of the frames")

    def source(self, which, first, n):
        must(which < len(self.sources), "a source that is not there")
        must((first + n) * self.unit <= len(self.sources[which]), "outside the source")
        return self.sources[which][first * self.unit:(first + n) * self.unit]

    def read_pieces(self, v, pieces):
        self.pieces, at, distance, new = [], 0, [0, 0], 0
        for _ in range(pieces):
            n, kind = divmod(v.get(), 4)
            must(n, "an empty piece")
            first = None
            if kind >= 2:
                distance[kind - 2] += v.signed()
                first = (at + distance[kind - 2]) % TOP
                self.source(kind - 2, first, n)
            new += n if kind == 0 else 0
            self.pieces.append((kind, n, first))
            at += n
            must(at * self.unit <= self.length, "pieces end behind the target")
        must(at * self.unit == self.length and new * self.unit == self.new, "pieces do not fill the target")

    def read_frames(self, v, frames):
        self.frames, behind = [], 0
        for i in range(frames):
            raw, packed, control, extents = min(self.r, self.new - i * self.r), v.get(), v.get(), []
            must(1 <= packed <= raw + OVERHEAD, "packed bytes")
            must(control <= raw // 4, "control bytes")
            count = v.get()
            must(count <= 64, "extents")
            for _ in range(count):
                n, which = divmod(v.get(), 2)
                first = (behind + v.signed()) % TOP
                must(n, "an empty extent")
                self.source(which, first, n)
                behind = first + n
                extents.append((which, first, n))
            must(sum(n for _, _, n in extents) * self.unit <= 2 << 20, "prefix")
            self.frames.append((raw, self.frames_at, packed, extents, control))
            self.frames_at += packed
            must(self.frames_at <= len(self.blob), "frames end behind the blob")

    def frame(self, i):
        """Any one alone."""
        raw, at, packed, extents, control = self.frames[i]
        prefix = b"".join(self.source(*e) for e in extents)
        content = unpack(self.blob[at:at + packed], raw + control, prefix)
        return bspatch(content, control, prefix) if control else content

    def restore(self):
        order = list(range(len(self.frames)))
        random.Random(len(order)).shuffle(order)
        decoded = {i: self.frame(i) for i in order}
        new, at, out = b"".join(decoded[i] for i in range(len(decoded))), 0, []
        for kind, n, first in self.pieces:
            if kind == 0:
                out.append(new[at:at + n * self.unit])
                at += n * self.unit
            elif kind == 1:
                out.append(bytes(n * self.unit))
            else:
                out.append(self.source(kind - 2, first, n))
        return b"".join(out)
