# SPDX-License-Identifier: Apache-2.0
"""The other updaters: each publishes the new image its own way and gives the command that a host
which holds the old one would run. All write the same target and are compared with the same image."""
import pathlib

from lab import fail, must, shell, stamp_of

SWU = """software = {{ version = "1.0"; hardware-compatibility: [ "1.0" ];
 images: ( {{ filename = "{file}"; device = "{target}"; sha256 = "{sha}"; {rest} }} ); }}
"""
RAUC_SYSTEM = """[system]
compatible=bench
bootloader=custom
mountprefix={w}/mnt
statusfile={w}/rauc.status
[keyring]
path={w}/cert.pem
check-purpose=codesign
[handlers]
bootloader-custom-backend={w}/backend
[slot.usr.0]
device={other}
type=raw
bootname=A
[slot.usr.1]
device={loop}
type=raw
bootname=B
"""
RAUC_MANIFEST = """[update]
compatible=bench
version=1
[bundle]
format=plain
[image.usr]
filename=new.img
"""
# rauc asks its own service, over a bus; all of it is the cost of the update
RAUC_RUN = """#!/bin/bash
# install URL: fetch a bundle and install it, with a bus and a service of our own
set -eu
cd {w}
curl -sf -o fetched.raucb "$1"
exec 3< <(exec dbus-daemon --session --nofork --print-address=1)
bus=$!
read -r DBUS_SYSTEM_BUS_ADDRESS <&3
export DBUS_SYSTEM_BUS_ADDRESS
rauc --conf=system.conf --override-boot-slot=A service &
service=$!
trap 'kill $service $bus' EXIT
for _ in $(seq 100); do
	busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" status de.pengutronix.rauc >/dev/null 2>&1 && break
	sleep 0.05
done
rauc --conf=system.conf install "$PWD/fetched.raucb"
sync
"""


class Peer:
    """w: work folder below the server's root; old, new: images; target: what is written."""
    name = ""
    loop = False  # the target must be a block device

    def __init__(self, work, web, old, new):
        self.w, self.web, self.old, self.new = work / self.name, web, old, new
        self.target = self.w / "target.img"
        self.made = self.w / "made"

    def prepare(self):
        stamp = stamp_of(self.old, self.new)
        if self.made.exists() and self.made.read_text() == stamp:
            return
        shell(f"rm -rf {self.w}; mkdir -p {self.w}")
        self.publish()
        self.made.write_text(stamp)

    def publish(self):
        """Makes what the server serves."""

    def url(self, base, path):
        return f"{base}/{pathlib.Path(path).relative_to(self.web)}"

    def begin(self):
        """The inactive slot holds the release that runs, as after an update that was undone."""
        shell(f"cp --sparse=never {self.old} {self.target} && "
              f"truncate -s $(stat -Lc %s {self.new}) {self.target} && sync {self.target}")

    def end(self):
        must("cmp", self.new, self.target)
        self.target.unlink()

    def command(self, base):
        raise NotImplementedError


class Naive(Peer):
    name = "naive"

    def publish(self):
        shell(f"zstd -q -19 -T0 -f {self.new} -o {self.w}/new.zst")

    def command(self, base):
        return (f"curl -sf {self.url(base, self.w / 'new.zst')} | zstd -dcq | "
                f"dd of={self.target} bs=1M conv=notrunc,fsync status=none")


class Casync(Peer):
    name = "casync"

    def publish(self):
        must("casync", "make", f"--store={self.w}/store.castr", self.w / "new.caibx", self.new)

    def command(self, base):
        return (f"casync extract --seed={self.old} --seed-output=no "
                f"--store={self.url(base, self.w / 'store.castr')} "
                f"{self.url(base, self.w / 'new.caibx')} {self.target} && sync {self.target}")


class Zchunk(Peer):
    """The host keeps the old .zck: zchunk compares compressed chunks."""
    name = "zchunk"

    def publish(self):
        must("zck", self.old, "-o", self.w / "old.zck")
        must("zck", self.new, "-o", self.w / "new.zck")

    def begin(self):
        super().begin()
        shell(f"rm -rf {self.w}/got && mkdir {self.w}/got")

    def command(self, base):
        return (f"cd {self.w}/got && zckdl -q -s ../old.zck {self.url(base, self.w / 'new.zck')} && "
                f"unzck -c new.zck | dd of={self.target} bs=1M conv=notrunc,fsync status=none")


