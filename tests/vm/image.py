# SPDX-License-Identifier: Apache-2.0
"""Guest images for the VM scenarios: a Debian 12 tree, its kernel, an initrd, a root, a disk.

Everything lands in build/vm/cache/<what>-<hash of its inputs>, so a second run does nothing.
"""
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import provision

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
VM = pathlib.Path(os.environ.get("PROA_VM", PROJECT / "build" / "vm"))
CACHE = VM / "cache"
MIB = 1 << 20

PACKAGES = """systemd systemd-sysv systemd-boot udev dbus kmod iproute2 dmsetup cryptsetup-bin curl
efibootmgr mokutil dosfstools e2fsprogs procps containerd runc linux-image-cloud-amd64
libsystemd0 libblkid1 libfdisk1 libssl3 libcurl4 libzstd1 libcryptsetup12 libjansson4
libeconf0 libseccomp2 libpam-systemd libtss2-esys-3.0.2-0 libtss2-mu0 libtss2-tctildr0
libtss2-tcti-device0""".split()

# Modules the guest's /usr keeps; the cloud kernel has some 90 MB of them and needs few.
MODULES = """dm-mod dm-verity erofs ext4 virtio_blk virtio_pci virtio_net vfat nls_cp437 nls_ascii
nls_iso8859-1 autofs4 efivarfs overlay loop qemu_fw_cfg virtio_console i6300esb tpm_crb tpm_tis
veth bridge br_netfilter nf_conntrack nf_nat nft_compat nft_chain_nat xt_conntrack
xt_MASQUERADE xt_comment xt_addrtype iptable_nat iptable_filter""".split()
INITRD_MODULES = "dm-mod dm-verity erofs ext4 virtio_pci virtio_blk efivarfs".split()

# What a container host's /usr does not need, or the scenarios: no container is started, and each
# megabyte is written and proved under emulation. Globs below usr/.
TRIM = """share/doc share/man share/locale share/info share/i18n share/lintian share/bug
share/doc-base share/common-licenses share/perl share/perl5 share/zsh share/bash-completion
share/menu share/debconf share/keyrings share/dpkg share/initramfs-tools share/pixmaps share/gcc
share/gdb share/zoneinfo/right share/zoneinfo/posix share/util-linux share/polkit-1/actions/*
games include src local lib/apt lib/dpkg lib/klibc* lib/klibc-* lib/initramfs-tools
lib/mime lib/init lib/kernel lib/tmpfiles.d/x11.conf lib/udev/hwdb.d lib/udev/hwdb.bin
lib/x86_64-linux-gnu/gconv lib/x86_64-linux-gnu/perl lib/x86_64-linux-gnu/perl-base
lib/x86_64-linux-gnu/libapt* lib/x86_64-linux-gnu/libperl* lib/x86_64-linux-gnu/e2fsprogs
lib/x86_64-linux-gnu/e2initrd_helper lib/systemd/boot lib/systemd/catalog lib/linux-image-*
bin/containerd-shim-runc-v2 sbin/runc
bin/perl* bin/apt* bin/dpkg* bin/deb* bin/localedef bin/gpgv bin/containerd-shim bin/ctr
bin/containerd-shim-runc-v1 bin/mokutil bin/openssl bin/cpan bin/pod* bin/corelist bin/prove
bin/piconv bin/h2* bin/xsubpp bin/rdma
sbin/debugfs sbin/ldconfig sbin/dpkg* sbin/tc sbin/devlink sbin/mkinitramfs sbin/update-*
sbin/fsck.* sbin/mke2fs sbin/mkfs.* sbin/e2fsck sbin/resize2fs sbin/tune2fs sbin/tipc""".split()

