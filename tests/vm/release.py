# SPDX-License-Identifier: Apache-2.0
"""The product under test: releases published by proa-publish, and disks with 1.0.0 installed.

    folder/repo      channels: stable 1.0.0 and 1.1.0; sick 1.2.0 (its health check fails);
                     dead 1.2.1 (its kernel panics); old 0.9.0
    folder/crossed   the same, but 1.1.0 comes with the UKI of 1.0.0, signed all the same
    folder/stranger  a repository of the same image under other keys: stable 1.3.0
    folder/plain.img, folder/secure.img   disks that run 1.0.0
"""
import json
import os
import pathlib
import random
import shutil

import crooked
import image
from harness import SNAKEOIL_CERT, SNAKEOIL_KEY

BUILD = pathlib.Path(os.environ.get("PROA_BUILD", image.PROJECT / "build"))
BIN = BUILD / "bin"
CHANNELS = ["stable", "sick", "dead", "old"]
REVISION = 4  # count up when what this file makes changes

# gpt: Linux then takes the backup table when the primary one is torn. The last line only saves time:
# what guards against a processor's flaws costs an emulated one a quarter of each boot.
CMDLINE = " ".join("""mount.usr=/dev/mapper/usr mount.usrfstype=erofs mount.usrflags=ro
root=/dev/disk/by-partlabel/root rootfstype=ext4 rw console=ttyS0 panic=-1 quiet
systemd.verity_usr_options=panic-on-corruption gpt
mitigations=off nokaslr norandmaps audit=0""".split())

OS_RELEASE = """NAME="Proa test"
ID=proa
PRETTY_NAME="Proa test {v}"
IMAGE_ID=proa
IMAGE_VERSION={v}
VERSION_ID={v}
"""

# The product's own checks: what a container host must have, and what a bad release gets wrong.
CONTAINERD = """#!/bin/sh
# A container host without its container runtime is not healthy.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
	systemctl is-active --quiet containerd.service && exit 0
	sleep 1
done
echo "containerd.service is $(systemctl is-active containerd.service)"
exit 1
"""
SICK = """#!/bin/sh
echo "the frobnicator has lost its marbles"
exit 1
"""
HEALTH = "usr/lib/proa/health/required.d"
SBOM = "share/sbom/proa_{v}.spdx.json"  # below usr
# What 1.1.0 has and nothing before it: this much comes over the network however clever the update.
NEWS = 16 * image.MIB


def build():
    """Build the programs unless that was done (a build with nothing to do takes no time)."""
    curl = image.PROJECT / "build/small-curl"
    cache = BUILD / "CMakeCache.txt"
    image.sh(image.PROJECT / "ignition-lite/small-curl", curl)
    if not cache.exists() or str(curl) not in cache.read_text():
        image.sh("cmake", "-G", "Ninja", "-S", image.PROJECT, "-B", BUILD, "-DIGNITION_CURL=%s" % curl,
                 "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_INSTALL_PREFIX=/usr")
    image.sh("ninja", "-C", BUILD)


def install(dest):
    """What `cmake --install` puts on a host, below dest/usr."""
    image.sh("cmake", "--install", BUILD, "--prefix", "/usr", "--strip",
             env=dict(os.environ, DESTDIR=str(dest)))


def publish(*args):
    return image.sh(BIN / "proa-publish", *args)


class Publisher:
    """One repository and its keys, and what a release of this product is made from."""

    def __init__(self, folder, name, base, product):
        self.repo, self.keys = folder / name, folder / (name + "-keys")
        self.work, self.base, self.product = folder / "work", base, product
        channels = [w for c in CHANNELS for w in ("--channel", c)]
        publish("init", self.repo, "--image", "proa", "--keys", self.keys, *channels)

    @property
    def root(self):
        return self.repo / "metadata/1.root.json"

    def tree(self, version, checks, news=0):
        """A whole /usr of this version; news: bytes in it that no other release has."""
        usr = self.work / "usr"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        image.sh("cp", "-a", "--reflink=auto", self.base / "usr", usr)
        image.sh("cp", "-a", "--reflink=auto", str(self.product / "usr") + "/.", usr)
        for name, text in checks.items():
            image.write(self.work / HEALTH / name, text, 0o755)
        if news:
            (usr / "share/proa-test").mkdir()
            (usr / "share/proa-test/news").write_bytes(random.Random(version).randbytes(news))
        image.write(usr / "share/proa/root.json", self.root.read_text())
        image.write(usr / "lib/os-release", OS_RELEASE.format(v=version))
        image.write(usr / SBOM.format(v=version), sbom(self.base, version))
        return usr

    def stub_tree(self, version):
        """A /usr nobody boots: enough for a release that must be refused."""
        shutil.rmtree(self.work, ignore_errors=True)
        image.write(self.work / "usr/lib/os-release", OS_RELEASE.format(v=version))
        return self.work / "usr"

    def release(self, version, usr, channel="stable", cmdline=CMDLINE, signed=False):
        more = []
        if (usr / SBOM.format(v=version)).exists():
            more = ["--sbom", usr / SBOM.format(v=version)]
        if signed:
            more += ["--sign-key", snakeoil_key(self.work), "--sign-cert", SNAKEOIL_CERT]
        publish("release", self.repo, "--keys", self.keys, "--channel", channel,
                "--version", version, "--usr", usr, "--kernel", self.base / "vmlinuz",
                "--initrd", image.make_initrd(self.product), "--stub", self.base / "stub.efi",
                "--cmdline", cmdline, "--level", "5", *more)
        shutil.rmtree(self.work, ignore_errors=True)


