# SPDX-License-Identifier: Apache-2.0
"""A machine for the audit to look at: Proa itself installs it on an image file, and Debian's tools
say what its firmware would have measured."""
import hashlib, json, os, pathlib, random, re, shutil, socket, struct, subprocess, tempfile, time, uuid

from rot import flip

BIN = pathlib.Path(os.environ["PROA_BIN"]).resolve()
SOURCE = pathlib.Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("PROA_SEED", "20261121"), 0)
BOOT = pathlib.Path("/usr/lib/systemd/boot/efi")
USR = "8484680c-9521-48c6-9c11-b0720656f69e"
TREE = "77ff5f63-e7b6-4633-acf4-1565b864c0e6"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
DB = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
SHA256 = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328")
OWNER = uuid.UUID("77fa9abd-0359-4d32-bd60-28f4e78f784b")
LOG = "sys/kernel/security/tpm0/binary_bios_measurements"
MIB = 1 << 20
CMDLINE = "root=/dev/vda6 rw quiet mount.usr=/dev/mapper/usr panic=-1"


def sh(*args, want=0, binary=False, **kw):
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=120, text=not binary, **kw)
    assert want is None or p.returncode == want, (args, p.returncode, p.stdout, p.stderr)
    return p


def sha(data):
    return hashlib.sha256(data).digest()


def key(folder, name):
    """A self-signed certificate: name.key, name.pem, name.der."""
    sh("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-days",
       "3650", "-keyout", folder / (name + ".key"), "-out", folder / (name + ".pem"))
    sh("openssl", "x509", "-in", folder / (name + ".pem"), "-outform", "der", "-out",
       folder / (name + ".der"))


def siglist(kind, *sigs):
    size = 16 + len(sigs[0])
    return kind.bytes_le + struct.pack("<III", 28 + size * len(sigs), 0, size) + b"".join(
        OWNER.bytes_le + s for s in sigs)


def authenticode(path):
    """Two judges that must agree."""
    a = re.search(r"[0-9a-f]{64}", sh("pesign", "-h", "-i", path).stdout).group()
    out = sh("osslsigncode", "verify", path, want=None).stdout
    b = re.search(r"Calculated message digest *: *([0-9A-F]{64})", out)
    if not b:  # 2.5 with OpenSSL 3.0.19 takes no signature of sbsign's
        print("osslsigncode left out: it prints no digest", flush=True)
    assert not b or b.group(1).lower() == a, (a, out)
    return bytes.fromhex(a)


class EventLog:
    """The crypto-agile log with SHA-1 and SHA-256 banks."""

    def __init__(self):
        spec = b"Spec ID Event03\0" + struct.pack("<IBBBBIHHHHB", 0, 0, 2, 0, 2, 2, 4, 20, 11, 32, 0)
        self.events = [struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(spec)) + spec]

    def add(self, pcr, kind, data, digest=None):
        d1, d2 = (digest or (hashlib.sha1(data).digest(), sha(data)))
        self.events.append(struct.pack("<IIIH", pcr, kind, 2, 4) + d1 + struct.pack("<H", 11) + d2
                           + struct.pack("<I", len(data)) + data)

    def variable(self, name, guid, data, kind=0x80000001):
        head = uuid.UUID(guid).bytes_le + struct.pack("<QQ", len(name), len(data))
        self.add(7, kind, head + name.encode("utf-16-le") + data)

    def image(self, digest):
        self.add(4, 0x80000003, bytes(32), (bytes(20), digest))  # no device path

    def bytes(self):
        return b"".join(self.events)


def sections(path):
    """name -> content, as the stub sees it."""
    data = path.read_bytes()
    pe, = struct.unpack_from("<I", data, 0x3c)
    count, opt = struct.unpack_from("<H", data, pe + 6)[0], struct.unpack_from("<H", data, pe + 20)[0]
    out = {}
    for i in range(count):
        at = pe + 24 + opt + 40 * i
        name = data[at:at + 8].rstrip(b"\0").decode()
        vsize, _, rsize, roff = struct.unpack_from("<IIII", data, at + 8)
        out[name] = data[roff:roff + min(vsize, rsize)]
    return out


MEASURE = "/usr/lib/systemd/systemd-measure"


def measured():
    """The sections that the installed systemd's stub measures, in its order, as its judge says."""
    names = re.findall(r"^ +--([a-z]+)=PATH ", sh(MEASURE, "--help").stdout, re.M)
    return ["." + n for n in names[names.index("linux"):]]