# Units that cost boot time under emulation and that no scenario looks at.
NO_UNITS = """getty.target getty-static.service systemd-logind.service systemd-user-sessions.service
systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-random-seed.service
systemd-tmpfiles-clean.timer systemd-ask-password-console.path systemd-ask-password-wall.path
kmod-static-nodes.service systemd-initctl.socket systemd-pstore.service systemd-pcrphase.service
systemd-pcrphase-sysinit.service systemd-pcrphase-initrd.service systemd-journal-flush.service
systemd-journal-catalog-update.service integritysetup.target cryptsetup.target
remote-cryptsetup.target remote-veritysetup.target systemd-update-done.service
sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount
systemd-firstboot.service ldconfig.service
systemd-hwdb-update.service proc-sys-fs-binfmt_misc.automount systemd-binfmt.service
systemd-boot-system-token.service systemd-boot-random-seed.service systemd-remount-fs.service
systemd-journald-audit.socket apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
e2scrub_all.timer e2scrub_reap.service fstrim.timer veritysetup.target
sys-fs-fuse-connections.mount sys-kernel-config.mount systemd-repart.service
systemd-boot-update.service""".split()
NO_GENERATORS = """systemd-rc-local-generator systemd-sysv-generator systemd-cryptsetup-generator
systemd-integritysetup-generator systemd-hibernate-resume-generator systemd-debug-generator
systemd-run-generator systemd-system-update-generator systemd-getty-generator
systemd-gpt-auto-generator""".split()
RULES = """50-udev-default.rules 55-dm.rules 60-block.rules 60-persistent-storage.rules
60-persistent-storage-dm.rules 75-net-description.rules 80-drivers.rules
80-net-setup-link.rules 95-dm-notify.rules 99-systemd.rules""".split()

INITRD_PROGRAMS = """/usr/lib/systemd/systemd /usr/lib/systemd/systemd-udevd
/usr/lib/systemd/systemd-veritysetup /usr/lib/systemd/systemd-modules-load
/usr/lib/systemd/systemd-shutdown /usr/lib/systemd/systemd-journald /usr/bin/udevadm
/usr/bin/systemctl /usr/bin/mount /usr/bin/umount /usr/bin/kmod /usr/bin/sh /usr/sbin/switch_root
/usr/sbin/dmsetup /usr/lib/systemd/system-generators/systemd-veritysetup-generator
/usr/lib/systemd/system-generators/systemd-fstab-generator""".split()
INITRD_UNITS = """initrd.target initrd-root-device.target initrd-root-fs.target
initrd-usr-fs.target initrd-fs.target initrd-switch-root.target initrd-switch-root.service
initrd-cleanup.service initrd-udevadm-cleanup-db.service systemd-udevd.service
systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
systemd-modules-load.service systemd-journald.service systemd-journald.socket
systemd-journald-dev-log.socket syslog.socket sysinit.target basic.target local-fs.target
local-fs-pre.target swap.target paths.target sockets.target timers.target slices.target
veritysetup.target veritysetup-pre.target cryptsetup.target
remote-fs.target emergency.target shutdown.target umount.target final.target reboot.target
poweroff.target systemd-reboot.service systemd-poweroff.service time-sync.target""".split()

TYPE_ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
TYPE_USR = "8484680c-9521-48c6-9c11-b0720656f69e"
TYPE_USR_VERITY = "77ff5f63-e7b6-4633-acf4-1565b864c0e6"
TYPE_ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
MACHINE_ID = "0123456789abcdef0123456789abcdef"


def sh(*args, **kw):
    """Run a program; its output only matters when it fails."""
    kw.setdefault("stdin", subprocess.DEVNULL)
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       **kw)
    if p.returncode:
        text = (p.stdout + p.stderr).decode(errors="replace").strip().splitlines()[-20:]
        raise RuntimeError("%s: exit %d\n%s" % (" ".join(str(a) for a in args[:6]), p.returncode,
                                                "\n".join(text)))
    return p.stdout.decode(errors="replace")