class Swupdate(Peer):
    def sign(self, file, rest):
        w = self.w
        shell(f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {w}/key.pem -out {w}/cert.pem "
              "-days 3650 -subj /CN=bench -addext keyUsage=digitalSignature "
              "-addext extendedKeyUsage=codeSigning,emailProtection")
        sha = shell(f"sha256sum {w}/{file}").split()[0]
        (w / "sw-description").write_text(SWU.format(file=file, target=self.target, sha=sha,
                                                     rest=rest))
        shell(f"cd {w} && openssl cms -sign -in sw-description -out sw-description.sig -signer "
              "cert.pem -inkey key.pem -outform DER -nosmimecap -binary && "
              f"printf '%s\\n' sw-description sw-description.sig {file} | "
              "cpio -o -H crc --quiet >update.swu")

    def command(self, base):
        return (f"swupdate -k {self.w}/cert.pem -H board:1.0 "
                f"-d '-u {self.url(base, self.w / 'update.swu')}' && sync {self.target}")


class SwupdateRaw(Swupdate):
    name = "swupdate-raw"

    def publish(self):
        shell(f"cp {self.w.parent}/naive/new.zst {self.w}/new.zst")
        self.sign("new.zst", 'type = "raw"; compressed = "zstd"; installed-directly = true;')


class SwupdateDelta(Swupdate):
    """zchunk against the running image; the .zck is asked for beside the bundle."""
    name = "swupdate-delta"

    def publish(self):
        must("zck", "-u", "-h", "sha256", self.new, "-o", self.w / "new.zck")
        header = [line for line in must("zck_read_header", "-v", self.w / "new.zck").splitlines()
                  if line.startswith("Header size:")]
        if not header:
            fail("zck_read_header did not print a header size")
        shell(f"head -c {header[0].split()[2]} {self.w}/new.zck >{self.w}/new.header")

    def command(self, base):
        # the address of the .zck is in the signed description: made anew for this server
        self.sign("new.header", f'type = "delta"; properties: {{ url = '
                  f'"{self.url(base, self.w / "new.zck")}"; chain = "raw"; '
                  f'source = "{self.old}"; zckloglevel = "error"; }};')
        return super().command(base)


class Rauc(Peer):
    name = "rauc"

    def publish(self):
        w = self.w
        shell(f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {w}/key.pem -out {w}/cert.pem "
              "-days 3650 -subj /CN=bench -addext keyUsage=digitalSignature "
              "-addext extendedKeyUsage=codeSigning")
        shell(f"mkdir -p {w}/content {w}/mnt && cp {self.new} {w}/content/new.img")
        (w / "content/manifest.raucm").write_text(RAUC_MANIFEST)
        must("rauc", "bundle", f"--cert={w}/cert.pem", f"--key={w}/key.pem",
             "--mksquashfs-args=-comp zstd -Xcompression-level 19", w / "content", w / "new.raucb")
        shell(f"rm -r {w}/content; truncate -s 4096 {w}/other.img")
        (w / "backend").write_text("#!/bin/sh\n[ $1 != get-primary ] || echo A\n"
                                   "[ $1 != get-state ] || echo good\n")
        (w / "install").write_text(RAUC_RUN.format(w=w))
        shell(f"chmod +x {w}/backend {w}/install")

    def begin(self):
        super().begin()
        self.loops = [must("losetup", "-f", "--show", f).split()[-1]
                      for f in (self.target, self.w / "other.img")]
        (self.w / "system.conf").write_text(RAUC_SYSTEM.format(
            w=self.w, loop=self.loops[0], other=self.loops[1]))

    def end(self):
        for loop in self.loops:
            must("losetup", "-d", loop)
        (self.w / "fetched.raucb").unlink()
        super().end()

    def command(self, base):
        return f"{self.w}/install {self.url(base, self.w / 'new.raucb')}"


class Xdelta(Peer):
    name = "xdelta3"

    def publish(self):
        must("xdelta3", "-e", "-6", "-B", 1 << 30, "-s", self.old, self.new, self.w / "new.vcdiff")

    def command(self, base):
        return (f"curl -sf {self.url(base, self.w / 'new.vcdiff')} | "
                f"xdelta3 -d -c -B {1 << 30} -s {self.old} | "
                f"dd of={self.target} bs=1M conv=notrunc,fsync status=none")


class ZstdPatch(Peer):
    name = "zstd-patch"

    def publish(self):
        shell(f"zstd -q -19 -T0 --long=31 --patch-from={self.old} -f {self.new} -o {self.w}/new.zst")

    def command(self, base):
        return (f"curl -sf {self.url(base, self.w / 'new.zst')} | "
                f"zstd -dcq --long=31 --patch-from={self.old} | "
                f"dd of={self.target} bs=1M conv=notrunc,fsync status=none")


ALL = (Naive, Casync, Zchunk, SwupdateRaw, SwupdateDelta, Rauc, Xdelta, ZstdPatch)
