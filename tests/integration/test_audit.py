#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""proa-audit on the evidence of a machine: Proa itself installs it on an image file, Debian's tools
say what its firmware would have measured, and each attack changes one thing of a copy.

Judges: pesign and osslsigncode (Authenticode), sbverify (chains), tpm2_eventlog (replay),
systemd-measure (PCR 11), veritysetup (the slot), openssl (fingerprints, signatures),
tpm2_checkquote and a software TPM (quotes)."""
import base64, hashlib, json, os, pathlib, random, re, shutil, socket, struct, subprocess, tempfile
import time, unittest, uuid

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
TIME = "2026-11-21T12:00:00Z"


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


MEASURED = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"]


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

    def boot(self, secure=1, extra_cmdline="", phases=()):
        """As if this machine had just booted from its disk."""
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
        log.add(12, 13, (cmdline + extra_cmdline + "\0").encode("utf-16-le"))
        for name in MEASURED:
            if name in parts:
                for data in (name.encode() + b"\0", parts[name]):
                    log.add(11, 13, name.encode("utf-16-le"),
                            (hashlib.sha1(data).digest(), sha(data)))
        self.write(LOG, log.bytes())
        self.set_pcrs(phases)
        self.write("proc/cmdline", cmdline + extra_cmdline + "\n")
        self.text_var("LoaderEntrySelected", "web_1.0.0+3.efi")
        self.text_var("LoaderImageIdentifier", "\\EFI\\systemd\\systemd-bootx64.efi")
        self.log = log
        self.set_table()

    def set_pcrs(self, phases=()):
        """The judge replays the log; what it computes is what this TPM has."""
        out = sh("tpm2_eventlog", self.root / LOG, want=None).stdout
        bank = out.split("\npcrs:")[1].split("sha256:")[1]
        values = {int(i): v for i, v in re.findall(r"(\d+) *: 0x([0-9a-f]{64})", bank)}
        for word in phases:
            values[11] = sha(bytes.fromhex(values[11]) + sha(word.encode())).hex()
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
        with open(self.disk, "r+b") as f:
            f.seek(at)
            b = f.read(1)[0]
            f.seek(at)
            f.write(bytes([b ^ 1]))


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


def setUpModule():
    global work, base, good
    print(f"PROA_SEED={SEED}")
    work = pathlib.Path(tempfile.mkdtemp(prefix="proa-audit."))
    base = Publisher(work / "base")
    folder = work / "good"
    folder.mkdir()
    good = base.install(folder)


def tearDownModule():
    shutil.rmtree(work)


class Good(unittest.TestCase):
    def test_everything_holds(self):
        r = good.report("--deep")
        self.assertEqual(r.problems(), set(), r.doc)
        self.assertEqual(r.status, 0)
        for check in ("firmware.secure-boot", "firmware.keys", "loader.signature", "loader.started",
                      "uki.selected", "uki.signature", "uki.started", "uki.content", "uki.counters",
                      "cmdline.same", "usr.verity", "usr.partuuids", "usr.superblock",
                      "usr.deep.A", "release.trust", "release.root-hash", "release.uki",
                      "tpm.log", "tpm.replay", "tpm.pcr4", "tpm.pcr7", "tpm.pcr11", "tpm.pcr12",
                      "kernel.lockdown", "kernel.modules", "kernel.kexec", "kernel.mac",
                      "proa.settings", "proa.units"):
            self.assertEqual(r.verdict(check), "pass", r.checks.get(check))

    def test_offline(self):
        """The trust store is enough: Proa keeps the manifest of what it installed."""
        r = good.report(repository=False)
        self.assertEqual((r.problems(), r.verdict("release.root-hash"), r.verdict("release.uki")),
                         (set(), "pass", "pass"))
        f, = good.state.glob("trust/*.manifest")
        m = good.copy()
        (m.state / "trust" / f.name).write_bytes(f.read_bytes().replace(b"web", b"wab"))
        self.assertEqual(m.report(repository=False).problems(), {"release.root-hash"})
        (m.state / "trust" / f.name).unlink()
        self.assertEqual(m.report(repository=False).verdict("release.root-hash"), "warn")

    def test_judges(self):
        """Every value that is computed is what Debian's tool computes."""
        r = good.report()
        uki = r.checks["uki.signature"]["evidence"]
        self.assertEqual(uki["authenticode_sha256"], authenticode(good.uki()).hex())
        self.assertEqual(uki["sha256"], sha(good.uki().read_bytes()).hex())
        sh("sbverify", "--cert", base.dir / "vendor.pem", good.uki())
        sh("sbverify", "--cert", base.dir / "stranger.pem", good.uki(), want=1)
        cert = r.checks["firmware.keys"]["evidence"]["db"][0]
        out = sh("openssl", "x509", "-in", base.dir / "vendor.pem", "-noout", "-fingerprint",
                 "-sha256").stdout
        self.assertEqual(cert["sha256"], out.split("=")[1].strip().replace(":", "").lower())
        m = base.manifest("1.0.0")
        d = good.disk.read_bytes()
        a, b = good.start(1), good.start(2)
        (work / "data").write_bytes(d[a:a + m["usr"]["data_blocks"] * 4096])
        (work / "tree").write_bytes(d[b:b + MIB])
        sh("veritysetup", "verify", work / "data", work / "tree", r.doc["subjects"]["usr"])

    def test_systemd_measure(self):
        """PCR 11 of what boots next, with and without phases."""
        parts = sections(good.uki())
        args = []
        for name in (".linux", ".osrel", ".cmdline", ".initrd"):
            (work / name[1:]).write_bytes(parts[name])
            args.append("--%s=%s" % (name[1:], work / name[1:]))
        for phase in ("", "enter-initrd", "enter-initrd:leave-initrd:sysinit:ready"):
            out = sh("/usr/lib/systemd/systemd-measure", "calculate", *args, "--bank=sha256",
                     "--phase=" + (phase or ":")).stdout
            want = re.search(r"11:sha256=([0-9a-f]{64})", out).group(1)
            got = sh(BIN / "proa-audit", "report", "--root", good.root, "--disk", good.disk,
                     "--pcr=" + phase).stdout.strip()
            self.assertEqual(got, want, phase)

    def test_phases_after_the_log(self):
        m = good.copy()
        m.boot(phases=("enter-initrd", "leave-initrd", "sysinit", "ready"))
        r = m.report()
        self.assertEqual((r.verdict("tpm.replay"), r.verdict("tpm.pcr11")), ("pass", "pass"))

    def test_readable(self):
        p = sh(BIN / "proa-audit", "report", "--root", good.root, "--disk", good.disk,
               "--repository", base.repo, "--all")
        lines = p.stdout.splitlines()
        self.assertTrue(lines[0].startswith("node-7, "), lines[0])
        self.assertTrue(all(len(line) <= 80 or " " not in line.strip() for line in lines), p.stdout)

    def test_next(self):
        r = good.report("--next", "--deep", repository=False)
        self.assertEqual(r.problems(), set(), r.doc)
        for check in ("next.entry", "next.signature", "next.slot", "next.pcr11"):
            self.assertEqual(r.verdict(check), "pass")

    def test_diff(self):
        a, b = good.report().doc, good.copy()
        b.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
        (work / "a.json").write_text(json.dumps(a))
        (work / "b.json").write_text(json.dumps(b.report().doc))
        p = sh(BIN / "proa-audit", "diff", work / "a.json", work / "b.json", want=1)
        self.assertIn("kernel.lockdown: pass -> warn", p.stdout)
        self.assertEqual(sh(BIN / "proa-audit", "diff", work / "a.json", work / "a.json").stdout, "")