def key_of(*parts):
    """A short hash over strings and over the contents of files and folders."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, pathlib.Path):
            for f in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if f.is_file() and "__pycache__" not in f.parts:
                    h.update(f.name.encode() + b"\0" + f.read_bytes() + b"\0")
        else:
            h.update(str(part).encode() + b"\0")
    return h.hexdigest()[:12]


@contextlib.contextmanager
def cached(what, key, quiet=False):
    """Yields (folder, None) when it is there already, else (final, folder to fill).

    The folder appears under its final name only when whole; two runs at once wait for each other.
    """
    final = CACHE / ("%s-%s" % (what, key))
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / (".%s.lock" % what), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.exists():
            os.utime(final)
            yield final, None
            return
        work = CACHE / (".%s-%s.new" % (what, key))
        for left in CACHE.glob(".%s-*.new" % what):  # by a run that was ended; the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        work.mkdir()
        begun = time.monotonic()
        yield final, work
        work.rename(final)
        if not quiet:
            print("vm: made %s in %d s" % (final.name, time.monotonic() - begun), flush=True)
        forget(what, keep=3)


def forget(what, keep):
    """Drop all but the newest few of one kind: images are large."""
    old = [d for d in CACHE.glob(what + "-*") if re.fullmatch(re.escape(what) + "-[0-9a-f]{12}",
                                                              d.name)]
    for d in sorted(old, key=lambda d: d.stat().st_mtime)[:-keep]:
        shutil.rmtree(d, ignore_errors=True)


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def drop(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def kernel_of(base):
    """The one kernel version below usr/lib/modules: whatever apt had."""
    found = [d.name for d in (base / "os/usr/lib/modules").iterdir() if (d / "kernel").is_dir()]
    if len(found) != 1:
        raise RuntimeError("expected one kernel in the tree, found %s" % found)
    return found[0]


def copy_modules(os_tree, kernel, dest, modules):
    """Copy modules and what they depend on to dest/usr/lib/modules, and index them."""
    src = os_tree / "usr/lib/modules" / kernel
    out = dest / "usr/lib/modules" / kernel
    out.mkdir(parents=True, exist_ok=True)
    for m in modules:
        p = subprocess.run(["modprobe", "-d", os_tree, "-S", kernel, "--show-depends",
                            "--ignore-install", m], capture_output=True, text=True)
        for line in p.stdout.splitlines():
            if line.startswith("insmod "):
                rel = line.split()[1].split("/%s/" % kernel, 1)[1]
                (out / rel).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(src / rel, out / rel)
    for f in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copyfile(src / f, out / f)
    link = dest / "lib"
    made = not link.exists()
    if made:
        link.symlink_to("usr/lib")
    sh("depmod", "-b", dest, kernel)
    if made:
        link.unlink()


def make_os():
    """The untouched Debian tree: os/ below the returned folder. Needs root and a mirror."""
    with cached("os", key_of(*PACKAGES)) as (final, new):
        if new:
            if os.geteuid():
                raise RuntimeError("making the guest's tree needs root: run as root once")
            sh("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase",
               "--aptopt=Acquire::Languages \"none\"", "--include=" + ",".join(PACKAGES),
               "bookworm", new / "os.tar")
            (new / "os").mkdir()
            sh("tar", "-C", new / "os", "--exclude=./dev/*", "-xf", new / "os.tar")
            (new / "os.tar").unlink()
    return final


def make_base():
    """usr/ trimmed, etc/ trimmed, vmlinuz, stub.efi, systemd-boot.efi: what releases start from."""
    src = make_os()
    with cached("base", key_of(src.name, HERE / "guest", TRIM, MODULES, NO_UNITS, NO_GENERATORS,
                               RULES, BASE_REVISION)) as (final, new):
        if new:
            fill_base(src, new)
    return final


BASE_REVISION = 2  # count up when fill_base changes what it makes


def fill_base(src, new):
    tree = src / "os"
    kernel = kernel_of(src)
    shutil.copyfile(tree / ("boot/vmlinuz-" + kernel), new / "vmlinuz")
    efi = tree / "usr/lib/systemd/boot/efi"
    shutil.copyfile(efi / "linuxx64.efi.stub", new / "stub.efi")
    shutil.copyfile(efi / "systemd-bootx64.efi", new / "systemd-boot.efi")
    write(new / "kernel-version", kernel)
    write(new / "packages", sh("dpkg-query", "--admindir", tree / "var/lib/dpkg", "-W", "-f",
                               "${Package} ${Version} ${Architecture}\n"))

    usr = new / "usr"
    sh("cp", "-a", "--reflink=auto", tree / "usr", usr)
    for pattern in TRIM:
        for path in usr.glob(pattern):
            drop(path)
    drop(usr / "lib/modules")
    copy_modules(tree, kernel, new, MODULES)
    units = usr / "lib/systemd/system"
    for name in NO_UNITS:
        for wants in list(units.glob("*.wants")) + list(units.glob("*.requires")):
            drop(wants / name)
    for name in NO_GENERATORS:
        drop(usr / "lib/systemd/system-generators" / name)
    for path in list(usr.glob("lib/systemd/system-environment-generators")) + \
            list(usr.glob("lib/systemd/user-*generators")):
        drop(path)
    for path in (usr / "lib/udev/rules.d").iterdir():
        if path.name not in RULES:
            drop(path)
    guest = HERE / "guest"
    write(units / "systemd-udev-trigger.service.d/few.conf",
          (guest / "udev-trigger.conf").read_text())
    write(usr / "lib/systemd/network/10-eth.network", (guest / "10-eth.network").read_text())
    write(usr / "lib/proa-test/agent.sh", (guest / "agent.sh").read_text(), 0o755)
    write(units / "proa-test-agent.service", (guest / "proa-test-agent.service").read_text())
    write(usr / "lib/systemd/journald.conf.d/test.conf", "[Journal]\nStorage=volatile\n")
    # A boot that hangs on stop must not wait 90 s: scenarios reboot often.
    write(usr / "lib/systemd/system.conf.d/test.conf", "[Manager]\nDefaultTimeoutStopSec=15s\n")
    enable(usr, "proa-test-agent.service", "sysinit.target")
    enable(usr, "systemd-networkd.service", "multi-user.target")
    enable(usr, "systemd-networkd.socket", "sockets.target")
    enable(usr, "containerd.service", "multi-user.target")
    # At a first boot systemd enables what presets ask for, else Debian's everything.
    write(usr / "lib/systemd/system-preset/99-test.preset", "disable *\n")
    drop(units / "default.target")
    (units / "default.target").symlink_to("multi-user.target")

    sh("cp", "-a", tree / "etc", new / "etc")
    for name in ("apt", "init.d", "perl", "ssl", "X11", "skel", "logrotate.d", "alternatives",
                 "debconf.conf", "dpkg", "initramfs-tools", "kernel", "grub.d", "systemd/system",
                 "rcS.d", "rc0.d", "rc1.d", "rc2.d", "rc3.d", "rc4.d", "rc5.d", "rc6.d", "cron.d",
                 "cron.daily", "ld.so.cache"):
        drop(new / "etc" / name)
    sh("chroot", tree, "ldconfig", "-C", "/etc/ld.so.cache.test")
    shutil.move(tree / "etc/ld.so.cache.test", new / "etc/ld.so.cache")


def enable(usr, unit, target):
    wants = usr / "lib/systemd/system" / (target + ".wants")
    wants.mkdir(parents=True, exist_ok=True)
    drop(wants / unit)
    (wants / unit).symlink_to("../" + unit)


def needed(path):
    """Sonames an ELF file asks for, and its interpreter."""
    p = subprocess.run(["readelf", "-ld", path], capture_output=True, text=True)
    return (re.findall(r"\(NEEDED\).*\[(.*)\]", p.stdout),
            re.findall(r"program interpreter: (.*)\]", p.stdout))


class Initrd:
    """A systemd initrd put together by hand: small, and only what opens /usr by its hash."""

    def __init__(self, os_tree, root):
        self.os, self.root = os_tree, root

    def real(self, path):
        """Follow links inside the tree, where absolute ones mean the tree's root."""
        path = pathlib.PurePosixPath(path)
        for _ in range(40):
            if path.parts[1] in ("lib", "lib64", "bin", "sbin"):
                path = pathlib.PurePosixPath("/usr") / path.relative_to("/")
            full = self.os / path.relative_to("/")
            if not full.is_symlink():
                return path
            path = pathlib.PurePosixPath(os.path.normpath(path.parent / os.readlink(full)))
        raise RuntimeError("too many links at %s" % path)

    def put(self, path):
        """Copy one file under the name given and, if that was a link, under its own."""
        real = self.real(path)
        for name in {pathlib.PurePosixPath(path), real}:
            if name.parts[1] in ("lib", "lib64", "bin", "sbin"):
                name = pathlib.PurePosixPath("/usr") / name.relative_to("/")
            dest = self.root / name.relative_to("/")
            dest.parent.mkdir(parents=True, exist_ok=True)
            if name != real:
                if not dest.exists():
                    dest.symlink_to(real)
            elif not dest.exists():
                shutil.copy2(self.os / real.relative_to("/"), dest)
        return real

    def add(self, program):
        """A program with every library it needs, level by level."""
        todo, seen = [program], set()
        while todo:
            path = todo.pop()
            if path in seen:
                continue
            seen.add(path)
            real = self.put(path)
            names, interp = needed(self.os / real.relative_to("/"))
            todo += interp
            for so in names:
                for d in ("/usr/lib/x86_64-linux-gnu/systemd", "/usr/lib/systemd",
                          "/usr/lib/x86_64-linux-gnu"):
                    if (self.os / d[1:] / so).exists():
                        todo.append(d + "/" + so)
                        break
                else:
                    raise RuntimeError("%s needs %s, which the tree lacks" % (path, so))


