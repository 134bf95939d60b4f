#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""proa-audit on the evidence of a machine, of which each attack changes one thing.

Judges: pesign and osslsigncode (Authenticode), sbverify and openssl cms (signatures), tpm2_eventlog
(replay), systemd-measure (PCR 11), veritysetup (the slot), openssl (fingerprints)."""
import json, os, random, re, shutil, struct, unittest, uuid

import jsonschema

from audit_lab import (BIN, MEASURE, MIB, BOOT, DB, LOG, SEED, SHA256, SOURCE, UNITS, authenticode, begin, end,
                       measured, sections, sh, sha, show, siglist)

TIME = "2026-11-21T12:00:00Z"


def setUpModule():
    global work, base, good
    work, base, good = begin()


def tearDownModule():
    end()


def der(data, at=0):
    """Tag, where its content begins, where it ends."""
    n, head = data[at + 1], 2
    if n >= 0x80:
        head, n = 2 + n - 0x80, int.from_bytes(data[at + 2:at + 2 + n - 0x80], "big")
    return data[at], at + head, at + head + n


def wrap(tag, content):
    n = len(content).to_bytes(4, "big")
    return bytes([tag, 0x84]) + n + content


def detach(p7):
    """PKCS #7 SignedData without its content, and the content that is signed."""
    _, at, _ = der(p7)
    oid = p7[at:der(p7, at)[2]]
    _, at, _ = der(p7, der(p7, at)[2])  # [0]
    _, at, end = der(p7, at)            # SignedData
    fields = []
    while at < end:
        fields.append(p7[at:der(p7, at)[2]])
        at = der(p7, at)[2]
    inner = fields[2]                   # version, digestAlgorithms, encapContentInfo
    _, a, _ = der(inner)
    kind = inner[a:der(inner, a)[2]]
    _, a, _ = der(inner, der(inner, a)[2])
    _, a, b = der(inner, a)
    fields[2] = wrap(0x30, kind)
    return wrap(0x30, oid + wrap(0xa0, wrap(0x30, b"".join(fields)))), inner[a:b]