def largest_usr(repo):
    """Bytes of the largest /usr image in a repository, from its manifests."""
    return max(json.loads(m.read_text())["usr"]["data_blocks"] * 4096
               for m in repo.glob("targets/*/*.json"))


def install_from_outside(new, repo, root, usr_bytes, base):
    """Install the newest stable release into an empty disk image, as an installer would."""
    disk, esp, state = new / "plain.img", new / "esp", new / "state"
    image.make_disk(disk, usr_bytes * 115 // 100 + 8 * image.MIB)
    (esp / "EFI/Linux").mkdir(parents=True)
    state.mkdir()
    conf = new / "install.conf"
    conf.write_text("[Host]\nImage=proa\nDisk=%s\nESP=%s\nState=%s\n"
                    "[Source]\nURL=file://%s/\nRoot=%s\n[Update]\nChannel=stable\n" % (
                        disk, esp, state, repo, root))
    image.sh(BIN / "proactl", "--direct", "--config", conf, "update")
    image.make_root(base / "etc", new / "root.ext4", state=state, extra={
        # Scenarios decide when an update starts.
        "etc/systemd/system/proa-update.timer": None,
    })
    image.put_part(disk, 6, new / "root.ext4")
    image.esp_add_loader(disk, base / "systemd-boot.efi")
    image.esp_add_tree(disk, esp)
    for name in ("root.ext4", "install.conf"):
        (new / name).unlink()
    return disk


def sbom(base, version):
    """SPDX 2.3: the packages of the tree that /usr is made of."""
    packages = [dict(zip(("name", "version", "arch"), line.split()))
                for line in (base / "packages").read_text().splitlines()]
    return json.dumps({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
        "name": "proa_" + version, "documentNamespace": "https://example.org/proa/" + version,
        "creationInfo": {"created": "2026-01-01T00:00:00Z", "creators": ["Tool: tests/vm"]},
        "packages": [{"SPDXID": "SPDXRef-%d" % i, "name": p["name"], "versionInfo": p["version"],
                      "downloadLocation": "NOASSERTION", "filesAnalyzed": False}
                     for i, p in enumerate(packages)]}, indent=0)


def snakeoil_key(folder):
    key = folder / "snakeoil.key"
    image.sh("openssl", "rsa", "-in", SNAKEOIL_KEY, "-passin", "pass:snakeoil", "-out", key)
    return key


def sign(src, dest):
    """Sign a PE file with OVMF's snakeoil key, which its snakeoil variables trust."""
    key = snakeoil_key(dest.parent)
    image.sh("sbsign", "--key", key, "--cert", SNAKEOIL_CERT, "--output", dest, src)
    key.unlink()


def secure_disk(new, disk, base):
    """The same host with everything firmware loads signed; its UKI was published so."""
    dest, work = new / "secure.img", new / "sign"
    work.mkdir()
    image.copy_image(disk, dest)
    sign(base / "systemd-boot.efi", work / "boot.efi")
    image.esp_add_loader(dest, work / "boot.efi")
    shutil.rmtree(work)


def make():
    """Everything the scenarios start from; made once for each state of the programs."""
    build()
    base = image.make_base()
    product = image.VM / "product"
    shutil.rmtree(product, ignore_errors=True)
    install(product)
    key = image.key_of(base.name, image.make_initrd(product).parent.name, product, REVISION,
                       CMDLINE, NEWS, CONTAINERD, SICK)
    with image.cached("release", key) as (final, new):
        if new:
            fill(new, final, base, product)
    with image.cached("release", key):  # only for its lock: one refresh at a time
        for name in ("repo", "stranger"):
            publish("refresh", final / name, "--keys", final / (name + "-keys"))
        crooked.cross(final / "repo", final / "repo-keys", final / "crossed", "1.1.0", "1.0.0")
    return final


def fill(new, final, base, product):
    good = {"20-containerd.sh": CONTAINERD}
    p = Publisher(new, "repo", base, product)
    p.release("1.0.0", p.tree("1.0.0", good), signed=True)
    disk = install_from_outside(new, p.repo, p.root, largest_usr(p.repo), base)
    secure_disk(new, disk, base)
    p.release("1.1.0", p.tree("1.1.0", good, NEWS), signed=True)
    p.release("1.2.0", p.tree("1.2.0", dict(good, **{"30-frobnicator.sh": SICK})), "sick")
    # No init in the initrd: the kernel panics as soon as it runs.
    p.release("1.2.1", p.stub_tree("1.2.1"), "dead", CMDLINE + " rdinit=/nowhere")
    p.release("0.9.0", p.stub_tree("0.9.0"), "old")
    s = Publisher(new, "stranger", base, product)
    s.release("1.3.0", s.stub_tree("1.3.0"))