def make_initrd(product):
    """The initrd; product: where `cmake --install` put what brings ignition-lite into it."""
    src = make_os()
    with cached("initrd", key_of(src.name, HERE / "guest/emergency.service", INITRD_MODULES,
                                 INITRD_PROGRAMS, INITRD_UNITS, RULES, INITRD_REVISION,
                                 *provision.inputs(product))) as (final, new):
        if new:
            fill_initrd(src, new, product)
    return final / "initrd.zst"


INITRD_REVISION = 2  # count up when fill_initrd changes what it makes


def fill_initrd(src, new, product):
    root, tree, kernel = new / "root", src / "os", kernel_of(src)
    for d in """usr/bin usr/sbin usr/lib/systemd/system usr/lib64 usr/lib/udev/rules.d
                usr/lib/modules-load.d etc proc sys dev run tmp sysroot sysusr/usr var""".split():
        (root / d).mkdir(parents=True)
    for d in ("bin", "sbin", "lib", "lib64"):
        (root / d).symlink_to("usr/" + d)
    (root / "var/run").symlink_to("../run")
    (root / "init").symlink_to("usr/lib/systemd/systemd")
    rd = Initrd(tree, root)
    for program in INITRD_PROGRAMS:
        rd.add(program)
    for name in ("modprobe", "insmod"):
        (root / "usr/sbin" / name).symlink_to("../bin/kmod")
    copy_modules(tree, kernel, root, INITRD_MODULES)

    units = root / "usr/lib/systemd/system"
    for name in INITRD_UNITS:
        sh("cp", "-a", tree / "usr/lib/systemd/system" / name, units)
    usr = root / "usr"
    for unit in ("systemd-udevd.service", "systemd-udev-trigger.service", "veritysetup.target",
                 "systemd-modules-load.service", "systemd-journald.service"):
        enable(usr, unit, "sysinit.target")
    for unit in ("systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
                 "systemd-journald.socket", "systemd-journald-dev-log.socket"):
        enable(usr, unit, "sockets.target")
    enable(usr, "initrd-cleanup.service", "initrd.target")
    (units / "default.target").symlink_to("initrd.target")
    (units / "ctrl-alt-del.target").symlink_to("reboot.target")
    write(units / "emergency.service", (HERE / "guest/emergency.service").read_text())
    write(units / "systemd-udev-trigger.service.d/few.conf",
          "[Service]\nExecStart=\n"
          "ExecStart=-udevadm trigger --action=add --subsystem-match=block"
          " --subsystem-match=virtio\n")
    for rule in RULES:
        f = tree / "usr/lib/udev/rules.d" / rule
        if f.exists():
            shutil.copy2(f, root / "usr/lib/udev/rules.d" / rule)
    write(root / "usr/lib/modules-load.d/boot.conf",
          "virtio_pci\nvirtio_blk\ndm-verity\nerofs\next4\n")
    write(root / "etc/passwd", "root:x:0:0::/:/bin/sh\n")
    groups = """root:0 tty:5 disk:6 kmem:15 lp:7 dialout:20 cdrom:24 tape:26 audio:29 video:44
                sgx:106 kvm:107 render:108 input:104"""
    write(root / "etc/group", "".join("%s:x:%s:\n" % tuple(g.split(":")) for g in groups.split()))
    write(root / "etc/systemd/journald.conf", "[Journal]\nStorage=volatile\n")
    write(root / "usr/lib/os-release", "NAME=initrd\nID=proa\nVERSION_ID=1\n")
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    (root / "etc/initrd-release").symlink_to("/usr/lib/os-release")
    write(root / "etc/machine-id", "")
    provision.add(tree, kernel, root, product)
    sh("sh", "-c", "cd \"$1\" && find . -exec touch -hd @1 {} + && find . -print0 | sort -z |"
       " cpio -0 -o -H newc --quiet --reproducible -R 0:0 | zstd -q -12 -T0 -o \"$2\"",
       "sh", root, new / "initrd.zst")
    shutil.rmtree(root)