UNITS = ["proad.service", "proa-settle.service", "proa-update.service", "proa-anchor.service",
         "proa-fetch@audit.service"]


def show(unit):
    """`systemctl show` of a unit as it ships."""
    text = (SOURCE / "units" / unit.replace("@audit", "@")).read_text().split("[Service]\n")[1]
    return ("Id=%s\nLoadState=loaded\nActiveState=inactive\nDropInPaths=\nMainPID=0\n"
            "FragmentPath=/usr/lib/systemd/system/%s\n" % (unit, unit)
            + "".join(line + "\n" for line in text.splitlines() if line and line[0] != "#"))


class Machine:
    """A host's evidence below dir/root, its disk at dir/disk."""

    def __init__(self, folder):
        self.dir, self.root, self.disk = folder, folder / "root", folder / "disk"
        self.esp, self.state = self.root / "efi", self.root / "var/lib/proa"
        self.vars = self.root / "sys/firmware/efi/efivars"

    def copy(self):
        other = Machine(pathlib.Path(tempfile.mkdtemp(dir=work)) / "m")
        sh("cp", "-a", "--sparse=always", self.dir, other.dir)
        return other

    def write(self, name, data):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    def var(self, name, guid, data):
        self.write("sys/firmware/efi/efivars/%s-%s" % (name, guid), b"\7\0\0\0" + data)

    def text_var(self, name, text):
        self.var(name, LOADER, (text + "\0").encode("utf-16-le"))

    def uki(self):
        return self.esp / "EFI/Linux/web_1.0.0.efi"

    def report(self, *more, want=None, repository=True):
        args = ["--repository", base.repo] if repository else []
        p = sh(BIN / "proa-audit", "report", "--json", "--root", self.root, "--disk", self.disk,
               *args, *more, want=want)
        assert p.returncode in (0, 1), (p.returncode, p.stderr)
        return Report(json.loads(p.stdout), p.returncode)

    # -- what firmware and kernel leave behind ------------------------------------------------------

    def boot(self, secure=1, extra_cmdline="", phases=(), handed=1, separator=None):
        """As if this machine had just booted from its disk. handed: how often loader and stub measure
        the command line; separator: the word that systemd 261 extends PCRs by."""
        db, dbx, pk = base.db, base.dbx, base.pk
        loader, uki = self.esp / "EFI/systemd/systemd-bootx64.efi", self.uki()
        log = EventLog()
        for name, guid, data in (("SecureBoot", GLOBAL, bytes([secure])), ("PK", GLOBAL, pk),
                                 ("KEK", GLOBAL, pk), ("db", DB, db), ("dbx", DB, dbx)):
            self.var(name, guid, data)
            log.variable(name, guid, data)
        self.var("SetupMode", GLOBAL, b"\0")
        log.add(7, 4, bytes(4))
        log.add(4, 0x80000007, b"Calling EFI Application from Boot Option")
        log.add(4, 4, bytes(4))
        if secure:
            log.variable("db", DB, db[28:], 0x800000e0)
        log.image(authenticode(loader))
        log.image(authenticode(uki))
        parts = sections(uki)
        cmdline = parts[".cmdline"].decode().rstrip("\0\n")
        for _ in range(handed):
            log.add(12, 13, (cmdline + extra_cmdline + "\0").encode("utf-16-le"))
        for name in measured():
            if name in parts:
                for data in (name.encode() + b"\0", parts[name]):
                    log.add(11, 13, name.encode("utf-16-le"),
                            (hashlib.sha1(data).digest(), sha(data)))
        self.write(LOG, log.bytes())
        self.set_pcrs(phases, separator)
        self.write("proc/cmdline", cmdline + extra_cmdline + "\n")
        self.text_var("LoaderEntrySelected", "web_1.0.0+3.efi")
        self.text_var("LoaderImageIdentifier", "\\EFI\\systemd\\systemd-bootx64.efi")
        self.log = log
        self.set_table()

    def set_pcrs(self, phases=(), separator=None):
        """The judge replays the log; what it computes is what this TPM has."""
        out = sh("tpm2_eventlog", self.root / LOG, want=None).stdout
        bank = out.split("\npcrs:")[1].split("sha256:")[1]
        values = {int(i): v for i, v in re.findall(r"(\d+) *: 0x([0-9a-f]{64})", bank)}
        for word in phases:
            values[11] = sha(bytes.fromhex(values[11]) + sha(word.encode())).hex()
        for i in (*range(8), 9, 12, 13, 14) if separator else ():
            values[i] = sha(bytes.fromhex(values.get(i, "00" * 32)) + sha(separator)).hex()
        for i in range(24):
            self.write("sys/class/tpm/tpm0/pcr-sha256/%d" % i,
                       values.get(i, "00" * 32).upper() + "\n")

    def set_table(self):
        m = base.manifest("1.0.0")
        self.write("dm/usr.table", "0 %d verity 1 254:2 254:3 4096 4096 %d 1 sha256 %s %s 1 "
                   "panic_on_corruption\n" % (m["usr"]["data_blocks"] * 8, m["usr"]["data_blocks"],
                                              m["usr"]["root_hash"], m["usr"]["salt"] or "-"))
        self.write("dm/usr.status", "0 1 verity V\n")

    def start(self, number):
        table = json.loads(sh("sfdisk", "-J", self.disk).stdout)["partitiontable"]["partitions"]
        return table[number - 1]["start"] * 512

    def flip(self, at):
        flip(self.disk, at)