def add_sections(uki, out, parts):
    """The same UKI with further sections, behind those it has, signed anew."""
    bare = work / "bare.efi"
    shutil.copy(uki, bare)
    sh("sbattach", "--remove", bare)
    dump = sh("objdump", "-h", uki).stdout
    end = max(int(v, 16) + int(n, 16) for n, v in re.findall(
        r"^ +[0-9]+ \S+ +([0-9a-f]{8}) +([0-9a-f]{16})", dump, re.M))
    args = ["objcopy"]
    for name, data in parts.items():
        f = work / ("add" + name)
        f.write_bytes(data)
        end = -(-end // 4096) * 4096
        args += ["--add-section", "%s=%s" % (name, f), "--change-section-vma", "%s=%#x" % (name, end)]
        end += len(data)
    sh(*args, bare, bare)
    sh("sbsign", "--key", base.dir / "vendor.key", "--cert", base.dir / "vendor.pem", "--output",
       out, bare)


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

    def test_openssl_cms(self):
        """openssl's own reader of the signature: it is valid, by db's certificate, and over the
        digest that the audit says. CMS wants content in an OCTET STRING, where Authenticode has a
        SEQUENCE: so it is given beside a signature without content."""
        data = good.uki().read_bytes()
        pe, = struct.unpack_from("<I", data, 0x3c)
        at, = struct.unpack_from("<I", data, pe + 24 + 112 + 8 * 4)
        size, = struct.unpack_from("<I", data, at)
        signed, content = detach(data[at + 8:at + size])
        (work / "p7").write_bytes(signed)
        (work / "content").write_bytes(content)
        args = ["openssl", "cms", "-verify", "-inform", "DER", "-in", work / "p7", "-content",
                work / "content", "-binary", "-purpose", "any", "-out", os.devnull, "-CAfile"]
        sh(*args, base.dir / "vendor.pem")
        sh(*args, base.dir / "stranger.pem", want=4)
        uki = good.report().checks["uki.signature"]["evidence"]
        self.assertEqual(content[-32:].hex(), uki["authenticode_sha256"])
        (work / "content").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        sh(*args, base.dir / "vendor.pem", want=4)

    def test_systemd_measure(self):
        """PCR 11 of what boots next, with and without phases, whatever sections it has."""
        names, rnd, m = measured(), random.Random(SEED), good.copy()
        version = int(sh(MEASURE, "--version").stdout.split()[1])
        out = {".dtbauto", ".efifw"}  # chosen by the machine
        if version < 262:
            print("left out: .hwids, which systemd-measure %d takes for .dtbauto" % version, flush=True)
            out.add(".hwids")
        more = [n for n in names + [".pcrsig"] if n not in sections(good.uki()) and n not in out]
        for i in range(12):
            if i > 0:
                add_sections(good.uki(), m.uki(), {
                    n: b"ID=x\n" + rnd.randbytes(rnd.randint(1, 5000)) for n in more if rnd.random() < .6})
            parts, args = sections(m.uki()), []
            for name in names:
                if name in parts:
                    (work / name[1:]).write_bytes(parts[name])
                    args.append("--%s=%s" % (name[1:], work / name[1:]))
            for phase in ("", "enter-initrd", "enter-initrd:leave-initrd:sysinit:ready"):
                out = sh(MEASURE, "calculate", *args, "--bank=sha256",
                         "--phase=" + (phase or ":")).stdout
                want = re.search(r"11:sha256=([0-9a-f]{64})", out).group(1)
                got = sh(BIN / "proa-audit", "report", "--root", m.root, "--disk", m.disk,
                         "--pcr=" + phase).stdout.strip()
                self.assertEqual(got, want, (SEED, i, phase, list(parts)))

    def test_chosen_by_the_machine(self):
        """Sections that the stub chooses by the machine it runs on: then it is said, not guessed."""
        if ".dtbauto" not in measured():
            self.skipTest("the stub installed here is older than 257")
        m = good.copy()
        add_sections(good.uki(), m.uki(), {".dtbauto": b"a device tree"})
        for how, want in ("--all", 0), ("--pcr=", 1):
            p = sh(BIN / "proa-audit", "report", "--root", m.root, "--disk", m.disk, "--next",
                   how, want=want)
            said = " ".join((p.stdout + p.stderr).split())
            self.assertIn("depends on the machine because of .dtbauto", said)
        m.boot()
        self.assertEqual(m.report().verdict("tpm.pcr11"), "absent")

    def test_phases_after_the_log(self):
        m = good.copy()
        m.boot(phases=("enter-initrd", "leave-initrd", "sysinit", "ready"))
        r = m.report()
        self.assertEqual((r.verdict("tpm.replay"), r.verdict("tpm.pcr11")), ("pass", "pass"))

    def test_newer_boots(self):
        """systemd-boot 257 hands no command line over; 261 separates the OS from the firmware."""
        for handed in (0, 1, 2):
            for separator in (None, b"os-separator", b"another word"):
                m = good.copy()
                m.boot(handed=handed, separator=separator)
                r, ids = m.report(), ("tpm.pcr4", "tpm.pcr7", "tpm.pcr12", "tpm.replay")
                want = {"fail"} if separator == b"another word" else {"pass"}
                self.assertEqual({r.verdict(i) for i in ids}, want, (handed, separator))
        m.boot(handed=2, extra_cmdline=" init=/bin/sh")
        self.assertEqual(m.report().verdict("tpm.pcr12"), "fail")

    def test_schema(self):
        """Each report is what docs/audit-report.schema.json says, as jsonschema reads it."""
        judge = jsonschema.Draft202012Validator(json.loads(
            (SOURCE / "docs/audit-report.schema.json").read_text()))
        m = good.copy()
        m.flip(m.start(1) + 12345)
        m.write("proc/cmdline", "quiet\n")
        for doc in (good.report("--deep").doc, m.report("--deep").doc, good.report("--next").doc):
            judge.validate(doc)
        doc["checks"][0]["verdict"] = "fine"
        self.assertRaises(jsonschema.ValidationError, judge.validate, doc)

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

    def test_entry_that_is_no_uki(self):
        """The same signed UKI, started by a boot entry that hands over words of its own."""
        m = good.copy()
        (m.esp / "loader/entries").mkdir(parents=True)
        (m.esp / "loader/entries/x.conf").write_text(
            "title x\nefi /EFI/Linux/web_1.0.0.efi\noptions init=/bin/sh\n")
        m.text_var("LoaderEntrySelected", "x.conf")
        self.expect(m, "uki.selected")
        self.assertIn("no UKI", m.report().checks["uki.selected"]["says"])

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
            m.write(name, rnd.choice((b"", rnd.randbytes(300), old[:rnd.randrange(len(old) + 1)])))
            r = m.report()
            self.assertIn(r.doc["verdict"], ("pass", "warn", "fail", "unreadable"), name)
            m.write(name, old)
        self.assertEqual(m.report().problems(), set())


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

    def test_unit_not_loaded(self):
        """Not installed is told; masked, or not readable for systemd, is a fault."""
        m = good.copy()
        whole = (m.root / "systemd/show").read_text()
        for state, want in (("masked", "fail"), ("bad-setting", "fail"), ("error", "fail"),
                            ("not-found", "pass")):
            m.write("systemd/show", whole.replace("LoadState=loaded", "LoadState=" + state, 1))
            check = self.units(m)
            self.assertEqual((check["verdict"], check["evidence"]["proad.service"]), (want, state))
            self.assertEqual(check["evidence"].get("missing"), None if want == "pass" else
                             "proad.service: LoadState=" + state)
        m.write("systemd/show", whole.replace("LoadState=loaded", "LoadState=masked"))
        self.assertEqual(self.units(m)["verdict"], "fail")
        m.write("systemd/show", whole.replace("LoadState=loaded", "LoadState=not-found"))
        self.assertEqual(self.units(m)["verdict"], "absent")

    def test_unit_changed_here(self):
        m = good.copy()
        text = (m.root / "systemd/show").read_text()
        m.write("systemd/show", text.replace("DropInPaths=\n", "DropInPaths=/etc/x.conf\n", 1))
        check = self.units(m)
        self.assertEqual((check["verdict"], check["evidence"]["proad.service"]["drop_ins"]),
                         ("warn", "/etc/x.conf"))
        for n in (511, 512, 513, 1024):  # as long as what is kept of a value, and longer
            path = "/etc/%s.conf" % ("x" * (n - 10))
            m.write("systemd/show", text.replace("DropInPaths=\n", "DropInPaths=%s\n" % path, 1))
            check = self.units(m)
            self.assertEqual((check["verdict"], check["evidence"]["proad.service"]["drop_ins"]),
                             ("warn", path[:511]))

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