class Attacks(unittest.TestCase):
    def expect(self, m, *failed, also=(), more=()):
        """These checks fail and no others; also: may fail besides."""
        r = m.report(*more)
        self.assertEqual(r.status, 1)
        self.assertLessEqual(set(failed), r.problems(), r.doc["checks"])
        self.assertLessEqual(r.problems(), set(failed) | set(also), r.doc["checks"])

    def resign(self, m, sign="vendor", change=None):
        """Another UKI under the running name."""
        src = m.dir / "other.efi"
        src.write_bytes(m.uki().read_bytes())
        sh("sbattach", "--remove", src)
        if change:
            data = bytearray(src.read_bytes())
            at = data.index(change[0])
            data[at:at + len(change[0])] = change[1]
            src.write_bytes(data)
        sh("sbsign", "--key", base.dir / (sign + ".key"), "--cert", base.dir / (sign + ".pem"),
           "--output", m.uki(), src)

    def test_other_uki_after_boot(self):
        m = good.copy()
        self.resign(m, change=(b"quiet", b"debug"))
        self.expect(m, "uki.started", "tpm.pcr4", "tpm.pcr11", "tpm.pcr12", "cmdline.same",
                    "release.uki")

    def test_uki_by_a_stranger(self):
        m = good.copy()
        self.resign(m, sign="stranger")
        self.expect(m, "uki.signature", "release.uki", also=("uki.started", "tpm.pcr4", "tpm.pcr7"))

    def test_command_line_through_the_loader(self):
        m = good.copy()
        m.boot(extra_cmdline=" init=/bin/sh")
        self.expect(m, "cmdline.same", "tpm.pcr12")
        evidence = m.report().checks["cmdline.same"]["evidence"]
        self.assertEqual((evidence["added"], evidence["missing"]), ("init=/bin/sh", ""))

    def test_unsigned_loader(self):
        m = good.copy()
        shutil.copy(BOOT / "systemd-bootx64.efi", m.esp / "EFI/systemd/systemd-bootx64.efi")
        self.expect(m, "loader.signature", also=("loader.started", "tpm.pcr4", "tpm.pcr7"))

    def test_secure_boot_off(self):
        m = good.copy()
        m.boot(secure=0)
        self.expect(m, "firmware.secure-boot")

    def test_revoked_uki(self):
        m = good.copy()
        m.var("dbx", DB, siglist(SHA256, authenticode(m.uki())))
        self.expect(m, "uki.signature", "tpm.pcr7")

    def test_flipped_byte(self):
        m = good.copy()
        m.flip(m.start(1) + 12345)
        self.assertEqual(m.report().problems(), set())
        self.expect(m, "usr.deep.A", more=["--deep"])

    def test_flipped_tree(self):
        m = good.copy()
        m.flip(m.start(2) + 4096 + 40)
        self.expect(m, "usr.deep.A", more=["--deep"])

    def test_partuuids_swapped(self):
        m = good.copy()
        a, b = (sh("sfdisk", "--part-uuid", m.disk, n).stdout.strip() for n in "12")
        sh("sfdisk", "-q", "--part-uuid", m.disk, "1", str(uuid.uuid4()))
        sh("sfdisk", "-q", "--part-uuid", m.disk, "2", a)
        sh("sfdisk", "-q", "--part-uuid", m.disk, "1", b)
        self.expect(m, "usr.partuuids")

    def test_other_root_hash(self):
        m = good.copy()
        table = m.root / "dm/usr.table"
        table.write_text(table.read_text().replace(base.manifest("1.0.0")["usr"]["root_hash"],
                                                   "ab" * 32))
        self.expect(m, "usr.verity", "usr.partuuids", "release.root-hash", also=("usr.record",))

    def test_corruption(self):
        m = good.copy()
        m.write("dm/usr.status", "0 1 verity C\n")
        self.expect(m, "usr.corruption")

    def test_record_edited(self):
        m = good.copy()
        for f in m.state.glob("record.*"):
            head, _, body = f.read_bytes().partition(b"\n")
            body = body.replace(base.manifest("1.0.0")["usr"]["root_hash"].encode(), b"cd" * 32)
            f.write_bytes(b" ".join(head.split()[:3] + [sha(body).hex().encode()]) + b"\n" + body)
        self.expect(m, "usr.record", "history.chain")
        for f in m.state.glob("record.*"):
            f.write_bytes(f.read_bytes().replace(b"1.0.0", b"1.0.1"))
        self.expect(m, "usr.record")

    def test_manifest_changed(self):
        m = good.copy()
        repo = m.dir / "repo"
        shutil.copytree(base.repo, repo)
        f = next(repo.glob("targets/*/*web_1.0.0.json"))
        f.write_text(f.read_text().replace("web", "wab"))
        r = m.report("--repository", repo)
        self.assertEqual(r.problems(), {"release.root-hash"})

    def test_key_not_in_threshold(self):
        m = good.copy()
        repo = m.dir / "repo"
        shutil.copytree(base.repo, repo)
        f = max(repo.glob("metadata/*.stable.json"))
        doc = json.loads(f.read_text())
        doc["signatures"][0]["keyid"] = "ab" * 32
        f.write_text(json.dumps(doc))
        r = m.report("--repository", repo)
        self.assertEqual(r.problems(), {"release.trust"})

    def test_expired_metadata(self):
        r = good.report("--time", "2100-01-01T00:00:00Z")
        self.assertEqual((r.verdict("release.trust"), r.status), ("warn", 0))

    # -- the event log ------------------------------------------------------------------------------

    def log(self, m, events):
        m.write(LOG, b"".join(events))

    def test_log_cut(self):
        m = good.copy()
        self.log(m, good.log.events[:-3])
        self.expect(m, "tpm.replay")
        self.log(m, good.log.events[:6])
        self.expect(m, "tpm.replay", "loader.started", "uki.started")
        m.write(LOG, good.log.bytes()[:-5])
        r = m.report()
        self.assertEqual(r.verdict("tpm.eventlog"), "unreadable")

    def test_log_reordered(self):
        m = good.copy()
        ev = list(good.log.events)
        i = [k for k, e in enumerate(ev) if e[:8] == struct.pack("<II", 4, 0x80000003)]
        ev[i[0]], ev[i[1]] = ev[i[1]], ev[i[0]]
        self.log(m, ev)
        self.expect(m, "tpm.replay")

    def test_log_digest_changed(self):
        m = good.copy()
        ev = list(good.log.events)
        i = [k for k, e in enumerate(ev) if e[:8] == struct.pack("<II", 4, 0x80000003)][1]
        ev[i] = ev[i][:40] + bytes([ev[i][40] ^ 1]) + ev[i][41:]
        self.log(m, ev)
        self.expect(m, "tpm.replay", "uki.started")

    def test_log_of_a_better_boot(self):
        """The log of a boot without the added word, while the TPM knows better."""
        m = good.copy()
        m.boot(extra_cmdline=" init=/bin/sh")
        m.write(LOG, good.log.bytes())
        m.write("proc/cmdline", (good.root / "proc/cmdline").read_bytes())
        self.expect(m, "tpm.pcr12")
        self.assertEqual(m.report().verdict("tpm.replay"), "warn")

    # -- evidence that cannot be read ----------------------------------------------------------------

    def test_garbage(self):
        """Every piece of evidence replaced by noise: verdicts, never a crash."""
        rnd, m = random.Random(SEED), good.copy()
        names = sorted(str(p.relative_to(m.root)) for p in m.root.rglob("*") if p.is_file())
        for name in names:
            old = (m.root / name).read_bytes()
            for data in (b"", rnd.randbytes(300), old[:len(old) // 2]):
                m.write(name, data)
                r = m.report()
                self.assertIn(r.doc["verdict"], ("pass", "warn", "fail", "unreadable"), name)
            m.write(name, old)
        self.assertEqual(m.report().problems(), set())


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


class Attested(unittest.TestCase):
    """Statements made on the node, checked on the auditor's machine."""
    NONCE, OTHER = "00112233445566778899aabbccddeeff", "ff112233445566778899aabbccddeeff"

    @classmethod
    def setUpClass(cls):
        cls.tpm = Tpm(good.log)
        cls.key, cls.pub = work / "node.key", work / "node.pub"
        sh("openssl", "genpkey", "-algorithm", "ed25519", "-out", cls.key)
        sh("openssl", "pkey", "-in", cls.key, "-pubout", "-out", cls.pub)
        out = sh(BIN / "proa-audit", "keys", "--tpm", cls.tpm.tcti).stdout
        cls.ak, cls.tpm_pub = re.search("key: ([0-9a-f]{68})\n", out).group(1), work / "tpm.pub"
        cls.tpm_pub.write_text(out.split("\n", 1)[1])
        cls.good = cls.attest(cls.key)

    @classmethod
    def tearDownClass(cls):
        cls.tpm.stop()

    @classmethod
    def attest(cls, key, nonce=None):
        p = sh(BIN / "proa-audit", "report", "--root", good.root, "--disk", good.disk,
               "--repository", base.repo, "--tpm", cls.tpm.tcti, "--attest", key, "--nonce",
               nonce or cls.NONCE)
        return json.loads(p.stdout)

    def verify(self, envelope, *more, key=None, nonce=NONCE, ak=None, repository=True):
        f = work / "envelope.json"
        f.write_text(envelope if isinstance(envelope, str) else json.dumps(envelope))
        args = ["--key", key or self.pub, "--nonce", nonce, "--ak", ak or self.ak]
        if repository:
            args += ["--repository", base.repo, "--trusted-root", base.repo / "metadata/1.root.json"]
        p = sh(BIN / "proa-audit", "verify", f, "--json", *args, *more, want=None)
        self.assertIn(p.returncode, (0, 1), p.stderr)
        return Report(json.loads(p.stdout), p.returncode) if p.stdout else p

    def resigned(self, change):
        """A dishonest node: another statement, signed by its own key all the same."""
        st = json.loads(base64.b64decode(self.good["payload"]))
        change(st)
        payload = json.dumps(st).encode()
        kind = self.good["payloadType"]
        (work / "pae").write_bytes(b"DSSEv1 %d %s %d " % (len(kind), kind.encode(), len(payload))
                                   + payload)
        sh("openssl", "pkeyutl", "-sign", "-inkey", self.key, "-rawin", "-in", work / "pae", "-out",
           work / "sig")
        return dict(self.good, payload=base64.b64encode(payload).decode(), signatures=[
            {"keyid": "", "sig": base64.b64encode((work / "sig").read_bytes()).decode()}])

    def by(self, r, check):
        return r.verdict(check), r.checks[check]["evidence"]["proved_by"]

    def test_good(self):
        r = self.verify(self.good, "--uki", good.uki())
        self.assertEqual((r.status, r.problems()), (0, set()), r.doc)
        for check in ("ak", "nonce", "quote", "log", "loader", "uki", "usr", "uki-own", "pcr11"):
            self.assertEqual(self.by(r, "attest." + check), ("pass", "hardware"), check)
        for check in ("release", "uki-file"):
            self.assertEqual(self.by(r, "attest." + check), ("pass", "publisher"), check)
        self.assertEqual(self.by(r, "attest.signature"), ("pass", "signer"))
        self.signers(r.checks["attest.release"]["evidence"]["roles"])
        self.signers(good.report().checks["release.trust"]["evidence"])
        self.signers(good.report(repository=False).checks["release.trust"]["evidence"])
        r = self.verify(self.good, "--time", "2100-01-01T00:00:00Z")
        self.assertEqual((r.status, r.verdict("attest.release")), (0, "warn"))
        self.assertEqual(r.checks["attest.report"]["evidence"]["proved_by"], "node")

    def signers(self, roles):
        """The ids and names of the keys whose signatures counted, as the metadata has them."""
        for role in ("root", "timestamp", "snapshot", "targets", "stable"):
            signed = [s["keyid"] for s in base.role(role)["signatures"]]
            self.assertEqual(roles[role]["signers"], signed)
            self.assertEqual(roles[role]["names"], {i: base.names[i] for i in signed
                                                    if i in base.names})
        self.assertTrue(roles["root"]["names"] and roles["stable"]["names"], roles)

    def test_statement(self):
        """What in-toto's and DSSE's readers look for; openssl verifies the signature."""
        st = json.loads(base64.b64decode(self.good["payload"]))
        self.assertEqual(st["_type"], "https://in-toto.io/Statement/v1")
        self.assertEqual(self.good["payloadType"], "application/vnd.in-toto+json")
        digests = {(s["name"], k): v for s in st["subject"] for k, v in s["digest"].items()}
        self.assertEqual(digests["usr", "dmVeritySha256"],
                         base.manifest("1.0.0")["usr"]["root_hash"])
        self.assertEqual(digests["uki", "sha256"], sha(good.uki().read_bytes()).hex())
        payload, kind = base64.b64decode(self.good["payload"]), self.good["payloadType"]
        (work / "pae").write_bytes(b"DSSEv1 %d %s %d " % (len(kind), kind.encode(), len(payload))
                                   + payload)
        (work / "sig").write_bytes(base64.b64decode(self.good["signatures"][0]["sig"]))
        sh("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", self.pub, "-rawin", "-in",
           work / "pae", "-sigfile", work / "sig")

    def test_checkquote(self):
        """tpm2_checkquote accepts the quote with its nonce, and with no other."""
        q = json.loads(base64.b64decode(self.good["payload"]))["predicate"]["attachments"]["quote"]
        raw = {k: base64.b64decode(v) for k, v in q.items()}
        for k, v in raw.items():
            (work / ("q." + k)).write_bytes(v)
        self.assertEqual(self.ak, "000b" + sha(raw["key"]).hex())
        point = b"\4" + raw["key"][-66:-34] + raw["key"][-32:]
        der = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + point
        (work / "ak.der").write_bytes(der)
        sh("openssl", "pkey", "-pubin", "-inform", "der", "-in", work / "ak.der", "-out",
           work / "ak.pem")
        args = ["tpm2_checkquote", "-u", work / "ak.pem", "-m", work / "q.message", "-s",
                work / "q.signature", "-g", "sha256"]
        sh(*args, "-q", self.NONCE)
        self.assertNotEqual(sh(*args, "-q", self.OTHER, want=None).returncode, 0)

    def test_quote_of_tpm2_tools(self):
        """A quote that tpm2-tools made, by a key of theirs, in our report."""
        d, env = pathlib.Path(tempfile.mkdtemp(dir=work)), dict(os.environ,
                                                                 TPM2TOOLS_TCTI=self.tpm.tcti)
        sh("tpm2_createprimary", "-Q", "-C", "e", "-c", d / "p", "-G", "ecc", "-a",
           "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt", env=env)
        sh("tpm2_create", "-Q", "-C", d / "p", "-G", "rsa2048:rsapss-sha256:null", "-c", d / "k", "-a",
           "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign", env=env)
        sh("tpm2_flushcontext", "-t", env=env)
        sh("tpm2_readpublic", "-Q", "-c", d / "k", "-f", "tss", "-o", d / "pub", "-n", d / "name",
           env=env)
        sh("tpm2_flushcontext", "-t", env=env)
        sh("tpm2_quote", "-Q", "-c", d / "k", "-l", "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
           "-q", self.NONCE, "-m", d / "m", "-s", d / "s", "-g", "sha256", "--scheme", "rsapss",
           env=env)
        sh("tpm2_flushcontext", "-t", env=env)

        def change(st):
            q = st["predicate"]["attachments"]["quote"]
            for k, f in (("message", "m"), ("signature", "s"), ("key", "pub")):
                q[k] = base64.b64encode((d / f).read_bytes()).decode()
        r = self.verify(self.resigned(change), ak=(d / "name").read_bytes().hex())
        self.assertEqual((r.status, r.problems()), (0, set()), r.doc)

    def test_signed_by_the_tpm(self):
        r = self.verify(self.attest("tpm"), key=self.tpm_pub)
        self.assertEqual((r.status, r.problems()), (0, set()), r.doc)

    def test_anchor(self):
        """The history's head in an NV index of the TPM that only grows; tpm2_nvread is the judge."""
        m = good.copy()

        def verdict():
            p = sh(BIN / "proa-audit", "report", "--json", "--root", m.root, "--tpm", self.tpm.tcti,
                   want=None)
            return Report(json.loads(p.stdout), 0).verdict("history.anchor")

        def anchor(want=0):
            return sh(BIN / "proa-audit", "anchor", "--root", m.root, "--tpm", self.tpm.tcti,
                      want=want).stdout
        lines = (m.state / "history.jsonl").read_bytes().splitlines(True)
        self.assertEqual(verdict(), "absent")
        (m.state / "history.jsonl").write_bytes(lines[0])
        self.assertEqual(anchor(), "anchored 1 more entries of the history\n")
        self.assertEqual(verdict(), "pass")
        (m.state / "history.jsonl").write_bytes(b"".join(lines))
        self.assertEqual(verdict(), "warn")
        self.assertEqual(anchor(), "anchored %d more entries of the history\n" % (len(lines) - 1))
        self.assertEqual((verdict(), anchor()),
                         ("pass", "anchored 0 more entries of the history\n"))
        value = bytes(32)
        for line in lines:
            value = sha(value + sha(line[:-1]))
        nv = sh("tpm2_nvread", "0x1805052", binary=True,
                env=dict(os.environ, TPM2TOOLS_TCTI=self.tpm.tcti)).stdout
        self.assertEqual(nv, value)
        (m.state / "history.jsonl").write_bytes(b"".join(lines[:-1]))  # cut off the end
        self.assertEqual(verdict(), "fail")
        anchor(want=1)

    def test_keys_stay_the_same(self):
        out = sh(BIN / "proa-audit", "keys", "--tpm", self.tpm.tcti).stdout
        self.assertIn(self.ak, out)

    def test_edited(self):
        st = base64.b64decode(self.good["payload"]).replace(b"node-7", b"node-8")
        r = self.verify(dict(self.good, payload=base64.b64encode(st).decode()))
        self.assertEqual(r.problems(), {"attest.signature"})
        r = self.verify(self.good, key=self.tpm_pub)
        self.assertEqual(r.problems(), {"attest.signature"})

    def test_replayed(self):
        r = self.verify(self.good, nonce=self.OTHER)
        self.assertEqual(r.problems(), {"attest.nonce"})
        self.assertEqual(r.checks["attest.usr"]["evidence"]["proved_by"], "node")

    def test_other_tpm(self):
        r = self.verify(self.good, ak="000b" + "ab" * 32)
        self.assertEqual(r.problems(), {"attest.ak"})

    def test_other_uki(self):
        r = self.verify(self.good, "--uki", good.esp / "EFI/systemd/systemd-bootx64.efi")
        # it was started too, but it is not what the stub measured
        self.assertEqual(r.problems(), {"attest.pcr11"})
        r = self.verify(self.good, "--uki", BOOT / "linuxx64.efi.stub")
        self.assertEqual(r.problems(), {"attest.uki-own", "attest.pcr11"})

    def test_log_cut(self):
        def change(st):
            a = st["predicate"]["attachments"]
            a["eventlog"] = base64.b64encode(b"".join(good.log.events[:9])).decode()
        self.assertEqual(self.verify(self.resigned(change)).problems(), {"attest.log"})

    def test_log_and_pcrs_of_a_better_boot(self):
        """A consistent lie about the boot: only the quote tells."""
        def change(st):
            st["predicate"]["attachments"]["pcrs_sha256"]["4"] = "ab" * 32
        self.assertLessEqual({"attest.quote"}, self.verify(self.resigned(change)).problems())

    def test_other_usr(self):
        def change(st):
            for s in st["subject"]:
                if s["name"] == "usr":
                    s["digest"]["dmVeritySha256"] = "ab" * 32
            st["predicate"]["subjects"]["usr"] = "ab" * 32
        self.assertEqual(self.verify(self.resigned(change)).problems(),
                         {"attest.usr", "attest.release"})

    def test_nothing_known_beforehand(self):
        f = work / "envelope.json"
        f.write_text(json.dumps(self.good))
        p = sh(BIN / "proa-audit", "verify", f)
        for word in ("No key was given", "No nonce", "No repository", "compare it with the name"):
            self.assertIn(word, " ".join(p.stdout.split()))

    def test_garbage(self):
        text, rnd = json.dumps(self.good), random.Random(SEED)
        for bad in ("", "{}", text[:-2], text[:len(text) // 2], text.replace("payload", "paylod")):
            self.assertEqual(self.verify(bad).returncode, 1)
        for _ in range(40):
            st = bytearray(base64.b64decode(self.good["payload"]))
            for _ in range(3):
                st[rnd.randrange(len(st))] = rnd.randrange(256)
            p = self.verify(dict(self.good, payload=base64.b64encode(st).decode()))
            if isinstance(p, Report):
                self.assertIn("attest.signature", p.problems())


class Enrolled(unittest.TestCase):
    """From the TPM's maker to the quote: a nonce that only one TPM can read."""

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(dir=work))
        cls.tpm, cls.other = Tpm(good.log, cls.dir / "ca"), Tpm(good.log, cls.dir / "ca2")
        for t in (cls.tpm, cls.other):
            t.keys = pathlib.Path(t.dir) / "keys"
            t.keys.write_text(sh(BIN / "proa-audit", "keys", "--tpm", t.tcti).stdout)

    @classmethod
    def tearDownClass(cls):
        cls.tpm.stop()
        cls.other.stop()

    def challenge(self, keys):
        d = pathlib.Path(tempfile.mkdtemp(dir=self.dir))
        out = sh(BIN / "proa-audit", "challenge", keys, "--secret", d / "secret").stdout
        (d / "challenge").write_text(out)
        self.assertEqual((d / "secret").stat().st_mode & 0o777, 0o600)
        return d

    def attest(self, tpm, d, want=0):
        p = sh(BIN / "proa-audit", "report", "--root", good.root, "--disk", good.disk,
               "--repository", base.repo, "--tpm", tpm.tcti, "--attest", "tpm", "--challenge",
               d / "challenge", want=want)
        (d / "envelope").write_text(p.stdout)
        return p

    def verify(self, d, tpm, *more):
        p = sh(BIN / "proa-audit", "verify", d / "envelope", "--json", "--key", tpm.keys,
               "--secret", d / "secret", "--repository", base.repo, "--trusted-root",
               base.repo / "metadata/1.root.json", *more, want=None)
        return Report(json.loads(p.stdout), p.returncode)

    def test_good(self):
        d = self.challenge(self.tpm.keys)
        self.attest(self.tpm, d)
        r = self.verify(d, self.tpm, "--ek-ca", self.tpm.cas)
        self.assertEqual((r.status, r.problems()), (0, set()), r.doc)
        for check, by in (("ek", "manufacturer"), ("nonce", "hardware"), ("usr", "hardware")):
            evidence = r.checks["attest." + check]["evidence"]
            self.assertEqual((r.verdict("attest." + check), evidence["proved_by"]), ("pass", by))
        self.assertEqual(self.verify(d, self.tpm).verdict("attest.ek"), "warn")

    def test_another_maker(self):
        d = self.challenge(self.tpm.keys)
        self.attest(self.tpm, d)
        self.assertEqual(self.verify(d, self.tpm, "--ek-ca", self.other.cas).problems(),
                         {"attest.ek"})

    def test_another_tpm(self):
        """A challenge for one TPM tells nothing to another, nor to one with another's key name."""
        d = self.challenge(self.tpm.keys)
        self.assertIn("made for another TPM", self.attest(self.other, d, want=1).stderr)
        mixed = self.dir / "mixed"
        mixed.write_text(self.other.keys.read_text().split("\n")[0] + "\n"
                         + self.tpm.keys.read_text().split("\n", 1)[1])
        for tpm in (self.tpm, self.other):
            self.attest(tpm, self.challenge(mixed), want=1)

    def test_replayed(self):
        """The answer to an older challenge."""
        d, e = self.challenge(self.tpm.keys), self.challenge(self.tpm.keys)
        self.attest(self.tpm, d)
        shutil.copy(d / "envelope", e / "envelope")
        r = self.verify(e, self.tpm, "--ek-ca", self.tpm.cas)
        self.assertEqual(r.problems(), {"attest.nonce", "attest.ek"})

    def test_left_out(self):
        """An envelope without the quote that was asked for."""
        d = self.challenge(self.tpm.keys)
        p = sh(BIN / "proa-audit", "report", "--root", good.root, "--disk", good.disk,
               "--repository", base.repo, "--tpm", self.tpm.tcti, "--attest", "tpm")
        (d / "envelope").write_text(p.stdout)
        self.assertEqual(self.verify(d, self.tpm).problems(), {"attest.quote"})

    def test_certificate(self):
        """openssl agrees about the certificate and who issued it."""
        for tpm, other in ((self.tpm, self.other), (self.other, self.tpm)):
            sh("openssl", "verify", "-CAfile", tpm.cas, tpm.keys)
            sh("openssl", "verify", "-CAfile", other.cas, tpm.keys, want=2)
        nv = self.tpm.tool("tpm2_nvread", "0x1c00002", binary=True).stdout
        der = sh("openssl", "x509", "-in", self.tpm.keys, "-outform", "der", binary=True).stdout
        self.assertEqual(nv[:len(der)], der)

    def test_tpm2_tools_ask(self):
        """tpm2_makecredential makes the challenge, we answer: the nonce is in the quote."""
        d, secret = self.challenge(self.tpm.keys), os.urandom(24)
        name = re.search("key: ([0-9a-f]+)", self.tpm.keys.read_text()).group(1)
        (d / "in").write_bytes(secret)
        self.tpm.tool("tpm2_createek", "-Q", "-G", "rsa", "-c", d / "ek", "-f", "pem",
                      "-u", d / "ek.pub")
        self.tpm.tool("tpm2_flushcontext", "-t")
        sh("tpm2_makecredential", "-Q", "-T", "none", "-u", d / "ek.pub", "-s", d / "in", "-n", name,
           "-G", "rsa", "-o", d / "out")
        data = (d / "out").read_bytes()[8:]
        n = 2 + int.from_bytes(data[:2], "big")
        (d / "challenge").write_text(json.dumps({
            "proa_challenge": 1, "credential": base64.b64encode(data[:n]).decode(),
            "seed": base64.b64encode(data[n:]).decode()}))
        self.attest(self.tpm, d)
        payload = base64.b64decode(json.loads((d / "envelope").read_text())["payload"])
        quote = json.loads(payload)["predicate"]["attachments"]["quote"]
        self.assertIn(secret, base64.b64decode(quote["message"]))

    def test_tpm2_tools_answer(self):
        """tpm2_activatecredential reads the nonce of our challenge, with keys made by tpm2-tools
        after the documented template: they are the same keys."""
        d, t = self.challenge(self.tpm.keys), self.tpm
        c = json.loads((d / "challenge").read_text())
        (d / "in").write_bytes(bytes.fromhex("badcc0de00000001") + base64.b64decode(c["credential"])
                               + base64.b64decode(c["seed"]))
        t.tool("tpm2_createprimary", "-Q", "-C", "e", "-G", "ecc256:ecdsa-sha256:null", "-c",
               d / "ak", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign")
        t.tool("tpm2_flushcontext", "-t")
        t.tool("tpm2_readpublic", "-Q", "-c", d / "ak", "-n", d / "name")
        t.tool("tpm2_flushcontext", "-t")
        self.assertIn((d / "name").read_bytes().hex(), t.keys.read_text())
        t.tool("tpm2_createek", "-Q", "-G", "rsa", "-c", d / "ek")
        t.tool("tpm2_flushcontext", "-t")
        t.tool("tpm2_startauthsession", "--policy-session", "-S", d / "s")
        t.tool("tpm2_policysecret", "-Q", "-S", d / "s", "-c", "e")
        t.tool("tpm2_activatecredential", "-Q", "-c", d / "ak", "-C", d / "ek", "-i", d / "in",
               "-o", d / "out", "-P", "session:%s" % (d / "s"))
        t.tool("tpm2_flushcontext", d / "s")
        t.tool("tpm2_flushcontext", "-t")
        self.assertEqual((d / "out").read_bytes().hex(),
                         json.loads((d / "secret").read_text())["nonce"])

    def test_bad_input(self):
        keys, rnd = self.tpm.keys.read_text(), random.Random(SEED)
        f = self.dir / "bad"
        for text in ("", keys.split("-----BEGIN CERT")[0], keys.replace("attestation key", "x"),
                     keys[:-200], keys.replace("key: 000b", "key: xx")):
            f.write_text(text)
            p = sh(BIN / "proa-audit", "challenge", f, "--secret", self.dir / "never", want=1)
            self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
            self.assertFalse((self.dir / "never").exists())
        d = self.challenge(self.tpm.keys)
        sh(BIN / "proa-audit", "challenge", self.tpm.keys, "--secret", d / "secret", want=1)
        self.attest(self.tpm, d)
        for name in ("challenge", "secret"):
            whole = (d / name).read_bytes()
            for _ in range(12):
                data = bytearray(whole[:rnd.randrange(len(whole))] if rnd.random() < .5 else whole)
                if len(data) == len(whole):
                    data[rnd.randrange(len(data))] = rnd.randrange(256)
                (d / name).write_bytes(bytes(data))
                if name == "challenge":
                    p = sh(BIN / "proa-audit", "report", "--root", good.root, "--tpm",
                           self.tpm.tcti, "--attest", "tpm", "--challenge", d / name, want=None)
                else:
                    p = sh(BIN / "proa-audit", "verify", d / "envelope", "--secret", d / name,
                           want=None)
                self.assertIn(p.returncode, (0, 1), p.stderr)
            (d / name).write_bytes(whole)


class History(unittest.TestCase):
    """What Proa itself wrote down while it installed this machine."""

    def lines(self, m):
        return (m.state / "history.jsonl").read_bytes().splitlines(True)

    def test_chain(self):
        lines = self.lines(good)
        prev = bytes(32).hex()
        for i, line in enumerate(lines):
            entry = json.loads(line)
            self.assertEqual((entry["n"], entry["prev"]), (i + 1, prev))
            prev = sha(line[:-1]).hex()
        evidence = good.report().checks["history.chain"]["evidence"]
        self.assertEqual((evidence["entries"], evidence["head"]), (len(lines), prev))
        self.assertGreaterEqual(len(lines), 2)

    def test_tampered(self):
        lines = self.lines(good)
        changes = [lines[:i] + lines[i + 1:] for i in range(len(lines))]
        changes += [[lines[1], lines[0]] + lines[2:], lines + lines[-1:], [],
                    [lines[0].replace(b"1.0.0", b"1.0.1")] + lines[1:]]
        for change in changes:
            m = good.copy()
            (m.state / "history.jsonl").write_bytes(b"".join(change))
            self.assertEqual(m.report().problems(), {"history.chain"}, change)


class Proa(unittest.TestCase):
    """Proa's own units and settings."""

    def units(self, m):
        return m.report().checks["proa.units"]

    def test_units_as_shipped(self):
        check = self.units(good)
        self.assertEqual((check["verdict"], set(check["evidence"])), ("pass", set(UNITS)), check)

    def test_unit_weakened(self):
        """A line of hardening taken from a unit is missed by name."""
        m, rnd = good.copy(), random.Random(SEED)
        fixed = SOURCE.joinpath("updater/audit/proa_check.c").read_text()
        whole = (m.root / "systemd/show").read_text()
        lines = [(i, line) for i, line in enumerate(whole.splitlines(True))
                 if '"%s"' % line.strip() in fixed and line.strip()
                 and "LoadState" not in line]
        self.assertGreater(len(lines), 18 * len(UNITS))
        for i, line in rnd.sample(lines, 12):
            text = whole.splitlines(True)
            unit = [t for t in text[:i] if t.startswith("Id=")][-1].strip()[3:]
            text[i] = line.split("=")[0] + "=no\n"
            m.write("systemd/show", "".join(text))
            check = self.units(m)
            self.assertEqual((check["verdict"], check["evidence"].get("missing")),
                             ("fail", "%s: %s" % (unit, line.strip())))

    def test_unit_changed_here(self):
        m = good.copy()
        text = (m.root / "systemd/show").read_text()
        m.write("systemd/show", text.replace("DropInPaths=\n", "DropInPaths=/etc/x.conf\n", 1))
        check = self.units(m)
        self.assertEqual((check["verdict"], check["evidence"]["proad.service"]["drop_ins"]),
                         ("warn", "/etc/x.conf"))

    def test_process(self):
        """What runs is what counts, not what its unit says by now."""
        m = good.copy()
        text = (m.root / "systemd/show").read_text()
        m.write("systemd/show", text.replace("MainPID=0", "MainPID=123", 1))
        m.write("proc/123/status", "Name:\tproad\nNoNewPrivs:\t1\nSeccomp:\t2\n")
        self.assertEqual(self.units(m)["evidence"]["proad.service"]["process"], "123")
        m.write("proc/123/status", "Name:\tproad\nNoNewPrivs:\t1\nSeccomp:\t0\n")
        self.assertEqual(self.units(m)["evidence"]["missing"],
                         "proad.service: the process has a system call filter")

    def test_settings(self):
        """Every value in force with the file and line it comes from, drop-ins last."""
        m = good.copy()
        m.write("etc/proa/proa.conf", "[Update]\nChannel=beta\n\nTries=2\n")
        m.write("etc/proa/proa.conf.d/10-a.conf", "# mine\n[Update]\nChannel=stable\n")
        evidence = m.report().checks["proa.settings"]["evidence"]
        where = {k: v.replace(str(m.root), "") for k, v in evidence.items()}
        self.assertEqual(where, {
            "Update.Channel": "stable (/etc/proa/proa.conf.d/10-a.conf:3)",
            "Update.Tries": "2 (/etc/proa/proa.conf:4)"})


class Sbom(unittest.TestCase):
    def test_sbom(self):
        m = good.copy()
        self.assertEqual(m.report().verdict("release.sbom"), "absent")
        m.write("usr/share/sbom/web.cdx.json", base.sbom)
        r = m.report()
        self.assertEqual(r.verdict("release.sbom"), "warn")
        self.assertEqual(r.checks["release.sbom"]["evidence"]["components"], 1)
        m.write("usr/share/sbom/web.cdx.json", b"{}")
        self.assertEqual(m.report().verdict("release.sbom"), "unreadable")


class Usage(unittest.TestCase):
    def test_usage(self):
        exe = BIN / "proa-audit"
        for args in ([], ["nothing"], ["report", "x"], ["diff", "a"], ["report", "--time", "x"],
                     ["--frob"]):
            self.assertIn("proa-audit: ", sh(exe, *args, want=2).stderr, args)
        self.assertIn("Exit status", sh(exe, "--help").stdout)
        args = ["--root", good.root, "--disk", good.disk, "--time", TIME]
        self.assertEqual(sh(BIN / "proactl", "audit", *args, want=None).stdout,
                         sh(exe, "report", *args, want=None).stdout)
        sh(exe, "report", "--root", "/nowhere", want=1)
        sh(exe, "diff", "/nowhere", "/nowhere", want=1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