def make_root(etc, dest, size=96 * MIB, state=None, extra=None, machine_id=MACHINE_ID):
    """The writable root: /etc, /var and mount points, as an ext4 image at dest.

    state is copied to /var/lib/proa; extra maps paths to texts, None masks a unit. Without a
    machine id the next boot is the first one, see machine-id(5).
    """
    work = dest.with_suffix(".d")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for d in """usr proc sys dev run tmp efi root home mnt var/lib/proa var/lib/systemd
                var/lib/dbus var/log var/tmp var/cache var/spool""".split():
        (work / d).mkdir(parents=True)
    sh("cp", "-a", etc, work / "etc")
    for d in ("bin", "sbin", "lib", "lib64"):
        (work / d).symlink_to("usr/" + d)
    (work / "var/run").symlink_to("../run")
    (work / "var/lock").symlink_to("../run/lock")
    for d in ("tmp", "var/tmp"):
        (work / d).chmod(0o1777)
    if state:
        sh("cp", "-a", str(state) + "/.", work / "var/lib/proa")
    (work / "var/lib/proa").chmod(0o700)
    if machine_id:
        write(work / "etc/machine-id", machine_id + "\n", 0o444)
    else:
        drop(work / "etc/machine-id")
    write(work / "etc/hostname", "proa-vm\n")
    write(work / "etc/hosts", "127.0.0.1 localhost proa-vm\n")
    write(work / "etc/fstab",
          "/dev/disk/by-partlabel/esp /efi vfat umask=0077,noatime 0 0\n")
    drop(work / "etc/os-release")
    (work / "etc/os-release").symlink_to("../usr/lib/os-release")
    for name, text in (extra or {}).items():
        if text is None:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).symlink_to("/dev/null")
        else:
            write(work / name, text)
    dest.unlink(missing_ok=True)
    with open(dest, "wb") as f:
        f.truncate(size)
    sh("mkfs.ext4", "-q", "-L", "root", "-d", work, "-m0", "-J", "size=4",
       "-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", dest)
    shutil.rmtree(work)


