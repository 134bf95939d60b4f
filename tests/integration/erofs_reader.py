# SPDX-License-Identifier: Apache-2.0
"""An uncompressed erofs, read by the kernel's fs/erofs/erofs_fs.h and nothing of Proa's."""
import stat
import struct

BLOCK = 4096
PREFIX = {1: "user.", 4: "trusted.", 6: "security."}


class Erofs:
    """files: path to Inode; places: (first byte, bytes) of every part, for overlaps."""

    def __init__(self, data):
        self.d = data
        magic, _, self.compat, bits = struct.unpack_from("<IIIB", data, 1024)
        if (magic, bits) != (0xE0F5E1E2, 12):
            raise ValueError("no erofs of 4 KiB blocks")
        self.root, self.inodes = struct.unpack_from("<HQ", data, 1038)
        self.blocks, self.meta, self.xattrs = struct.unpack_from("<III", data, 1060)
        self.uuid = data[1072:1088]
        self.files, self.places, self.nids = {}, [(0, 1152)], {}
        self.walk()

    def inode(self, nid):
        if nid not in self.nids:
            self.nids[nid] = Inode(self, nid)
        return self.nids[nid]

    def walk(self):
        todo = [("", self.root, self.root)]
        while todo:
            path, nid, parent = todo.pop()
            self.files[path] = i = self.inode(nid)
            if not stat.S_ISDIR(i.mode):
                continue
            names = i.entries()
            if names.pop(".") != nid or names.pop("..") != parent:
                raise ValueError(f"{path}: . or .. is wrong")
            if list(names) != sorted(names):
                raise ValueError(f"{path}: not sorted")
            todo += [(f"{path}/{n}", child, nid) for n, child in names.items()]


class Inode:
    def __init__(self, fs, nid):
        at = fs.meta * BLOCK + nid * 32
        self.fs, self.nid, self.at = fs, nid, at
        form, count, self.mode = struct.unpack_from("<HHH", fs.d, at)
        self.layout = form >> 1
        if form & 1:
            self.size, self.raw, self.ino, self.uid, self.gid = struct.unpack_from("<QIIII", fs.d, at + 8)
            self.links = struct.unpack_from("<I", fs.d, at + 44)[0]
            head = 64
        else:
            self.links, self.size = struct.unpack_from("<HI", fs.d, at + 6)
            self.raw, self.ino, self.uid, self.gid = struct.unpack_from("<IIHH", fs.d, at + 16)
            head = 32
        self.xattr = self.read_xattrs(at + head, count)
        tail_at = at + head + (12 + 4 * (count - 1) if count else 0)
        self.data = b""
        tail = 0
        if stat.S_IFMT(self.mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            if self.layout not in (0, 2):
                raise ValueError("layout %d" % self.layout)
            whole = self.size // BLOCK * BLOCK if self.layout == 2 else self.size
            self.data = fs.d[self.raw * BLOCK:self.raw * BLOCK + whole] if whole else b""
            if whole:
                fs.places.append((self.raw * BLOCK, -(-whole // BLOCK) * BLOCK))
            tail = self.size - whole
            if tail and tail_at // BLOCK != (tail_at + tail - 1) // BLOCK:
                raise ValueError("inline data crosses a block")
            self.data += fs.d[tail_at:tail_at + tail]
        if len(self.data) != (self.size if self.data or self.size else 0):
            raise ValueError("cut off")
        fs.places.append((at, tail_at + tail - at))

    def read_xattrs(self, at, count):
        found, d = {}, self.fs.d
        if not count:
            return found
        end = at + 12 + 4 * (count - 1)
        shared = d[at + 4]
        todo = [self.fs.xattrs * BLOCK + 4 * n for n in struct.unpack_from(f"<{shared}I", d, at + 12)]
        at += 12 + 4 * shared
        while at < end:
            todo.append(at)
            at += (4 + d[at] + struct.unpack_from("<H", d, at + 2)[0] + 3) & ~3
        for at in todo:
            n, kind, size = struct.unpack_from("<BBH", d, at)
            found[PREFIX[kind] + d[at + 4:at + 4 + n].decode()] = d[at + 4 + n:at + 4 + n + size]
        return found

    def entries(self):
        names = {}
        for at in range(0, self.size, BLOCK):
            block = self.data[at:at + BLOCK]
            count = struct.unpack_from("<H", block, 8)[0] // 12
            all_ = [struct.unpack_from("<QHBB", block, 12 * i) for i in range(count)]
            for i, (nid, off, kind, _) in enumerate(all_):
                end = all_[i + 1][1] if i + 1 < count else len(block)
                name = block[off:end].rstrip(b"\0").decode("utf-8", "surrogateescape")
                mode = self.fs.inode(nid).mode
                kinds = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFCHR: 3, stat.S_IFBLK: 4, stat.S_IFIFO: 5,
                         stat.S_IFSOCK: 6, stat.S_IFLNK: 7}
                if kind != kinds[stat.S_IFMT(mode)]:
                    raise ValueError(f"{name}: file type {kind}")
                names[name] = nid
        return names