class Report:
    def __init__(self, doc, status):
        self.doc, self.status = doc, status
        self.checks = {c["id"]: c for c in doc["checks"]}

    def verdict(self, check):
        return self.checks[check]["verdict"] if check in self.checks else None

    def problems(self):
        return {i for i, c in self.checks.items() if c["verdict"] in ("fail", "unreadable")}


class Publisher:
    def __init__(self, folder):
        self.dir, self.repo, self.keys = folder, folder / "repo", folder / "keys"
        folder.mkdir()
        for name in ("vendor", "stranger"):
            key(folder, name)
        der = (folder / "vendor.der").read_bytes()
        self.db = self.pk = siglist(X509, der)
        self.dbx = siglist(SHA256, sha(b"something revoked"))
        rnd = random.Random(SEED)
        kernel = bytearray(rnd.randbytes(60000))
        kernel[:2], kernel[0x1FE:0x200], kernel[0x202:0x206] = b"MZ", b"\x55\xaa", b"HdrS"
        struct.pack_into("<H", kernel, 0x20E, 0x200)
        kernel[0x400:0x40B] = b"6.1.0-test\0"
        (folder / "vmlinuz").write_bytes(kernel)
        (folder / "initrd").write_bytes(rnd.randbytes(30000))
        (folder / "os-release").write_text('ID=web\nPRETTY_NAME="Web"\n')
        (folder / "usr").write_bytes(rnd.randbytes(300 * 4096))
        self.sbom = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [
            {"type": "library", "name": "libc6", "version": "2.36"}]}).encode()
        sh(BIN / "proa-publish", "init", self.repo, "--image", "web", "--keys", self.keys,
           "--channel", "stable")
        self.release("1.0.0")

    def release(self, version, sign="vendor"):
        d = self.dir
        sh(BIN / "proa-publish", "release", self.repo, "--keys", self.keys, "--channel", "stable",
           "--version", version, "--level", "1", "--usr", d / "usr", "--kernel", d / "vmlinuz",
           "--initrd", d / "initrd", "--os-release", d / "os-release", "--cmdline", CMDLINE,
           "--sign-key", d / (sign + ".key"), "--sign-cert", d / (sign + ".pem"))

    def manifest(self, version):
        return json.loads(next(self.repo.glob("targets/*/*web_%s.json" % version)).read_text())

    def role(self, name):
        """The newest metadata of a role."""
        found = self.repo.glob("metadata/*.%s.json" % name)
        return json.loads(max(found, key=lambda f: int(f.name.split(".")[0])).read_text()
                          if name != "timestamp" else
                          (self.repo / "metadata/timestamp.json").read_text())

    @property
    def names(self):
        return dict(self.role("root")["signed"]["x-proa-names"],
                    **self.role("targets")["signed"]["x-proa-names"])

    def install(self, folder):
        m = Machine(folder)
        (m.esp / "EFI/Linux").mkdir(parents=True)
        m.state.mkdir(parents=True)
        with open(m.disk, "wb") as f:
            f.truncate(16 * MIB)
        sh("sfdisk", "-q", m.disk, input="label: gpt\n" + "".join(
            "size=%s, type=%s, name=_empty\n" % p for p in [("4M", USR), ("1M", TREE)] * 2))
        conf = "[Host]\nImage=web\nDisk=%s\nESP=%s\nState=%s\n[Source]\nURL=file://%s/\nRoot=%s\n" % (
            m.disk, m.esp, m.state, self.repo, self.repo / "metadata/1.root.json")
        (folder / "conf").write_text(conf)
        sh(BIN / "proactl", "--direct", "--config", folder / "conf", "update")
        found, = (m.esp / "EFI/Linux").glob("web_1.0.0*.efi")
        found.rename(m.uki())
        (m.esp / "EFI/systemd").mkdir()
        sh("sbsign", "--key", self.dir / "vendor.key", "--cert", self.dir / "vendor.pem", "--output",
           m.esp / "EFI/systemd/systemd-bootx64.efi", BOOT / "systemd-bootx64.efi")
        m.write("usr/share/proa/root.json", (self.repo / "metadata/1.root.json").read_bytes())
        m.write("etc/proa/proa.conf", "[Update]\nChannel=stable\n")
        for name, text in (("proc/sys/kernel/hostname", "node-7"),
                           ("proc/sys/kernel/osrelease", "6.1.0-test"),
                           ("proc/sys/kernel/random/boot_id",
                            "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"),
                           ("sys/kernel/security/lockdown", "none [integrity] confidentiality"),
                           ("proc/sys/kernel/kexec_load_disabled", "1"),
                           ("sys/module/apparmor/parameters/enabled", "Y")):
            m.write(name, text + "\n")
        m.write("systemd/show", "\n".join(show(u) for u in UNITS))
        m.boot()
        return m