def round_up(n, step):
    return (n + step - 1) // step * step


def make_disk(dest, slot_bytes, root_image=None, esp_bytes=160 * MIB, slots=2):
    """A GPT disk image: ESP, empty usr and usr-verity pairs, root."""
    data = round_up(slot_bytes, 4 * MIB)
    tree = round_up(data // 100 + MIB, MIB)
    root = root_image.stat().st_size if root_image else 96 * MIB
    total = 4 * MIB + esp_bytes + slots * (data + tree) + root
    dest.unlink(missing_ok=True)
    with open(dest, "wb") as f:
        f.truncate(total)
    lines = ["label: gpt", "start=2048, size=%d, type=%s, name=esp" % (esp_bytes // 512, TYPE_ESP)]
    for _ in range(slots):
        lines.append("size=%d, type=%s, name=_empty" % (data // 512, TYPE_USR))
        lines.append("size=%d, type=%s, name=_empty" % (tree // 512, TYPE_USR_VERITY))
    lines.append("size=%d, type=%s, name=root" % (root // 512, TYPE_ROOT))
    subprocess.run(["sfdisk", "-q", dest], input="\n".join(lines) + "\n", text=True, check=True,
                   stdout=subprocess.DEVNULL)
    esp = dest.with_suffix(".esp")
    with open(esp, "wb") as f:
        f.truncate(esp_bytes)
    sh("mkfs.vfat", "-F32", "-n", "ESP", "-i", "50524f41", esp)
    put_part(dest, 1, esp)
    esp.unlink()
    if root_image:
        put_part(dest, 2 + 2 * slots, root_image)


def parts(disk):
    """The partitions of a disk image as sfdisk sees them, in order; start and size in bytes."""
    table = json.loads(sh("sfdisk", "-J", disk))["partitiontable"]
    return [dict(p, start=p["start"] * 512, size=p["size"] * 512) for p in table["partitions"]]


def put_part(disk, number, image):
    """Write a file into partition number (from 1)."""
    part = parts(disk)[number - 1]
    if image.stat().st_size > part["size"]:
        raise RuntimeError("%s is larger than partition %d" % (image, number))
    sh("dd", "if=%s" % image, "of=%s" % disk, "bs=1M", "seek=%d" % part["start"],
       "oflag=seek_bytes", "conv=notrunc,sparse", "status=none")


def copy_image(src, dest):
    sh("cp", "--reflink=auto", "--sparse=always", src, dest)


def esp_drive(disk):
    """The -i argument for mtools."""
    return "%s@@%d" % (disk, parts(disk)[0]["start"])


def esp_list(disk, folder="EFI/Linux"):
    out = sh("mdir", "-b", "-i", esp_drive(disk), "::/" + folder)
    return sorted(line.rsplit("/", 1)[1] for line in out.splitlines() if "/" in line)


def esp_put(disk, src, name, move_over=True):
    drive = esp_drive(disk)
    folder = ""
    for part in name.split("/")[:-1]:
        folder += "/" + part
        subprocess.run(["mmd", "-D", "s", "-i", drive, "::" + folder], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sh("mcopy", *(["-o"] if move_over else []), "-i", drive, src, "::/" + name)


def esp_get(disk, name, dest):
    sh("mcopy", "-n", "-i", esp_drive(disk), "::/" + name, dest)


def esp_add_loader(disk, loader):
    """systemd-boot in both places firmware looks, and a configuration that never waits."""
    conf = disk.with_suffix(".loader.conf")
    conf.write_text("timeout 0\neditor no\n")
    esp_put(disk, loader, "EFI/BOOT/BOOTX64.EFI")
    esp_put(disk, loader, "EFI/systemd/systemd-bootx64.efi")
    esp_put(disk, conf, "loader/loader.conf")
    conf.unlink()


def esp_add_tree(disk, folder):
    """Everything below an ESP directory, as proactl --direct left it."""
    for f in sorted(p for p in folder.rglob("*") if p.is_file()):
        esp_put(disk, f, str(f.relative_to(folder)))
