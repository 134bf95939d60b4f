# SPDX-License-Identifier: Apache-2.0
"""Proa's rows: a repository of two releases, and a host (image file) that runs the first."""
import hashlib
import json
import shutil
import time

import content
from lab import MIB, Server, fail, must, sample, say, shell, stamp_of

IMAGE = "bench"
USR = "8484680c-9521-48c6-9c11-b0720656f69e"
USR_VERITY = "77ff5f63-e7b6-4633-acf4-1565b864c0e6"
CONF = """
[Host]
Image={image}
Disk={host}/disk.img
ESP={host}/esp
State={host}/state
[Source]
URL={url}/
Root={repo}/metadata/1.root.json
[Update]
Channel=stable
"""
BASE, NEW = "1.0.0", "1.1.0"


class Proa:
    """work: cached between runs; old, new: erofs images; kernel, initrd: of the UKI, per release."""

    def __init__(self, programs, work, old, new, kernels, level):
        self.bin, self.w, self.old, self.new, self.level = programs, work, old, new, level
        self.kernels = kernels
        self.repo, self.keys, self.host = work / "repo", work / "keys", work / "host"

    # -- made once

    def prepare(self):
        stamp = hashlib.sha256(b"".join(hashlib.sha256(p.read_bytes()).digest() for p in
                                        (self.bin / "proa-publish", self.bin / "proad"))).hexdigest()
        stamp += f" {stamp_of(self.old, self.new)}"
        made = self.w / "made"
        if made.exists() and made.read_text() == stamp:
            must(self.bin / "proa-publish", "refresh", self.repo, "--keys", self.keys)
            return
        shutil.rmtree(self.w, ignore_errors=True)
        self.w.mkdir(parents=True)
        content.write(str(self.w / "initrd"), b"no initrd, this never boots\n" * 4096)
        content.write(str(self.w / "os-release"),
                      b'NAME="Bench"\nID=bench\nPRETTY_NAME="Bench"\n')
        must(self.bin / "proa-publish", "init", self.repo, "--image", IMAGE, "--keys", self.keys,
             "--channel", "stable")
        # nobody fetches the first release by the byte: a quick level will do
        self.release(BASE, self.old, self.kernels[0], min(self.level, 3))
        self.fresh_disk()
        with_server = Server(self.w / "server", self.repo)
        try:
            self.configure(self.host, with_server.url)
            must(self.bin / "proactl", "--direct", "--config", self.host / "proa.conf", "update")
        finally:
            with_server.stop()
        must(self.bin / "proa-bootctl", "--esp", self.host / "esp", "bless", f"{IMAGE}_{BASE}")
        self.copy_slot()
        shell(f"rm -rf {self.w}/base && mv {self.host} {self.w}/base")
        self.release(NEW, self.new, self.kernels[1], self.level)
        made.write_text(stamp)

    def release(self, version, image, kernel, level):
        say(f"publishing {image.name} as {version} (zstd level {level})")
        start = time.monotonic()
        text = must(self.bin / "proa-publish", "release", self.repo, "--keys", self.keys,
                    "--channel", "stable", "--version", version, "--level", level, "--usr", image,
                    "--kernel", kernel, "--initrd", self.w / "initrd", "--os-release",
                    self.w / "os-release")
        (self.w / f"release-{version}.log").write_text(
            f"{text}\n{time.monotonic() - start:.1f} s\n")

    def fresh_disk(self):
        size = -(-max(f.stat().st_size for f in (self.old, self.new)) // MIB) + 1
        tree = size // 100 + 2
        shutil.rmtree(self.host, ignore_errors=True)
        (self.host / "esp/EFI/Linux").mkdir(parents=True)
        (self.host / "state").mkdir()
        must("truncate", "-s", f"{2 * (size + tree) + 4}M", self.host / "disk.img")
        must("sfdisk", "-q", self.host / "disk.img", input="label: gpt\n" + 2 * (
            f"size={size}M, type={USR}, name=_empty\n"
            f"size={tree}M, type={USR_VERITY}, name=_empty\n"))

    def slots(self, disk):
        """(byte offset, bytes) of data A, tree A, data B, tree B"""
        table = json.loads(must("sfdisk", "-J", disk))["partitiontable"]
        return [(p["start"] * 512, p["size"] * 512) for p in table["partitions"]]

    def copy_slot(self):
        """The inactive slot holds the base too, as after an update that was undone."""
        disk = self.host / "disk.img"
        a, b = self.slots(disk)[:2], self.slots(disk)[2:]
        for (start, size), (to, _) in zip(a, b):
            shell(f"dd if={disk} of={disk} bs=1M iflag=skip_bytes,count_bytes oflag=seek_bytes "
                  f"skip={start} count={size} seek={to} conv=notrunc status=none")

    def configure(self, host, url):
        (host / "proa.conf").write_text(CONF.format(image=IMAGE, host=host, repo=self.repo,
                                                    url=url))

    # -- what was published

    def manifest(self, version):
        found = list((self.repo / "targets").glob(f"*/*.{IMAGE}_{version}.json"))
        if len(found) != 1:
            fail(f"{self.repo} holds {len(found)} manifests of {version}, not one")
        return json.loads(found[0].read_text())

    def blobs(self, *roles):
        return [f"blobs/sha256/{b['sha256']}" for b in self.manifest(NEW)["blobs"]
                if b["role"] in roles]

    def image_bytes(self):
        return self.manifest(NEW)["usr"]["data_blocks"] * 4096

    # -- one sample

    def begin(self, empty=False):
        if empty:
            self.fresh_disk()
        else:
            shell(f"rm -rf {self.host} && cp -a --sparse=never {self.w}/base {self.host}")
        shell(f"sync -f {self.w}")

    def check(self, slot):
        """The numbers are worth nothing unless the slot holds what was published."""
        start = self.slots(self.host / "disk.img")[2 * slot][0]
        shell(f"cmp -n {self.new.stat().st_size} {self.new} {self.host}/disk.img 0 {start}")

    def command(self):
        return f"proactl --direct --config {self.host}/proa.conf --json update"

    def run(self, server, cut=None):
        self.configure(self.host, server.url)
        s = sample(self.command(), server, self.w, self.bin, cut)
        s["usr"] = sum(n for path, n in s["paths"].items()
                       if path in self.blobs("usr-full", "usr-delta", "usr-index"))
        if cut is None:
            s["answer"] = json.loads(s["stdout"])["stage"]
        return s

    def delta(self):
        if not self.blobs("usr-delta"):
            fail(f"{self.repo}: {NEW} has no delta from {BASE}")
        return self.from_base(())

    def anybase(self):
        """As from a release that nobody made a delta for: those from bases are not on the server."""
        usr = self.manifest(NEW)["usr"]["root_hash"]
        return self.from_base([f"blobs/sha256/{b['sha256']}" for b in self.manifest(NEW)["blobs"]
                               if b.get("base", usr) != usr])

    def from_base(self, missing):
        self.begin()
        server = Server(self.w / "server", self.repo, missing)
        try:
            s = self.run(server)
        finally:
            server.stop()
        self.check(1)
        return s

    def full(self):
        """Onto a disk with nothing on it."""
        self.begin(empty=True)
        server = Server(self.w / "server", self.repo)
        try:
            s = self.run(server)
        finally:
            server.stop()
        self.check(0)
        return s

    def resume(self, uncut):
        """Everything is killed when half of what an uncut update fetches has arrived; then again."""
        self.begin()
        server = Server(self.w / "server", self.repo)

        begin = server.sent()

        def half():
            return server.sent() - begin >= uncut["fetched"] // 2

        try:
            first = self.run(server, half)
            if first["rc"] == 0:
                fail("the update that should be cut ended before")
            second = self.run(server)
        finally:
            server.stop()
        self.check(1)
        for key in ("fetched", "usr", "requests", "cpu_s", "wall_s", "written"):
            second[key] += first[key]
        second["cut_at"] = first["fetched"]
        second["rss_kib"] = max(first["rss_kib"], second["rss_kib"])
        return second