class Tpm:
    """swtpm with the PCRs of a machine's event log, extended by tpm2-tools."""

    def __init__(self, log, ca=None):
        self.dir = tempfile.mkdtemp(dir=work)
        if ca:
            self.manufacture(pathlib.Path(ca))
        for _ in range(20):
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            self.p = subprocess.Popen(
                ["swtpm", "socket", "--tpm2", "--tpmstate", "dir=" + self.dir, "--server",
                 "type=tcp,port=%d,bindaddr=127.0.0.1" % port, "--ctrl",
                 "type=tcp,port=%d,bindaddr=127.0.0.1" % (port + 1), "--flags",
                 "not-need-init,startup-clear"], stderr=subprocess.DEVNULL)
            self.tcti = "swtpm:host=127.0.0.1,port=%d" % port
            if self.answers(port):
                break
            self.stop()
        args = []
        for e in log.events[1:]:
            pcr, = struct.unpack_from("<I", e)
            args.append("%d:sha256=%s" % (pcr, e[34 + 2:66 + 2].hex()))
        for i in range(0, len(args), 8):
            sh("tpm2_pcrextend", *args[i:i + 8], env=dict(os.environ, TPM2TOOLS_TCTI=self.tcti))

    def manufacture(self, ca):
        """What a maker does: an EK certificate by a CA of its own, in the TPM's NV memory."""
        ca.mkdir(exist_ok=True)
        (ca / "ca.conf").write_text("statedir = %s\nsigningkey = %s/key.pem\nissuercert = %s/"
                                    "issuer.pem\ncertserial = %s/serial\n" % (ca, ca, ca, ca))
        (ca / "options").write_text("--platform-manufacturer x\n--platform-version 1\n"
                                    "--platform-model y\n")
        (ca / "setup.conf").write_text(
            "create_certs_tool= /usr/bin/swtpm_localca\ncreate_certs_tool_config = %s/ca.conf\n"
            "create_certs_tool_options = %s/options\nactive_pcr_banks = sha256\n" % (ca, ca))
        sh("swtpm_setup", "--tpm2", "--tpmstate", self.dir, "--create-ek-cert", "--config",
           ca / "setup.conf", "--overwrite")
        self.cas = ca / "cas.pem"
        self.cas.write_text("".join(f.read_text() for f in (
            ca / "issuer.pem", ca / "swtpm-localca-rootca-cert.pem")))

    def tool(self, *args, **kw):
        return sh(*args, env=dict(os.environ, TPM2TOOLS_TCTI=self.tcti), **kw)

    def answers(self, port):
        end = time.monotonic() + 20
        while time.monotonic() < end and self.p.poll() is None:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port + 1)) == 0:
                    return True
            time.sleep(0.05)
        return False

    def stop(self):
        self.p.terminate()
        self.p.wait()


def begin():
    """The folder for everything, the publisher, and a machine where all is well."""
    global work, base, good
    print(f"PROA_SEED={SEED}")
    work = pathlib.Path(tempfile.mkdtemp(prefix="proa-audit."))
    base = Publisher(work / "base")
    folder = work / "good"
    folder.mkdir()
    good = base.install(folder)
    return work, base, good


def end():
    shutil.rmtree(work)
