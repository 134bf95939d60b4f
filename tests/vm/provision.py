# SPDX-License-Identifier: Apache-2.0
"""ignition-lite in the fixture: into the initrd by the dracut module that Proa ships, and configs for
hosts that have never booted."""
import base64
import gzip
import hashlib
import json
import pathlib
import shutil
import subprocess

import image
import server

DRACUT = pathlib.Path("/usr/lib/dracut")
MODULE = "usr/lib/dracut/modules.d/31ignition-lite"
# The module's own functions, run by dracut's, in the tree of the host that is to be.
SCRIPT = """export dracutbasedir=/usr/lib/dracut initdir=/initrd kernel=%s hostonly=
export systemdutildir=/usr/lib/systemd systemdsystemunitdir=/usr/lib/systemd/system
stdloglvl=3 sysloglvl=0 kmsgloglvl=0 fileloglvl=0
. /usr/lib/dracut/dracut-init.sh || exit 1
module_check ignition-lite
[ $? = 255 ] || exit 1
module_install ignition-lite && module_installkernel ignition-lite && depmod -b /initrd "$kernel"
"""


def inputs(product):
    """What the key of an initrd with ignition-lite in it hangs on."""
    return [product / "usr/bin/ignition-lite", product / MODULE, SCRIPT]


def add(os_tree, kernel, root, product):
    """Adds what the module installs to the initrd's tree at root."""
    tree = root.parent / "host"
    shutil.rmtree(tree, ignore_errors=True)
    image.sh("cp", "-al", os_tree, tree)  # links: nothing below may be written in place
    for name in ("usr/bin/ignition-lite", MODULE):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        image.sh("cp", "-a", product / name, tree / name)
    for d in DRACUT.iterdir():
        if d.name != "modules.d":
            image.sh("cp", "-a", d, tree / "usr/lib/dracut" / d.name)
    for dev, minor in (("null", 3), ("zero", 5)):
        image.sh("mknod", tree / "dev" / dev, "c", "1", str(minor))
    (tree / "dev/fd").symlink_to("/proc/self/fd")
    root.rename(tree / "initrd")
    try:
        p = subprocess.run(["unshare", "--mount", "sh", "-c",
                            "mount -t proc proc \"$1/proc\" && exec chroot \"$1\" bash -c \"$2\"",
                            "sh", tree, SCRIPT % kernel], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    finally:
        (tree / "initrd").rename(root)
        shutil.rmtree(tree)
    if p.returncode:
        raise RuntimeError("the dracut module failed:\n" + p.stdout.decode(errors="replace"))
    return p.stdout.decode(errors="replace")


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFirstBootFirstBootFirstBootFirstBootFirst core@desk"
GREETING = b"hello from afar\n"
UNIT = """[Unit]
Description=Greet once the host is up
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/cp /etc/greeting /run/greeted
[Install]
WantedBy=multi-user.target
"""


def data(text, pack=False):
    """A data: URL, compressed or not."""
    raw = text.encode()
    if pack:
        raw = gzip.compress(raw, mtime=0)
    return "data:;base64," + base64.b64encode(raw).decode()


def certificates(work):
    """A CA of our own and a server's certificate from it; (CA's certificate, server's pair)."""
    ca, key, csr, pair = (work / n for n in ("ca.pem", "ca.key", "server.csr", "server.pem"))
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    image.sh("openssl", "req", "-x509", *new, "-keyout", key, "-out", ca, "-days", "30", "-subj",
             "/CN=Test CA")
    image.sh("openssl", "req", *new, "-keyout", pair, "-out", csr, "-subj", "/CN=server", "-addext",
             "subjectAltName=IP:10.0.2.2")
    signed = image.sh("openssl", "x509", "-req", "-in", csr, "-CA", ca, "-CAkey", key,
                      "-CAcreateserial", "-days", "30", "-copy_extensions", "copy")
    with open(pair, "a") as f:
        f.write(signed)
    return ca, pair


class Home:
    """What a host is provisioned from: a config for fw_cfg, and an https server beside it."""

    def __init__(self, work, stack):
        self.path = work / "config.ign"
        self.path.write_text("")
        (work / "files").mkdir()
        (work / "files/greeting").write_bytes(GREETING)
        self.ca, pair = certificates(work)
        self.server = server.Nginx(work / "https", work / "files", tls=pair)
        stack.callback(self.server.close)

    def args(self):
        """For QEMU, which reads the config at each power-on."""
        return ["-fw_cfg", "name=opt/com.coreos/config,file=%s" % self.path]

    def asked(self):
        return len([r for r in self.server.requests() if r[3] == "/greeting"])

    def config(self, repo, wrong=False):
        """Hostname, a user with a key, a drop-in, a file from afar, the channel, a unit."""
        digest = hashlib.sha256(b"something else" if wrong else GREETING).hexdigest()
        conf = "[Source]\nURL=http://10.0.2.2:%d/\n[Update]\nChannel=stable\n" % repo.port
        self.path.write_text(json.dumps({
            "ignition": {"version": "3.4.0", "security": {"tls": {"certificateAuthorities": [
                {"source": data(self.ca.read_text())}]}}},
            "passwd": {"users": [{"name": "core", "groups": ["users"], "sshAuthorizedKeys": [KEY]}]},
            "storage": {"files": [
                {"path": "/etc/hostname", "overwrite": True,
                 "contents": {"source": "data:,node-7%0A"}},
                {"path": "/etc/proa/proa.conf.d/40-channel.conf",
                 "contents": {"source": data(conf, True), "compression": "gzip"}},
                {"path": "/etc/greeting", "mode": 0o640, "user": {"name": "core"},
                 "group": {"name": "core"}, "contents": {
                     "source": "https://10.0.2.2:%d/greeting" % self.server.port,
                     "verification": {"hash": "sha256-" + digest}}}]},
            "systemd": {"units": [
                {"name": "containerd.service", "dropins": [
                    {"name": "10-first-boot.conf",
                     "contents": "[Service]\nEnvironment=PROA_FIRST_BOOT=yes\n"}]},
                {"name": "greet.service", "enabled": True, "contents": UNIT}]}}, indent=1))


def blank(host, folder):
    """The host has 1.0.0 installed and has never booted: no machine id, nobody configured it."""
    base = image.make_base()
    root = host.dir / "root.ext4"
    image.make_root(base / "etc", root, state=folder / "state", machine_id=None,
                    extra={"etc/systemd/system/proa-update.timer": None})
    image.put_part(host.disk, 6, root)
    root.unlink()


def listing(host, folder):
    """What a folder of the root holds, while the host is off."""
    part = image.parts(host.disk)[5]
    raw = host.dir / "root.raw"
    image.sh("dd", "if=%s" % host.disk, "of=%s" % raw, "bs=1M", "iflag=skip_bytes,count_bytes",
             "skip=%d" % part["start"], "count=%d" % part["size"], "conv=sparse", "status=none")
    image.sh("sh", "-c", "e2fsck -fy \"$1\"; test $? -le 1", "sh", raw)  # the journal
    names = image.sh("debugfs", "-R", "ls -p " + folder, raw)
    raw.unlink()
    return {line.split("/")[5] for line in names.splitlines() if line.count("/") > 5}
